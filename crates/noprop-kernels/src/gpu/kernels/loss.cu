// The losses of blocks, row by row.

// Softmax and its distance from the correct class. One thread for each row. A label that is not a class makes the loss and
// its gradients not a number.
typedef struct {
    Read logits;    // [T, N, C]
    ReadU32 labels; // [N]
    Write p;        // softmax, [T, N, C]
    Write error;    // p - onehot, [T, N, C]
    Write surprise; // -log p_y, [T, N]
    Size blocks, rows, classes;
} SoftmaxError;

KERNEL(softmax_error, SoftmaxError) {
    i64 C = a.classes;
    if (ELEMENT >= a.blocks * a.rows) return;
    const float *logits = a.logits + ELEMENT * C;
    float *p = a.p + ELEMENT * C, *error = a.error + ELEMENT * C;
    u32 label = a.labels[ELEMENT % a.rows];
    float most = logits[0], sum = 0;
    for (i64 c = 1; c < C; c++) most = logits[c] > most || logits[c] != logits[c] ? logits[c] : most;
    for (i64 c = 0; c < C; c++) sum += expf(logits[c] - most);
    float log_sum = logf(sum);
    for (i64 c = 0; c < C; c++) {
        p[c] = expf(logits[c] - most - log_sum);
        error[c] = label < C ? p[c] - (c == label ? 1.0f : 0.0f) : 0.0f / 0.0f;
    }
    a.surprise[ELEMENT] = label < C ? log_sum + most - logits[label] : 0.0f / 0.0f;
}

// The gradient of softmax. One thread for each row.
typedef struct {
    Read p;    // [R, C]
    Read dp;   // the gradient at p
    Write out; // the gradient at the logits
    Size rows, classes;
} SoftmaxBack;

KERNEL(softmax_back, SoftmaxBack) {
    i64 C = a.classes;
    if (ELEMENT >= a.rows) return;
    const float *p = a.p + ELEMENT * C, *dp = a.dp + ELEMENT * C;
    float *out = a.out + ELEMENT * C;
    float along = 0;
    for (i64 c = 0; c < C; c++) along += p[c] * dp[c];
    for (i64 c = 0; c < C; c++) out[c] = p[c] * (dp[c] - along);
}

// The sum of a block's elements or of their squares, times a factor. One group for each block.
typedef struct {
    Read x;        // [T, M]
    Write sums;    // [T]
    Size elements; // M
    Flag squared;
    Factor factor;
} SumOfBlock;

KERNEL(sum_of_block, SumOfBlock) {
    SHARED float shared[THREADS];
    const float *x = a.x + group() * a.elements;
    float sum = 0;
    for (i64 i = thread(); i < a.elements; i += THREADS) sum += a.squared ? x[i] * x[i] : x[i];
    sum = sum_of_group(sum, shared);
    if (thread() == 0) a.sums[group()] = sum * (float)a.factor;
}

// A block's elements times the factor of the block and a factor of all.
typedef struct {
    Read x;        // [T, M]
    Read factors;  // [T]
    Write out;     // [T, M]
    Size blocks;
    Size elements; // M
    Factor factor;
} ScaleBlocks;

KERNEL(scale_blocks, ScaleBlocks) {
    if (ELEMENT >= a.blocks * a.elements) return;
    a.out[ELEMENT] = a.x[ELEMENT] * (a.factors[ELEMENT / a.elements] * (float)a.factor);
}

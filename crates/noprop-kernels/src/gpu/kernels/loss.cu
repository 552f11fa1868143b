// The losses of blocks, row by row.

// Softmax and its distance from the truth. p: logits [T, N, C], labels [N] u32, softmax p, p - onehot, -log p_y [T, N]. n: T, N, C.
// A thread a row. A label that is no class makes the loss not a number.
KERNEL(softmax_error) {
    i64 N = a.n[1], C = a.n[2];
    if (ELEMENT >= a.n[0] * N) return;
    const float *logits = (const float *)a.p[0] + ELEMENT * C;
    float *p = (float *)a.p[2] + ELEMENT * C, *error = (float *)a.p[3] + ELEMENT * C;
    u32 label = ((const u32 *)a.p[1])[ELEMENT % N];
    float most = logits[0], sum = 0;
    for (i64 c = 1; c < C; c++) most = logits[c] > most || logits[c] != logits[c] ? logits[c] : most;
    for (i64 c = 0; c < C; c++) sum += expf(logits[c] - most);
    float log_sum = logf(sum);
    for (i64 c = 0; c < C; c++) {
        p[c] = expf(logits[c] - most - log_sum);
        error[c] = p[c] - (c == label ? 1.0f : 0.0f);
    }
    ((float *)a.p[4])[ELEMENT] = label < C ? log_sum + most - logits[label] : 0.0f / 0.0f;
}

// The gradient of softmax. p: p [T, N, C], gradient at p, gradient at the logits. n: rows, C. A thread a row.
KERNEL(softmax_back) {
    i64 C = a.n[1];
    if (ELEMENT >= a.n[0]) return;
    const float *p = (const float *)a.p[0] + ELEMENT * C, *dp = (const float *)a.p[1] + ELEMENT * C;
    float *out = (float *)a.p[2] + ELEMENT * C;
    float along = 0;
    for (i64 c = 0; c < C; c++) along += p[c] * dp[c];
    for (i64 c = 0; c < C; c++) out[c] = p[c] * (dp[c] - along);
}

// Sums of a block's elements, squared if wanted, times a factor. p: x [T, M], sums [T]. n: T, M, whether to square. f: factor.
// A group a block.
KERNEL(sum_of_block) {
    SHARED float shared[THREADS];
    const float *x = (const float *)a.p[0] + group() * a.n[1];
    float sum = 0;
    for (i64 i = thread(); i < a.n[1]; i += THREADS) sum += a.n[2] ? x[i] * x[i] : x[i];
    sum = sum_of_group(sum, shared);
    if (thread() == 0) ((float *)a.p[1])[group()] = sum * (float)a.f[0];
}

// A block's elements times that block's factor. p: x [T, M], factors [T], out. n: T, M. f: a factor of all.
KERNEL(scale_blocks) {
    if (ELEMENT >= a.n[0] * a.n[1]) return;
    float factor = ((const float *)a.p[1])[ELEMENT / a.n[1]] * (float)a.f[0];
    ((float *)a.p[2])[ELEMENT] = ((const float *)a.p[0])[ELEMENT] * factor;
}

// The dense layer around its matrix product, sums over rows and columns, batch norm, and the optimizer.

// y = act(sum + b). p: sum [T, N, O], b [T, O], y. n: T, N, O, whether act is ReLU.
KERNEL(bias_act) {
    const float *sum = (const float *)a.p[0], *b = (const float *)a.p[1];
    float *y = (float *)a.p[2];
    i64 N = a.n[1], O = a.n[2];
    if (ELEMENT >= a.n[0] * N * O) return;
    float value = sum[ELEMENT] + b[ELEMENT / (N * O) * O + ELEMENT % O];
    y[ELEMENT] = a.n[3] && value <= 0 ? 0 : value;
}

// The gradient before ReLU. p: dy, y, dsum. n: elements.
KERNEL(relu_back) {
    const float *dy = (const float *)a.p[0], *y = (const float *)a.p[1];
    if (ELEMENT >= a.n[0]) return;
    ((float *)a.p[2])[ELEMENT] = y[ELEMENT] <= 0 ? 0 : dy[ELEMENT];
}

// Sums of rows. p: x [R, M], sums [R]. n: R, M. A group a row.
KERNEL(sum_rows) {
    SHARED float shared[THREADS];
    const float *row = (const float *)a.p[0] + group() * a.n[1];
    float sum = 0;
    for (i64 i = thread(); i < a.n[1]; i += THREADS) sum += row[i];
    sum = sum_of_group(sum, shared);
    if (thread() == 0) ((float *)a.p[1])[group()] = sum;
}

// The threads of a group as COLUMNS features times LANES rows.
#define COLUMNS 32
#define LANES (THREADS / COLUMNS)

// The sum of `value` over the LANES rows of a column.
DEVICE float sum_of_column(float value, float *shared) {
    shared[thread()] = value;
    for (int half = LANES / 2; half > 0; half /= 2) {
        barrier();
        if (thread() / COLUMNS < half) shared[thread()] += shared[thread() + half * COLUMNS];
    }
    barrier();
    float sum = shared[thread() % COLUMNS];
    barrier();
    return sum;
}

// Sums of columns. p: x [T, N, F], sums [T, F]. n: T, N, F. A group 32 features of a block.
KERNEL(sum_columns) {
    SHARED float shared[THREADS];
    i64 N = a.n[1], F = a.n[2], parts = (F + COLUMNS - 1) / COLUMNS;
    i64 block = group() / parts, feature = group() % parts * COLUMNS + thread() % COLUMNS;
    const float *x = (const float *)a.p[0] + block * N * F + feature;
    float sum = 0;
    for (i64 row = thread() / COLUMNS; row < N; row += LANES)
        if (feature < F) sum += x[row * F];
    sum = sum_of_column(sum, shared);
    if (thread() < COLUMNS && feature < F) ((float *)a.p[1])[block * F + feature] = sum;
}

// Batch norm by the batch's own mean and variance. p: x [T, N, F], gamma [T, F], beta [T, F], y, mean [T, F], var [T, F].
// n: T, N, F, whether ReLU follows. f: epsilon. A group 32 features of a block.
KERNEL(batch_norm) {
    SHARED float shared[THREADS];
    i64 N = a.n[1], F = a.n[2], parts = (F + COLUMNS - 1) / COLUMNS;
    i64 block = group() / parts, feature = group() % parts * COLUMNS + thread() % COLUMNS;
    i64 first = thread() / COLUMNS, at = block * F + feature;
    const float *x = (const float *)a.p[0] + block * N * F + feature;
    float *y = (float *)a.p[3] + block * N * F + feature;
    float sum = 0;
    for (i64 row = first; row < N; row += LANES)
        if (feature < F) sum += x[row * F];
    float mean = sum_of_column(sum, shared) / (float)N;
    sum = 0;
    for (i64 row = first; row < N; row += LANES)
        if (feature < F) sum += (x[row * F] - mean) * (x[row * F] - mean);
    float var = sum_of_column(sum, shared) / (float)N;
    if (feature >= F) return;
    float scale = ((const float *)a.p[1])[at] / sqrtf(var + (float)a.f[0]);
    float shift = ((const float *)a.p[2])[at];
    for (i64 row = first; row < N; row += LANES) {
        float value = (x[row * F] - mean) * scale + shift;
        y[row * F] = a.n[3] && value <= 0 ? 0 : value;
    }
    if (first == 0) {
        ((float *)a.p[4])[at] = mean;
        ((float *)a.p[5])[at] = var;
    }
}

// The gradients of `batch_norm`. p: dy, x, y, gamma, mean, var, dx, [dgamma, dbeta] of [2, T, F]. n and f: as there.
KERNEL(batch_norm_back) {
    SHARED float shared[THREADS];
    i64 N = a.n[1], F = a.n[2], parts = (F + COLUMNS - 1) / COLUMNS;
    i64 block = group() / parts, feature = group() % parts * COLUMNS + thread() % COLUMNS;
    i64 first = thread() / COLUMNS, at = block * F + feature, start = block * N * F + feature;
    const float *dy = (const float *)a.p[0] + start, *x = (const float *)a.p[1] + start;
    const float *y = (const float *)a.p[2] + start;
    float *dx = (float *)a.p[6] + start;
    float mean = 0, scale = 0, gamma = 0;
    if (feature < F) {
        mean = ((const float *)a.p[4])[at];
        scale = 1 / sqrtf(((const float *)a.p[5])[at] + (float)a.f[0]);
        gamma = ((const float *)a.p[3])[at];
    }
    float sum = 0, product = 0;
    for (i64 row = first; row < N; row += LANES)
        if (feature < F && !(a.n[3] && y[row * F] <= 0)) {
            sum += dy[row * F];
            product += dy[row * F] * (x[row * F] - mean) * scale;
        }
    sum = sum_of_column(sum, shared);
    product = sum_of_column(product, shared);
    if (feature >= F) return;
    for (i64 row = first; row < N; row += LANES) {
        float gradient = a.n[3] && y[row * F] <= 0 ? 0 : dy[row * F];
        float normal = (x[row * F] - mean) * scale;
        dx[row * F] = gamma * scale * (gradient - (sum + normal * product) / (float)N);
    }
    if (first == 0) {
        ((float *)a.p[7])[at] = product;
        ((float *)a.p[7])[a.n[0] * F + at] = sum;
    }
}

// Running statistics follow those of a batch. p: mean, var, the batch's mean, the batch's var. n: elements. f: momentum, the batch's
// variance times this is unbiased.
KERNEL(follow) {
    float *mean = (float *)a.p[0], *var = (float *)a.p[1];
    if (ELEMENT >= a.n[0]) return;
    float keep = (float)(1 - a.f[0]), take = (float)a.f[0], unbiased = (float)a.f[1];
    mean[ELEMENT] = mean[ELEMENT] * keep + ((const float *)a.p[2])[ELEMENT] * take;
    var[ELEMENT] = var[ELEMENT] * keep + ((const float *)a.p[3])[ELEMENT] * unbiased * take;
}

// One step of Adam or AdamW. p: parameters, first and second moment (all three changed), gradient. n: elements.
// f: beta1, beta2, epsilon, rate, scale of the second moment's root, shrinking of the parameters, L2 penalty.
KERNEL(adam) {
    float *theta = (float *)a.p[0], *m = (float *)a.p[1], *v = (float *)a.p[2];
    if (ELEMENT >= a.n[0]) return;
    float g = ((const float *)a.p[3])[ELEMENT] + (float)a.f[6] * theta[ELEMENT];
    float first = (float)a.f[0] * m[ELEMENT] + (float)(1 - a.f[0]) * g;
    float second = (float)a.f[1] * v[ELEMENT] + (float)(1 - a.f[1]) * g * g;
    m[ELEMENT] = first;
    v[ELEMENT] = second;
    theta[ELEMENT] = (float)a.f[5] * theta[ELEMENT]
        - (float)a.f[3] * first / (sqrtf(second) * (float)a.f[4] + (float)a.f[2]);
}

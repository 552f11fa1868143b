// The dense layer around its matrix product, sums over rows and columns, batch norm, and the optimizer.

// y = act(sum + bias).
typedef struct {
    Read sum;  // [T, N, O]
    Read bias; // [T, O]
    Write y;   // [T, N, O]
    Size blocks, rows, outputs;
    Flag relu;
} BiasAct;

KERNEL(bias_act, BiasAct) {
    i64 N = a.rows, O = a.outputs;
    if (ELEMENT >= a.blocks * N * O) return;
    float value = a.sum[ELEMENT] + a.bias[ELEMENT / (N * O) * O + ELEMENT % O];
    a.y[ELEMENT] = a.relu && value <= 0 ? 0 : value;
}

// The gradient before ReLU.
typedef struct {
    Read dy, y;
    Write dsum;
    Size elements;
} ReluBack;

KERNEL(relu_back, ReluBack) {
    if (ELEMENT >= a.elements) return;
    a.dsum[ELEMENT] = a.y[ELEMENT] <= 0 ? 0 : a.dy[ELEMENT];
}

// Sums of rows. One group for each row.
typedef struct {
    Read x;     // [R, M]
    Write sums; // [R]
    Size columns;
} SumRows;

KERNEL(sum_rows, SumRows) {
    SHARED float shared[THREADS];
    const float *row = a.x + group() * a.columns;
    float sum = 0;
    for (i64 i = thread(); i < a.columns; i += THREADS) sum += row[i];
    sum = sum_of_group(sum, shared);
    if (thread() == 0) a.sums[group()] = sum;
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

// Sums of columns. One group for 32 features of a block.
typedef struct {
    Read x;     // [T, N, F]
    Write sums; // [T, F]
    Size rows, features;
} SumColumns;

KERNEL(sum_columns, SumColumns) {
    SHARED float shared[THREADS];
    i64 N = a.rows, F = a.features, parts = (F + COLUMNS - 1) / COLUMNS;
    i64 block = group() / parts, feature = group() % parts * COLUMNS + thread() % COLUMNS;
    const float *x = a.x + block * N * F + feature;
    float sum = 0;
    for (i64 row = thread() / COLUMNS; row < N; row += LANES)
        if (feature < F) sum += x[row * F];
    sum = sum_of_column(sum, shared);
    if (thread() < COLUMNS && feature < F) a.sums[block * F + feature] = sum;
}

// The settings of a batch norm.
typedef struct {
    Size rows, features;
    Flag relu;
    Factor eps;
} Norm;

// Batch norm by the batch's own mean and variance. One group for 32 features of a block.
typedef struct {
    Read x;           // [T, N, F]
    Read gamma, beta; // [T, F]
    Write y;          // [T, N, F]
    Write mean, var;  // [T, F]
    Norm norm;
} BatchNorm;

KERNEL(batch_norm, BatchNorm) {
    SHARED float shared[THREADS];
    i64 N = a.norm.rows, F = a.norm.features, parts = (F + COLUMNS - 1) / COLUMNS;
    i64 block = group() / parts, feature = group() % parts * COLUMNS + thread() % COLUMNS;
    i64 first = thread() / COLUMNS, at = block * F + feature;
    const float *x = a.x + block * N * F + feature;
    float *y = a.y + block * N * F + feature;
    float sum = 0;
    for (i64 row = first; row < N; row += LANES)
        if (feature < F) sum += x[row * F];
    float mean = sum_of_column(sum, shared) / (float)N;
    sum = 0;
    for (i64 row = first; row < N; row += LANES)
        if (feature < F) sum += (x[row * F] - mean) * (x[row * F] - mean);
    float var = sum_of_column(sum, shared) / (float)N;
    if (feature >= F) return;
    float scale = a.gamma[at] / sqrtf(var + (float)a.norm.eps);
    float shift = a.beta[at];
    for (i64 row = first; row < N; row += LANES) {
        float value = (x[row * F] - mean) * scale + shift;
        y[row * F] = a.norm.relu && value <= 0 ? 0 : value;
    }
    if (first == 0) {
        a.mean[at] = mean;
        a.var[at] = var;
    }
}

// The gradients of `batch_norm`.
typedef struct {
    Read dy, x, y;         // [T, N, F]
    Read gamma, mean, var; // [T, F]
    Write dx;              // [T, N, F]
    Write dgamma, dbeta;   // [T, F]
    Norm norm;
} BatchNormBack;

KERNEL(batch_norm_back, BatchNormBack) {
    SHARED float shared[THREADS];
    i64 N = a.norm.rows, F = a.norm.features, parts = (F + COLUMNS - 1) / COLUMNS;
    i64 block = group() / parts, feature = group() % parts * COLUMNS + thread() % COLUMNS;
    i64 first = thread() / COLUMNS, at = block * F + feature, start = block * N * F + feature;
    const float *dy = a.dy + start, *x = a.x + start, *y = a.y + start;
    float *dx = a.dx + start;
    float mean = 0, scale = 0, gamma = 0;
    if (feature < F) {
        mean = a.mean[at];
        scale = 1 / sqrtf(a.var[at] + (float)a.norm.eps);
        gamma = a.gamma[at];
    }
    float sum = 0, product = 0;
    for (i64 row = first; row < N; row += LANES)
        if (feature < F && !(a.norm.relu && y[row * F] <= 0)) {
            sum += dy[row * F];
            product += dy[row * F] * (x[row * F] - mean) * scale;
        }
    sum = sum_of_column(sum, shared);
    product = sum_of_column(product, shared);
    if (feature >= F) return;
    for (i64 row = first; row < N; row += LANES) {
        float gradient = a.norm.relu && y[row * F] <= 0 ? 0 : dy[row * F];
        float normal = (x[row * F] - mean) * scale;
        dx[row * F] = gamma * scale * (gradient - (sum + normal * product) / (float)N);
    }
    if (first == 0) {
        a.dgamma[at] = product;
        a.dbeta[at] = sum;
    }
}

// Moves running statistics towards those of a batch.
typedef struct {
    Write mean, var;
    Read batch_mean, batch_var;
    Size elements;
    Factor momentum;
    Factor unbiased; // the batch's variance times this is unbiased
} Follow;

KERNEL(follow, Follow) {
    if (ELEMENT >= a.elements) return;
    float keep = (float)(1 - a.momentum), take = (float)a.momentum, unbiased = (float)a.unbiased;
    a.mean[ELEMENT] = a.mean[ELEMENT] * keep + a.batch_mean[ELEMENT] * take;
    a.var[ELEMENT] = a.var[ELEMENT] * keep + a.batch_var[ELEMENT] * unbiased * take;
}

// One step of Adam or AdamW.
typedef struct {
    Write theta, m, v; // parameters, first and second moment
    Read gradient;
    Size elements;
    Factor beta1, beta2, eps;
    Factor rate;
    Factor root_scale; // of the second moment's root
    Factor shrink;     // of the parameters
    Factor penalty;    // L2
} Adam;

KERNEL(adam, Adam) {
    if (ELEMENT >= a.elements) return;
    float g = a.gradient[ELEMENT] + (float)a.penalty * a.theta[ELEMENT];
    float first = (float)a.beta1 * a.m[ELEMENT] + (float)(1 - a.beta1) * g;
    float second = (float)a.beta2 * a.v[ELEMENT] + (float)(1 - a.beta2) * g * g;
    a.m[ELEMENT] = first;
    a.v[ELEMENT] = second;
    a.theta[ELEMENT] = (float)a.shrink * a.theta[ELEMENT]
        - (float)a.rate * first / (sqrtf(second) * (float)a.root_scale + (float)a.eps);
}

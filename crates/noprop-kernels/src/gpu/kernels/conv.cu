// The convolution layer around its matrix product: windows to columns before it; bias, 2x2 maximum, ReLU and dropout after it.
// Between layers images lie [T, C, N, H, W], so that one product a block serves all images.

// The nine values under the kernel at each position. p: x, columns [X, C 9, N OH OW].
// n: X, C, N, H, W, OH, OW, ring of zeros, stride of x from channel to channel and from image to image, whether columns are bf16.
KERNEL(columns) {
    const float *x = (const float *)a.p[0];
    i64 C = a.n[1], N = a.n[2], H = a.n[3], W = a.n[4], OH = a.n[5], OW = a.n[6], ring = a.n[7];
    i64 positions = N * OH * OW;
    if (ELEMENT >= a.n[0] * C * 9 * positions) return;
    i64 column = ELEMENT % positions, row = ELEMENT / positions;
    i64 ox = column % OW, oy = column / OW % OH, image = column / (OW * OH);
    i64 k = row % 9, channel = row / 9 % C, block = row / (9 * C);
    i64 iy = oy + k / 3 - ring, ix = ox + k % 3 - ring;
    float value = 0;
    if (iy >= 0 && iy < H && ix >= 0 && ix < W)
        value = x[block * C * N * H * W + channel * a.n[8] + image * a.n[9] + iy * W + ix];
    put(a.p[1], ELEMENT, value, a.n[10]);
}

// The gradient of `columns`: every pixel gathers from the windows it stood in. p: gradient of the columns (f32), dx. n: as there.
KERNEL(columns_back) {
    const float *columns = (const float *)a.p[0];
    float *dx = (float *)a.p[1];
    i64 C = a.n[1], N = a.n[2], H = a.n[3], W = a.n[4], OH = a.n[5], OW = a.n[6], ring = a.n[7];
    if (ELEMENT >= a.n[0] * C * N * H * W) return;
    i64 ix = ELEMENT % W, iy = ELEMENT / W % H, image = ELEMENT / (W * H) % N;
    i64 channel = ELEMENT / (W * H * N) % C, block = ELEMENT / (W * H * N * C);
    float sum = 0;
    for (int k = 0; k < 9; k++) {
        i64 oy = iy - k / 3 + ring, ox = ix - k % 3 + ring;
        if (oy >= 0 && oy < OH && ox >= 0 && ox < OW)
            sum += columns[((block * C + channel) * 9 + k) * N * OH * OW + (image * OH + oy) * OW + ox];
    }
    dx[block * C * N * H * W + channel * a.n[8] + image * a.n[9] + iy * W + ix] = sum;
}

// y = dropout(relu(max(sum) + b)). p: sum [T, C, N CH CW], b [T, C], y, winner (u8, as y [T, C, N, OH, OW]: which value of the window
// the gradient goes to, 4 for none). n: T, C, N, CH, CW, OH, OW, side of the window (1 or 2), stride of y from channel to channel and
// from image to image, dropout's threshold (0: none), number of the first image, first block of this
// launch; T is here the end of its blocks. f: what survivors are multiplied by. key: these blocks' streams of dropout.
KERNEL(conv_end) {
    const float *sum = (const float *)a.p[0], *b = (const float *)a.p[1];
    float *y = (float *)a.p[2];
    u8 *winner = (u8 *)a.p[3];
    i64 C = a.n[1], N = a.n[2], CH = a.n[3], CW = a.n[4], OH = a.n[5], OW = a.n[6], side = a.n[7];
    i64 at = a.n[12] * C * N * OH * OW + ELEMENT;
    if (at >= a.n[0] * C * N * OH * OW) return;
    i64 ox = at % OW, oy = at / OW % OH, image = at / (OW * OH) % N;
    i64 row = at / (OW * OH * N), channel = row % C, block = row / C;
    const float *window = sum + ((row * N + image) * CH + oy * side) * CW + ox * side;
    float best = window[0];
    u8 from = 0;
    for (int corner = 1; corner < side * side; corner++) {
        float next = window[corner / 2 * CW + corner % 2];
        // Unequal to itself is what is not a number, and must not get lost.
        if (next > best || next != next) {
            best = next;
            from = (u8)corner;
        }
    }
    best += b[row];
    if (best <= 0) {
        best = 0;
        from = 4;
    }
    if (a.n[10]) {
        i64 element = (oy * OW + ox) * C + channel;
        if (kept(a.key[block - a.n[12]], (u64)(a.n[11] + image), element, (u32)a.n[10])) best *= (float)a.f[0];
        else {
            best = 0;
            from = 4;
        }
    }
    y[block * C * N * OH * OW + channel * a.n[8] + image * a.n[9] + oy * OW + ox] = best;
    winner[at] = from;
}

// The gradient at the sum. p: gradient of y, winner, dsum [T, C, N CH CW]. n: as for `conv_end` up to the strides (of the gradient
// of y), then whether dsum is bf16. f: what survivors were multiplied by.
KERNEL(conv_end_back) {
    const float *dy = (const float *)a.p[0];
    const u8 *winner = (const u8 *)a.p[1];
    i64 C = a.n[1], N = a.n[2], CH = a.n[3], CW = a.n[4], OH = a.n[5], OW = a.n[6], side = a.n[7];
    if (ELEMENT >= a.n[0] * C * N * CH * CW) return;
    i64 x = ELEMENT % CW, y = ELEMENT / CW % CH, image = ELEMENT / (CW * CH) % N;
    i64 row = ELEMENT / (CW * CH * N), channel = row % C, block = row / C;
    i64 ox = x / side, oy = y / side;
    float gradient = 0;
    // What is left over on the right and below stood in no window.
    if (ox < OW && oy < OH) {
        i64 corner = y % side * 2 + x % side;
        if (winner[((row * N + image) * OH + oy) * OW + ox] == corner)
            gradient = dy[block * C * N * OH * OW + channel * a.n[8] + image * a.n[9] + oy * OW + ox] * (float)a.f[0];
    }
    put(a.p[2], ELEMENT, gradient, a.n[10]);
}

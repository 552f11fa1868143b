// The convolution layer around its matrix product: windows to columns before it; bias, 2x2 maximum, activation and dropout after it.
// Between layers images lie [T, C, N, H, W], so that one product for each block serves all its images.

// The 3x3 windows of images.
typedef struct {
    Size blocks, channels, images, height, width;
    Size out_height, out_width;    // of the convolution's result
    Size ring;                     // of zeros around the images
    Size channel_step, image_step; // of the images, in elements
} Windows;

// The nine values under the kernel at each position.
typedef struct {
    Read x;
    WriteAny columns; // [X, C 9, N OH OW], in bf16 or in f32
    Windows windows;
    Flag bf16;
} Columns;

KERNEL(columns, Columns) {
    Windows w = a.windows;
    i64 C = w.channels, N = w.images, H = w.height, W = w.width, OH = w.out_height, OW = w.out_width;
    i64 positions = N * OH * OW;
    if (ELEMENT >= w.blocks * C * 9 * positions) return;
    i64 column = ELEMENT % positions, row = ELEMENT / positions;
    i64 ox = column % OW, oy = column / OW % OH, image = column / (OW * OH);
    i64 k = row % 9, channel = row / 9 % C, block = row / (9 * C);
    i64 iy = oy + k / 3 - w.ring, ix = ox + k % 3 - w.ring;
    float value = 0;
    if (iy >= 0 && iy < H && ix >= 0 && ix < W)
        value = a.x[block * C * N * H * W + channel * w.channel_step + image * w.image_step + iy * W + ix];
    put(a.columns, ELEMENT, value, a.bf16);
}

// The gradient of `columns`: every pixel gathers from the windows that it is in.
typedef struct {
    Read columns; // the gradient at the columns
    Write dx;
    Windows windows;
} ColumnsBack;

KERNEL(columns_back, ColumnsBack) {
    Windows w = a.windows;
    i64 C = w.channels, N = w.images, H = w.height, W = w.width, OH = w.out_height, OW = w.out_width;
    if (ELEMENT >= w.blocks * C * N * H * W) return;
    i64 ix = ELEMENT % W, iy = ELEMENT / W % H, image = ELEMENT / (W * H) % N;
    i64 channel = ELEMENT / (W * H * N) % C, block = ELEMENT / (W * H * N * C);
    float sum = 0;
    for (int k = 0; k < 9; k++) {
        i64 oy = iy - k / 3 + w.ring, ox = ix - k % 3 + w.ring;
        if (oy >= 0 && oy < OH && ox >= 0 && ox < OW)
            sum += a.columns[((block * C + channel) * 9 + k) * N * OH * OW + (image * OH + oy) * OW + ox];
    }
    a.dx[block * C * N * H * W + channel * w.channel_step + image * w.image_step + iy * W + ix] = sum;
}

// The sums of a layer and its results, one for each window.
typedef struct {
    Size blocks, channels, images;
    Size sum_height, sum_width;
    Size height, width;            // of the result
    Size side;                     // of a window, 1 or 2
    Size channel_step, image_step; // of the result, in elements
} Pooled;

// y = dropout(act(max(sum) + bias)), for the blocks from first_block up to, but not including, end_block.
typedef struct {
    Read sum;       // [T, C, N CH CW]
    Read bias;      // [T, C]
    Write y;
    WriteU8 winner; // [T, C, N, OH, OW]: the value of the window that gets the gradient, 4 for none
    Pooled pooled;
    Size first_block, end_block;
    Flag relu;
    Size threshold, first_image; // of dropout; the threshold is 0 without dropout
    Factor scale;                // of the values that dropout keeps
    Keys keys;                   // the streams of dropout, from first_block on
} ConvEnd;

KERNEL(conv_end, ConvEnd) {
    Pooled p = a.pooled;
    i64 C = p.channels, N = p.images, CH = p.sum_height, CW = p.sum_width, OH = p.height, OW = p.width;
    i64 at = a.first_block * C * N * OH * OW + ELEMENT;
    if (at >= a.end_block * C * N * OH * OW) return;
    i64 ox = at % OW, oy = at / OW % OH, image = at / (OW * OH) % N;
    i64 row = at / (OW * OH * N), channel = row % C, block = row / C;
    const float *window = a.sum + ((row * N + image) * CH + oy * p.side) * CW + ox * p.side;
    float best = window[0];
    u8 from = 0;
    for (int corner = 1; corner < p.side * p.side; corner++) {
        float next = window[corner / 2 * CW + corner % 2];
        // Only a not-a-number is unequal to itself, and it must not get lost.
        if (next > best || next != next) {
            best = next;
            from = (u8)corner;
        }
    }
    best += a.bias[row];
    if (a.relu && best <= 0) {
        best = 0;
        from = 4;
    }
    if (a.threshold) {
        i64 element = (oy * OW + ox) * C + channel;
        if (kept(a.keys[block - a.first_block], (u64)(a.first_image + image), element, (u32)a.threshold))
            best *= (float)a.scale;
        else {
            best = 0;
            from = 4;
        }
    }
    a.y[block * C * N * OH * OW + channel * p.channel_step + image * p.image_step + oy * OW + ox] = best;
    a.winner[at] = from;
}

// The gradient at the sum.
typedef struct {
    Read dy;
    ReadU8 winner;
    Write dsum; // [T, C, N CH CW]
    Pooled pooled;
    Factor scale;
} ConvEndBack;

KERNEL(conv_end_back, ConvEndBack) {
    Pooled p = a.pooled;
    i64 C = p.channels, N = p.images, CH = p.sum_height, CW = p.sum_width, OH = p.height, OW = p.width;
    if (ELEMENT >= p.blocks * C * N * CH * CW) return;
    i64 x = ELEMENT % CW, y = ELEMENT / CW % CH, image = ELEMENT / (CW * CH) % N;
    i64 row = ELEMENT / (CW * CH * N), channel = row % C, block = row / C;
    i64 ox = x / p.side, oy = y / p.side;
    float gradient = 0;
    // Values that are left over on the right and below are in no window.
    if (ox < OW && oy < OH) {
        i64 corner = y % p.side * 2 + x % p.side;
        if (a.winner[((row * N + image) * OH + oy) * OW + ox] == corner)
            gradient = (float)a.scale
                * a.dy[block * C * N * OH * OW + channel * p.channel_step + image * p.image_step + oy * OW + ox];
    }
    a.dsum[ELEMENT] = gradient;
}

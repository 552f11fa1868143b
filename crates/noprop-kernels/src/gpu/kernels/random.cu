// Random numbers: the draws of the crate's `random` module, position by position.

typedef struct { u32 w[4]; } Words;

// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011).
DEVICE Words philox(u32 c0, u32 c1, u32 c2, u32 c3, u64 key) {
    u32 k0 = (u32)key, k1 = (u32)(key >> 32);
    for (int round = 0; round < 10; round++) {
        u64 p0 = (u64)0xD2511F53u * c0;
        u64 p1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    Words words = {{c0, c1, c2, c3}};
    return words;
}

#define KIND_NORMAL 0
#define KIND_NORMAL_ROW 1
#define KIND_UNIFORM 2
#define KIND_DROPOUT 3

// Four standard normal draws (Box and Muller), in f64 as on the host.
DEVICE void normals(Words w, float *out) {
    for (int pair = 0; pair < 2; pair++) {
        const double unit = 1.0 / 4294967296.0;
        double r = sqrt(-2.0 * log(((double)w.w[2 * pair] + 0.5) * unit));
        double angle = (double)w.w[2 * pair + 1] * (unit * 6.283185307179586476925286766559);
        out[2 * pair] = (float)(r * cos(angle));
        out[2 * pair + 1] = (float)(r * sin(angle));
    }
}

// Standard normal draws. p: out [T, count]. n: T, count. A thread makes four.
KERNEL(normal) {
    float *out = (float *)a.p[0];
    i64 blocks = a.n[0], count = a.n[1];
    i64 fours = (count + 3) / 4;
    if (ELEMENT >= blocks * fours) return;
    i64 block = ELEMENT / fours, four = ELEMENT % fours;
    float draws[4];
    normals(philox((u32)four, (u32)(four >> 32), 0, KIND_NORMAL, a.key[block]), draws);
    for (int i = 0; i < 4 && four * 4 + i < count; i++) out[block * count + four * 4 + i] = draws[i];
}

// Standard normal draws, a stream's draws for a row of that name. p: out [R, width], rows [R] u32. n: R, width.
KERNEL(normal_rows) {
    float *out = (float *)a.p[0];
    const u32 *rows = (const u32 *)a.p[1];
    i64 width = a.n[1];
    i64 fours = (width + 3) / 4;
    if (ELEMENT >= a.n[0] * fours) return;
    i64 row = ELEMENT / fours, four = ELEMENT % fours;
    float draws[4];
    normals(philox((u32)four, (u32)(four >> 32), rows[row], KIND_NORMAL_ROW, a.key[0]), draws);
    for (int i = 0; i < 4 && four * 4 + i < width; i++) out[row * width + four * 4 + i] = draws[i];
}

// Uniform draws in [0, 1). p: out [T, count]. n: T, count. A thread makes four.
KERNEL(uniform) {
    float *out = (float *)a.p[0];
    i64 blocks = a.n[0], count = a.n[1];
    i64 fours = (count + 3) / 4;
    if (ELEMENT >= blocks * fours) return;
    i64 block = ELEMENT / fours, four = ELEMENT % fours;
    Words w = philox((u32)four, (u32)(four >> 32), 0, KIND_UNIFORM, a.key[block]);
    for (int i = 0; i < 4 && four * 4 + i < count; i++)
        out[block * count + four * 4 + i] = (float)(w.w[i] >> 8) * (1.0f / 16777216.0f);
}

// A grid of `count` equal steps of [0, 1), shifted by one uniform draw, what leaves it at 1 coming in at 0. p: out [count]. n: count.
KERNEL(spread) {
    i64 count = a.n[0];
    if (ELEMENT >= count) return;
    float shift = (float)(philox(0, 0, 0, KIND_UNIFORM, a.key[0]).w[0] >> 8) * (1.0f / 16777216.0f);
    float place = (float)ELEMENT / (float)count + shift;
    ((float *)a.p[0])[ELEMENT] = place - (float)(int)place;
}

// Whether dropout keeps element `element` of image number `image`: the order of draws is the host's.
DEVICE int kept(u64 key, u64 image, i64 element, u32 threshold) {
    u32 counter = (u32)(16 * (element / 128) + element % 16);
    u32 draw = (u32)((element % 128) / 16);
    Words w = philox(counter, (u32)image, (u32)(image >> 32), KIND_DROPOUT, key);
    u32 bits = draw < 4 ? w.w[draw] & 0xFFFF : w.w[draw - 4] >> 16;
    return bits >= threshold;
}

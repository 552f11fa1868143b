// Random numbers: the draws of the crate's module `random`, position by position.

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

// Draws of several streams.
typedef struct {
    Write out; // [T, count]
    Size blocks, count;
    Keys keys;
} Draws;

// Standard normal draws. Each thread makes four.
typedef struct {
    Draws draws;
} Normal;

KERNEL(normal, Normal) {
    i64 count = a.draws.count, fours = (count + 3) / 4;
    if (ELEMENT >= a.draws.blocks * fours) return;
    i64 block = ELEMENT / fours, four = ELEMENT % fours;
    float *out = a.draws.out + block * count + four * 4;
    float draws[4];
    normals(philox((u32)four, (u32)(four >> 32), 0, KIND_NORMAL, a.draws.keys[block]), draws);
    for (int i = 0; i < 4 && four * 4 + i < count; i++) out[i] = draws[i];
}

// Uniform draws in [0, 1). Each thread makes four.
typedef struct {
    Draws draws;
} Uniform;

KERNEL(uniform, Uniform) {
    i64 count = a.draws.count, fours = (count + 3) / 4;
    if (ELEMENT >= a.draws.blocks * fours) return;
    i64 block = ELEMENT / fours, four = ELEMENT % fours;
    float *out = a.draws.out + block * count + four * 4;
    Words w = philox((u32)four, (u32)(four >> 32), 0, KIND_UNIFORM, a.draws.keys[block]);
    for (int i = 0; i < 4 && four * 4 + i < count; i++)
        out[i] = (float)(w.w[i] >> 8) * (1.0f / 16777216.0f);
}

// Standard normal draws of one stream, for rows by their names. Each thread makes four.
typedef struct {
    Write out;     // [R, width]
    ReadU32 names; // [R]
    Size rows, width;
    Key key;
} NormalRows;

KERNEL(normal_rows, NormalRows) {
    i64 width = a.width, fours = (width + 3) / 4;
    if (ELEMENT >= a.rows * fours) return;
    i64 row = ELEMENT / fours, four = ELEMENT % fours;
    float *out = a.out + row * width + four * 4;
    float draws[4];
    normals(philox((u32)four, (u32)(four >> 32), a.names[row], KIND_NORMAL_ROW, a.key), draws);
    for (int i = 0; i < 4 && four * 4 + i < width; i++) out[i] = draws[i];
}

// A grid of `count` equal steps of [0, 1), shifted by one uniform draw; values that leave it at 1 come in again at 0.
typedef struct {
    Write out; // [count]
    Size count;
    Key key;
} Spread;

KERNEL(spread, Spread) {
    if (ELEMENT >= a.count) return;
    float shift = (float)(philox(0, 0, 0, KIND_UNIFORM, a.key).w[0] >> 8) * (1.0f / 16777216.0f);
    float place = (float)ELEMENT / (float)a.count + shift;
    a.out[ELEMENT] = place - (float)(int)place;
}

// Returns 1 if dropout keeps element `element` of image number `image`. The order of draws is the host's.
DEVICE int kept(u64 key, u64 image, i64 element, u32 threshold) {
    u32 counter = (u32)(16 * (element / 128) + element % 16);
    u32 draw = (u32)((element % 128) / 16);
    Words w = philox(counter, (u32)image, (u32)(image >> 32), KIND_DROPOUT, key);
    u32 bits = draw < 4 ? w.w[draw] & 0xFFFF : w.w[draw - 4] >> 16;
    return bits >= threshold;
}

// What every kernel starts from. The kernels are CUDA that is C as well: with another prelude a C compiler makes host code of
// them, which the tests run on machines without a GPU.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// Random streams in one launch; more blocks take more launches.
#define STREAMS 64

// All arguments of any kernel: tensors, sizes, factors, and one random stream a block.
typedef struct {
    void *p[8];
    i64 n[13];
    double f[8];
    u64 key[STREAMS];
} Args;

#ifdef HOST
#define KERNEL(name) void name(const Args a)
#define DEVICE static inline
#define SHARED static
#else
#define KERNEL(name) extern "C" __global__ void name(const Args a)
#define DEVICE static __device__ __forceinline__
#define SHARED __shared__
#define barrier() __syncthreads()
#define thread() ((i64)threadIdx.x)
#define group() ((i64)blockIdx.x)
#endif

// Threads of a group.
#define THREADS 256

// The element that this thread works on, where there is a thread an element.
#define ELEMENT (group() * THREADS + thread())

// The sum of `value` over the threads of a group, in an order that never changes.
DEVICE float sum_of_group(float value, float *shared) {
    shared[thread()] = value;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        barrier();
        if (thread() < half) shared[thread()] += shared[thread() + half];
    }
    barrier();
    float sum = shared[0];
    // Nobody may write again before everybody has read.
    barrier();
    return sum;
}

// f32 to bf16: to nearest, ties to even.
DEVICE u16 to_bf16(float value) {
    union { float f; u32 u; } bits;
    bits.f = value;
    if (value != value) return (u16)(bits.u >> 16) | 0x40;
    return (u16)((bits.u + 0x7FFF + ((bits.u >> 16) & 1)) >> 16);
}

// Writes to a tensor of f32, or of bf16.
DEVICE void put(void *tensor, i64 at, float value, i64 bf16) {
    if (bf16) ((u16 *)tensor)[at] = to_bf16(value);
    else ((float *)tensor)[at] = value;
}

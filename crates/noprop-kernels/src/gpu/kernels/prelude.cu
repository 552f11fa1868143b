// The beginning of every kernel. The kernels are CUDA that is C as well: with another prelude a C compiler makes host code of
// them, which the tests run on machines without a GPU.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// The most random streams in one launch; more blocks take more launches.
#define STREAMS 64

// The types of arguments, as in arguments.rs. A kernel takes one struct of them.
typedef const float *Read;
typedef float *Write;
typedef const u32 *ReadU32;
typedef const u8 *ReadU8;
typedef u8 *WriteU8;
typedef void *WriteAny;
typedef i64 Size;
typedef i64 Flag;
typedef double Factor;
typedef u64 Key;
typedef u64 Keys[STREAMS];

#ifdef HOST
#define KERNEL(name, Arguments) \
    static void name##_with(const Arguments a); \
    void name(const void *arguments) { name##_with(*(const Arguments *)arguments); } \
    static void name##_with(const Arguments a)
#define DEVICE static inline
#define SHARED static
#else
#define KERNEL(name, Arguments) extern "C" __global__ void name(const Arguments a)
#define DEVICE static __device__ __forceinline__
#define SHARED __shared__
#define barrier() __syncthreads()
#define thread() ((i64)threadIdx.x)
#define group() ((i64)blockIdx.x)
#endif

// The threads of a group.
#define THREADS 256

// The element that belongs to this thread, in a launch with one thread for each element.
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
    // All threads must have read before any may write again.
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

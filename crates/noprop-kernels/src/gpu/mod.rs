//! The ops on GPUs by NVIDIA: all `T` blocks in one launch.
//!
//! Each op is candle's matrix products with kernels of our own around them. The kernels (`kernels/*.cu`) are compiled by NVRTC
//! for the GPU that is there, once a process. They are C as well as CUDA: the tests compile them for the host and run every op
//! here, products, launches and gradients alike, on CPU tensors beside the CPU's own ops.
//!
//! Products are in f32, in f32 rounded to TF32, or in bf16 ([`Precision`](crate::Precision)); all else is f32.

pub(crate) mod adam;
pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod launch;
pub(crate) mod linear;
pub(crate) mod loss;
#[cfg(feature = "cuda")]
mod memory;
mod node;
mod product;
pub(crate) mod random;

#[cfg(feature = "cuda")]
pub(crate) use memory::{keep_freed_memory, peak};

#[cfg(test)]
mod host;
#[cfg(test)]
mod tests;

/// Every kernel's source.
const SOURCES: [&str; 5] = [
    include_str!("kernels/prelude.cu"),
    include_str!("kernels/random.cu"),
    include_str!("kernels/conv.cu"),
    include_str!("kernels/dense.cu"),
    include_str!("kernels/loss.cu"),
];

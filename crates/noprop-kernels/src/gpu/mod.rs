//! The ops on NVIDIA's GPUs: all `T` blocks in one launch.
//!
//! Each op is candle's matrix products with this crate's kernels around them. NVRTC compiles the kernels (`kernels/*.cu`) for
//! the GPU at hand, once in a process. They are C as well as CUDA: the tests compile them for the host and run every op here,
//! with its products, launches and gradients, on CPU tensors beside the CPU's own ops.
//!
//! Products are in f32, in f32 rounded to TF32, or in bf16 ([`Precision`](crate::Precision)); everything else is f32.

pub(crate) mod adam;
mod arguments;
pub(crate) mod batch_norm;
pub(crate) mod conv;
mod launch;
pub(crate) mod linear;
pub(crate) mod loss;
#[cfg(feature = "cuda")]
mod memory;
mod operand;
mod product;
pub(crate) mod random;
mod sources;

#[cfg(feature = "cuda")]
pub(crate) use memory::{keep_freed_memory, peak};

#[cfg(test)]
mod host;
#[cfg(test)]
mod tests;

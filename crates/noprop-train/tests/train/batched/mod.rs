//! Batched blocks make the same steps as blocks that run one by one, except for rounding, and a GPU makes the same steps as the
//! CPU.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod support;

//! Blocks side by side in one call take the steps that they take one by one, but for rounding, and a GPU takes those of the CPU.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod support;

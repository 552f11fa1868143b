//! Blocks side by side in one call take the steps that they take one by one, but for rounding, and a GPU takes those of the CPU.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[path = "../parts_of_a_run/mod.rs"]
mod parts_of_a_run;
mod support;

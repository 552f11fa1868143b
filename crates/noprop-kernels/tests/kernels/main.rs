//! The ops against their references, against central differences and against other implementations.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod agreement;
mod candle_faults;
mod gradients;
mod independence;
mod optimizers;
mod refusals;
mod support;

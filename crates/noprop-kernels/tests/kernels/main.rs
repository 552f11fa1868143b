//! The ops beside their references, central differences and other implementations.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails must fail its test")]

mod agreement;
mod candle_faults;
mod gradients;
mod independence;
#[cfg(feature = "nn")]
mod nn;
mod optimizers;
mod refusals;
mod support;

//! The ops against their references, against central differences and against other implementations.

mod agreement;
mod candle_faults;
mod gradients;
mod optimizers;
mod support;

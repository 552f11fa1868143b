//! The hot path of noprop: differentiable candle ops for training image denoisers, fused where that pays, each with a
//! plain candle reference beside it.
//!
//! # Purpose
//! One training step of a block is three convolutions, a few dense layers and an optimizer update. candle's own ops
//! make that seven times slower than PyTorch on the same CPU, and its pooling gradient is wrong. The ops here are whole
//! layers ([`Conv3x3`], [`linear_act`], [`batch_norm()`]), losses ([`denoise_loss`], [`cross_entropy`]), seeded random
//! numbers ([`random`]) and optimizers ([`optim`]).
//!
//! # One design decision: a leading block dimension
//! Every op takes `T` blocks at once: images `[Tx, N, C, H, W]`, weights `[T, …]`. NoProp trains many small networks of
//! one shape that do not talk to each other; with the dimension in the op a GPU sees one large launch instead of `T`
//! small ones, an input that all blocks share is read once (`Tx = 1`), and the CPU may still take them one at a time.
//!
//! # For programs
//! Call [`memory::keep_freed`] and [`threads::configure`] first thing in `main`, and use [`conv3x3_stack`] where several
//! convolutions follow each other: together they halve the time of a training step. Results depend neither on the number
//! of threads nor on how blocks are grouped into calls.
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use noprop_kernels::{Backend, Precision, denoise_loss, linear};
//!
//! let x = Tensor::ones((1, 4, 3), DType::F32, &Device::Cpu)?;
//! let w = Var::zeros((2, 5, 3), DType::F32, &Device::Cpu)?;
//! let b = Var::zeros((2, 5), DType::F32, &Device::Cpu)?;
//! let logits = linear(&x, &w, &b, Precision::F32, Backend::Auto)?;
//! let one_hot = Tensor::eye(5, DType::F32, &Device::Cpu)?;
//! let labels = Tensor::new(&[0_u32, 1, 2, 3], &Device::Cpu)?;
//! let losses = denoise_loss(&logits, &one_hot, &labels, Backend::Auto)?; // one a block
//! assert_eq!(losses.dims(), [2]);
//! let gradients = losses.sum_all()?.backward()?;
//! assert!(gradients.get(&w).is_some());
//! # Ok::<(), candle_core::Error>(())
//! ```

mod backend;
mod batch_norm;
mod conv;
mod cpu;
mod dropout;
mod error;
#[cfg(any(test, feature = "cuda"))]
mod gpu;
mod linear;
mod loss;
pub mod memory;
pub mod optim;
pub mod random;
mod shape;
pub mod threads;

#[cfg(feature = "cuda")]
pub use backend::cuda_device;
pub use backend::{Activation, Backend, Precision, keeping_copies, peak_device_memory};
pub use batch_norm::{BatchNormMode, BatchNormOutput, batch_norm, follow_statistics};
pub use conv::{Conv3x3, Padding, Pool, conv3x3_stack};
pub use cpu::instruction_set::InstructionSet;
pub use dropout::Dropout;
pub use error::{KernelError, Result};
pub use linear::{linear, linear_act, linear_joined};
pub use loss::{Targets, cross_entropy, denoise_loss};

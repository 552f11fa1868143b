//! The hot path of noprop: differentiable candle ops for training image denoisers, fused where that pays, each with a
//! plain candle reference beside it.
//!
//! # Purpose
//! One training step of a block is three convolutions, a few dense layers and an optimizer update. candle's own ops
//! make that seven times slower than PyTorch on the same CPU, and its pooling gradient is wrong. The ops here are whole
//! layers ([`Conv3x3`], [`Linear`], [`BatchNorm`]), losses ([`denoise_loss`], [`cross_entropy`]), seeded random
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
//! use noprop_kernels::{Backend, Linear, denoise_loss};
//!
//! let x = Tensor::ones((1, 4, 3), DType::F32, &Device::Cpu)?;
//! let w = Var::zeros((2, 5, 3), DType::F32, &Device::Cpu)?;
//! let b = Var::zeros((2, 5), DType::F32, &Device::Cpu)?;
//! let logits = Linear::default().forward(&x, &w, &b)?;
//! let one_hot = Tensor::eye(5, DType::F32, &Device::Cpu)?;
//! let labels = Tensor::new(&[0_u32, 1, 2, 3], &Device::Cpu)?;
//! let losses = denoise_loss(&logits, &one_hot, &labels, Backend::Auto)?; // one a block
//! assert_eq!(losses.dims(), [2]);
//! let gradients = losses.sum_all()?.backward()?;
//! assert!(gradients.get(&w).is_some());
//! # Ok::<(), candle_core::Error>(())
//! ```

mod activation;
mod backend;
mod batch_norm;
mod conv;
mod cpu;
mod device;
mod dropout;
mod error;
#[cfg(any(test, feature = "cuda"))]
mod gpu;
mod linear;
mod loss;
pub mod memory;
pub mod optim;
mod pool;
pub mod random;
mod shape;
pub mod threads;

pub use activation::Activation;
pub use backend::{Backend, Precision};
pub use batch_norm::{BatchNorm, BatchNormMode, BatchNormOutput};
/// The tensors in this crate's signatures.
pub use candle_core;
pub use conv::{Conv3x3, Padding, Pool, conv3x3_stack};
pub use cpu::instruction_set::InstructionSet;
#[cfg(feature = "cuda")]
pub use device::cuda_device;
pub use device::{keeping_copies, peak_device_memory};
pub use dropout::Dropout;
pub use error::{KernelError, Result};
pub use linear::Linear;
pub use loss::{Targets, cross_entropy, denoise_loss};

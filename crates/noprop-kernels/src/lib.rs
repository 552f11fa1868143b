//! Fused, differentiable candle ops for training image classifiers.
//!
#![doc = include_str!("../README.md")]

mod activation;
mod attention;
mod backend;
mod batch_norm;
mod conv;
mod cpu;
mod device;
mod dropout;
mod error;
mod gelu;
#[cfg(any(test, feature = "cuda"))]
mod gpu;
mod gradients;
mod layer_norm;
mod linear;
mod loss;
pub mod memory;
#[cfg(feature = "nn")]
pub mod nn;
mod node;
pub mod optim;
mod pool;
pub mod random;
mod shape;
pub mod threads;
mod transformer;

pub use activation::Activation;
pub use attention::Attention;
pub use backend::{Backend, Precision};
pub use batch_norm::{BatchNorm, BatchNormMode, BatchNormOutput, BatchStatistics};
/// The tensors in this crate's signatures.
pub use candle_core;
pub use conv::{
    After, Conv3x3, ConvNorm, ConvNormOutput, ConvNormStack, Padding, Pool, conv3x3_stack,
};
#[cfg(feature = "cuda")]
pub use device::cuda_device;
pub use device::{keeping_copies, peak_device_memory};
pub use dropout::Dropout;
pub use error::{KernelError, Result};
pub use gelu::gelu;
pub use gradients::backward;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use loss::{Targets, cross_entropy, denoise_loss};
pub use pool::global_max_pool;
pub use transformer::{TransformerLayer, TransformerParameters};

//! Layers and an optimizer for networks of candle-nn, on this crate's ops. (Feature `nn`.)
//!
//! Names, shapes, initial values and the names of tensors are candle-nn's, so that a network changes its `use` lines and little
//! else, and weights files are interchangeable. Two things differ from candle: [`max_pool2d`] has the right gradient, and
//! [`dropout`] is seeded.
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor};
//! use candle_nn::{Module, ModuleT, Optimizer, ParamsAdamW, VarBuilder, VarMap};
//! use noprop_kernels::Padding;
//! use noprop_kernels::nn::{AdamW, batch_norm, conv3x3, dropout, linear, max_pool2d};
//! use noprop_kernels::random::StreamKey;
//!
//! # fn main() -> Result<()> {
//! let parameters = VarMap::new();
//! let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
//! let conv = conv3x3(1, 8, Padding::Same, vb.pp("conv"))?;
//! let norm = batch_norm(8, 1e-5, vb.pp("norm"))?;
//! let head = linear(8 * 4 * 4, 10, vb.pp("head"))?;
//!
//! let images = Tensor::zeros((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
//! let labels = Tensor::new(&[3_u32, 7], &Device::Cpu)?;
//! let mut optimizer = AdamW::new(parameters.all_vars(), ParamsAdamW::default())?;
//! for step in 0..2 {
//!     let h = norm.forward_t(&conv.forward(&images)?, true)?.relu()?;
//!     let h = dropout(&max_pool2d(&h, 2)?, 0.2, StreamKey::derive(1, &[step]))?;
//!     let logits = head.forward(&h.flatten_from(1)?)?;
//!     optimizer.backward_step(&candle_nn::loss::cross_entropy(&logits, &labels)?)?;
//! }
//! # Ok(())
//! # }
//! ```

mod adamw;
mod dropout;
mod layers;
mod max_pool;

pub use adamw::AdamW;
pub use dropout::dropout;
pub use layers::{BatchNorm, Conv3x3, Linear, batch_norm, conv3x3, linear};
pub use max_pool::max_pool2d;

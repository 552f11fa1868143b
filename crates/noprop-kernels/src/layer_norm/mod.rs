//! Layer normalisation (Ba, Kiros and Hinton 2016).

pub(crate) mod fused;

use candle_core::{D, DType, Tensor};

use crate::backend::{Backend, Chosen};
use crate::error::Result;
use crate::shape;

const OP: &str = "layer_norm";

/// A layer normalisation: `γ (x - mean) / √(var + eps) + β`, row by row.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::LayerNorm;
///
/// let x = Tensor::arange(0f32, 12.0, &Device::Cpu)?.reshape((1, 3, 4))?;
/// let gamma = Tensor::ones((1, 4), DType::F32, &Device::Cpu)?;
/// let y = LayerNorm::default().forward(&x, &gamma, &gamma.zeros_like()?)?;
/// assert!(y.mean_all()?.to_scalar::<f32>()?.abs() < 1e-6);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// The number that is added to the variance.
    pub eps: f64,
    /// The implementation to use. The fused kernel runs on the CPU; on other devices [`Backend::Auto`] uses candle's ops.
    pub backend: Backend,
}

impl Default for LayerNorm {
    /// `eps` 1e-5, as in PyTorch and candle-nn.
    fn default() -> Self {
        Self { eps: 1e-5, backend: Backend::default() }
    }
}

impl LayerNorm {
    /// Applies the layer of every block.
    ///
    /// `x` is `[T, N, F]`, `gamma` (γ) and `beta` (β) are `[T, F]`. Mean and variance are those of the F values of a row. Gradients flow to all
    /// three.
    ///
    /// # Errors
    /// [`KernelError::Shape`](crate::KernelError::Shape) or [`KernelError::DType`](crate::KernelError::DType) when the
    /// arguments do not fit together; [`KernelError::FusedUnavailable`](crate::KernelError::FusedUnavailable).
    pub fn forward(&self, x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
        let [blocks, _, features] = shape::dims(OP, "x", x, "[T, N, F]")?;
        for (name, tensor) in [("gamma", gamma), ("beta", beta)] {
            shape::exactly(OP, name, tensor, &[blocks, features])?;
            shape::alike(OP, name, tensor, x)?;
        }
        match (self.backend.choose(OP, x)?, x.dtype()) {
            (Chosen::Fused, DType::F32) => Ok(fused::apply::<f32>(self.eps, x, gamma, beta)?),
            (Chosen::Fused, _) => Ok(fused::apply::<f64>(self.eps, x, gamma, beta)?),
            _ => {
                let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                let normal = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
                let scaled = normal.broadcast_mul(&gamma.unsqueeze(1)?)?;
                Ok(scaled.broadcast_add(&beta.unsqueeze(1)?)?)
            }
        }
    }
}

//! Which implementation of an op runs.

use candle_core::{DType, Tensor};

use crate::error::{KernelError, Result};

/// Selects the implementation of an op. Values and gradients agree whatever is chosen; only speed and memory differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// [`Backend::Fused`] on the CPU in f32 or f64, [`Backend::Reference`] anywhere else.
    #[default]
    Auto,
    /// One pass over the data in our own kernels. An error where there are none.
    Fused,
    /// Plain candle ops, the yardstick of the fused ones. Runs on every device candle supports.
    Reference,
}

/// What the factors of a dense layer's products are rounded to, forward and backward. Sums, parameters and everything else
/// are in the tensors' own type whatever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nothing: f32 is multiplied as it is, and so is f64.
    #[default]
    F32,
    /// bf16, f32 with 8 bits of precision, to nearest, ties to even: about half the time of f32 where the processor has
    /// AVX-512 BF16. For f32 only.
    Bf16,
}

/// The implementation that was settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    Fused,
    Reference,
}

impl Backend {
    /// Settles on an implementation for tensors like `x`.
    pub(crate) fn choose(self, op: &'static str, x: &Tensor) -> Result<Chosen> {
        let available = x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64);
        match (self, available) {
            (Self::Auto | Self::Fused, true) => Ok(Chosen::Fused),
            (Self::Auto, false) | (Self::Reference, _) => Ok(Chosen::Reference),
            (Self::Fused, false) => Err(KernelError::FusedUnavailable { op }),
        }
    }
}

/// What is applied element by element after an affine op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing: `f(v) = v`.
    #[default]
    None,
    /// `f(v) = max(v, 0)`, with `f'(0) = 0` and not-a-number passed on.
    Relu,
}

/// `max(v, 0)` in plain candle ops. candle's own `relu` has slope 1 at zero; here it is 0, as in the fused kernels.
pub(crate) fn reference_relu(v: &Tensor) -> candle_core::Result<Tensor> {
    // `v <= 0` selects the zero, so a not-a-number, for which it is false, is passed on.
    v.le(0.0)?.where_cond(&v.zeros_like()?, v)
}

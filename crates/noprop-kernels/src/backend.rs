//! The choice of an op's implementation, and of the rounding of its products.

use candle_core::{DType, Tensor};

use crate::error::{KernelError, Result};

/// Selects the implementation of an op. Values and gradients agree between them; only speed and memory differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// [`Backend::Fused`] on the CPU in f32 or f64 and on CUDA in f32, [`Backend::Reference`] anywhere else.
    #[default]
    Auto,
    /// This crate's own kernels, one pass over the data. An error on other devices and in other types.
    Fused,
    /// Plain candle ops, the yardstick of the fused ones. They run on every device that candle supports.
    Reference,
    /// The GPU's ops on the CPU, where they are tested beside the CPU's own.
    #[cfg(test)]
    Gpu,
}

/// The rounding of products' factors, forward and backward: those of dense layers, and on GPUs those of convolutions too. Parameters
/// and everything else stay in the tensors' own type, and so do sums, except those of products in bf16 on CUDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// No rounding: f32 is multiplied as it is, and so is f64.
    #[default]
    F32,
    /// bf16, which is f32 with 8 bits of precision, to nearest, ties to even. Products take about half the time of f32 on processors
    /// with AVX-512 BF16, and on GPUs. On CUDA a product itself comes back in bf16, forward and backward. For f32 only.
    Bf16,
    /// TF32, which is f32 with 11 bits of precision: the fast products of NVIDIA's GPUs. It has no effect on other devices.
    Tf32,
}

/// The implementation that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    Fused,
    Reference,
    #[cfg(any(test, feature = "cuda"))]
    Gpu,
}

impl Backend {
    /// Chooses the implementation of `op` for tensors of the type and device of `x`.
    pub(crate) fn choose(self, op: &'static str, x: &Tensor) -> Result<Chosen> {
        #[cfg(feature = "cuda")]
        if self != Self::Reference && x.device().is_cuda() && x.dtype() == DType::F32 {
            return Ok(Chosen::Gpu);
        }
        let available = x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64);
        match (self, available) {
            (Self::Auto | Self::Fused, true) => Ok(Chosen::Fused),
            (Self::Auto, false) | (Self::Reference, _) => Ok(Chosen::Reference),
            (Self::Fused, false) => Err(KernelError::FusedUnavailable { op }),
            #[cfg(test)]
            (Self::Gpu, _) => Ok(Chosen::Gpu),
        }
    }
}

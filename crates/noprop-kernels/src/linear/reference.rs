//! The dense layer in plain candle ops.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Layout, MetalStorage, Result, Shape, Tensor,
};

use super::{Linear, OP};
use crate::backend::Precision;

/// See [`Linear::forward`].
pub(super) fn apply(layer: Linear, x: &Tensor, w: &Tensor, b: &Tensor) -> crate::Result<Tensor> {
    let product = match layer.precision {
        Precision::F32 | Precision::Tf32 => x.broadcast_matmul(&w.transpose(1, 2)?)?,
        Precision::Bf16 => rounded(x)?
            .broadcast_matmul(&rounded(w)?.transpose(1, 2)?)?
            .contiguous()?
            .apply_op1(RoundedGradient)?,
    };
    Ok(layer.act.reference(product.broadcast_add(&b.unsqueeze(1)?)?)?)
}

/// `x` rounded to bf16, with the gradient of `x` itself.
fn rounded(x: &Tensor) -> Result<Tensor> {
    // The difference of a number and its rounding is exact, and so is their sum.
    x + (round(x)? - x)?.detach()
}

fn round(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::BF16)?.to_dtype(x.dtype())
}

/// The identity forward. Backward it rounds the gradient, which is a factor of the products that follow.
struct RoundedGradient;

impl CustomOp1 for RoundedGradient {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((x.clone(), layout.shape().clone()))
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((x.try_clone(layout)?, layout.shape().clone()))
    }

    fn metal_fwd(&self, x: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        Ok((x.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        round(gradient).map(Some)
    }
}

//! Matrix products of all blocks at once.

use candle_core::{DType, Result, Tensor};

use crate::backend::Precision;

/// `a[t] b[t]`, f32: `a` is `[T, M, K]`, `b` is `[T, K, N]`; either may have a leading 1 instead of T.
pub(super) fn product(a: &Tensor, b: &Tensor, precision: Precision) -> Result<Tensor> {
    let blocks = a.dim(0)?.max(b.dim(0)?);
    let (a, b) = match precision {
        Precision::F32 | Precision::Tf32 => (a.clone(), b.clone()),
        Precision::Bf16 => (a.to_dtype(DType::BF16)?, b.to_dtype(DType::BF16)?),
    };
    // With one right factor for all blocks, candle's CPU product stacks the left ones row by row even if they are transposed.
    let a = if b.dim(0)? < blocks { a.contiguous()? } else { a };
    let (a, b) = (spread(&a, blocks)?, spread(&b, blocks)?);
    rounding_to_tf32(precision, || a.matmul(&b))?.to_dtype(DType::F32)
}

/// Runs `multiply`, with f32 rounded to TF32 if `precision` is that. candle's switch is one for the whole process, so the products of
/// several threads take turns: another thread's switch would round this one's factors, or leave them as they are. A turn is short, since a
/// product is queued, not computed, when the call returns. candle's own ops outside of this module wait for no turn.
#[cfg(feature = "cuda")]
fn rounding_to_tf32(
    precision: Precision,
    multiply: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    use std::sync::{Mutex, PoisonError};

    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    candle_core::cuda::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
    let product = multiply();
    candle_core::cuda::set_gemm_reduced_precision_f32(false);
    product
}

/// Runs `multiply`: without a GPU nothing is rounded to TF32.
#[cfg(not(feature = "cuda"))]
fn rounding_to_tf32(_: Precision, multiply: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
    multiply()
}

/// `x` for every block, without a copy.
fn spread(x: &Tensor, blocks: usize) -> Result<Tensor> {
    let (leading, rows, columns) = x.dims3()?;
    match leading == blocks {
        true => Ok(x.clone()),
        false => x.broadcast_as((blocks, rows, columns)),
    }
}

/// The element type of a product's factors.
pub(super) fn factor_type(precision: Precision) -> DType {
    match precision {
        Precision::F32 | Precision::Tf32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

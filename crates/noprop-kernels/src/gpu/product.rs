//! Matrix products of all blocks at once.

use candle_core::{DType, Result, Tensor};

use crate::backend::Precision;

/// `a[t] b[t]`, f32: `a` is `[T, M, K]`, `b` is `[T, K, N]`; either may have a leading 1 instead of T.
///
/// Under [`Precision::Tf32`] the rounding is the library's, by a switch of the whole process ([`crate::tf32_products`]).
pub(super) fn product(a: &Tensor, b: &Tensor, precision: Precision) -> Result<Tensor> {
    let blocks = a.dim(0)?.max(b.dim(0)?);
    let (a, b) = match precision {
        Precision::F32 | Precision::Tf32 => (a.clone(), b.clone()),
        Precision::Bf16 => (a.to_dtype(DType::BF16)?, b.to_dtype(DType::BF16)?),
    };
    // candle's CPU product with one right factor for all stacks the left ones row by row even where they are transposed.
    let a = if b.dim(0)? < blocks { a.contiguous()? } else { a };
    spread(&a, blocks)?.matmul(&spread(&b, blocks)?)?.to_dtype(DType::F32)
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

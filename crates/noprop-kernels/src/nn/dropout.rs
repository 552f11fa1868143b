//! Seeded dropout of any tensor.

use candle_core::{Result, Tensor};

use crate::dropout::Dropout;
use crate::random::key::StreamKey;

/// Zeroes each value of `x`, `[N, …]`, with probability `rate` and divides the rest by `1 - rate`. Use it in training only.
///
/// A value's fate depends on `stream`, on its row, the first dimension, and on its place within the row, and on nothing else.
/// Derive another stream for every layer and every step, with [`StreamKey::derive`].
///
/// # Errors
/// [`KernelError::DropoutRate`](crate::KernelError::DropoutRate) unless `0 <= rate < 1`; candle's for a tensor without
/// dimensions.
pub fn dropout(x: &Tensor, rate: f64, stream: StreamKey) -> Result<Tensor> {
    let dropout = Dropout::new(rate, vec![stream])?;
    let rows = x.dim(0)?;
    let sizes = [1, rows, 1, x.elem_count() / rows.max(1)];
    x * dropout.mask(sizes, x.dtype(), x.device())?.reshape(x.dims())?
}

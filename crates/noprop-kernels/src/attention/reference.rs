//! Attention in plain candle ops: the yardstick of the fused kernel, and the implementation for other devices.

use candle_core::{D, Result, Tensor};

use super::Sizes;

/// See [`super::Attention::forward`]; the argument has been checked.
pub(super) fn apply(sizes: Sizes, qkv: &Tensor) -> Result<Tensor> {
    let Sizes { blocks, images, tokens, heads, width } = sizes;
    let qkv = qkv.reshape(vec![blocks * images, tokens, 3, heads, width])?;
    let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
    let (q, k, v) = ((part(0)? / (width as f64).sqrt())?, part(1)?, part(2)?);
    let scores = q.matmul(&k.t()?.contiguous()?)?;
    let e = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?.exp()?;
    let shares = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
    shares.matmul(&v)?.transpose(1, 2)?.reshape((blocks, images, tokens, heads * width))
}

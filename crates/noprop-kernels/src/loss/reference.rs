//! The losses in plain candle ops.

use candle_core::{D, Tensor};

use super::Targets;
use crate::error::Result;

/// See [`super::denoise_loss`].
pub(super) fn denoise_loss(
    logits: &Tensor,
    embeddings: &Tensor,
    targets: Targets<'_>,
) -> Result<Tensor> {
    let weights = log_softmax(logits)?.exp()?;
    let (blocks, rows, classes) = weights.dims3()?;
    let predicted = weights.reshape((blocks * rows, classes))?.matmul(embeddings)?.reshape((
        blocks,
        rows,
        (),
    ))?;
    let target = embeddings.index_select(targets.labels, 0)?;
    let error = predicted.broadcast_sub(&target)?.sqr()?;
    Ok(targets.weigh(error.sum(D::Minus1)?)?.mean(D::Minus1)?)
}

/// See [`super::cross_entropy`].
pub(super) fn cross_entropy(logits: &Tensor, targets: Targets<'_>) -> Result<Tensor> {
    let (blocks, rows, _) = logits.dims3()?;
    let index =
        targets.labels.reshape((1, rows, 1))?.broadcast_as((blocks, rows, 1))?.contiguous()?;
    let picked = log_softmax(logits)?.gather(&index, 2)?;
    Ok(targets.weigh(picked.squeeze(2)?)?.mean(1)?.neg()?)
}

/// `v - log Σ exp v` along the last dimension, shifted by the maximum against overflow.
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(shifted.broadcast_sub(&log_sum)?)
}

//! Batch normalisation, with the ReLU that usually follows it.

mod fused;

use candle_core::{Tensor, Var};

use crate::backend::{Activation, Backend, Chosen, reference_relu};
use crate::error::Result;
use crate::shape;

const OP: &str = "batch_norm";

/// Where mean and variance come from.
#[derive(Clone, Copy, Debug)]
pub enum BatchNormMode<'a> {
    /// From the batch; gradients flow through them.
    Train,
    /// From running statistics, which are constants.
    Eval {
        /// Running mean, `[T, F]`.
        mean: &'a Tensor,
        /// Running variance, `[T, F]`.
        var: &'a Tensor,
    },
}

/// The result of [`batch_norm`].
#[derive(Clone, Debug)]
pub struct BatchNormOutput {
    /// The normalised batch, `[T, N, F]`.
    pub y: Tensor,
    /// The mean that was used, `[T, F]`: the batch's in training. Carries no gradient.
    pub mean: Tensor,
    /// The variance that was used, `[T, F]`: the batch's (divided by N, not N - 1) in training. Carries no gradient.
    pub var: Tensor,
}

/// `act(γ (y - mean) / √(var + eps) + β)`, feature by feature.
///
/// `y` is `[T, N, F]`, `gamma` (γ) and `beta` (β) are `[T, F]`. In [`BatchNormMode::Train`] mean and variance are those
/// of the N rows; running statistics are the caller's to keep, from the `mean` and `var` of the result. Gradients flow
/// to `y`, `gamma` and `beta`.
///
/// # Errors
/// [`KernelError::Shape`](crate::KernelError::Shape) or [`KernelError::DType`](crate::KernelError::DType) when the
/// arguments do not fit together.
pub fn batch_norm(
    y: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    mode: BatchNormMode<'_>,
    act: Activation,
    backend: Backend,
) -> Result<BatchNormOutput> {
    let [blocks, _, features] = shape::dims(OP, "y", y, "[T, N, F]")?;
    shape::exactly(OP, "gamma", gamma, &[blocks, features])?;
    shape::exactly(OP, "beta", beta, &[blocks, features])?;
    shape::same_dtype(OP, "gamma", gamma, y)?;
    shape::same_dtype(OP, "beta", beta, y)?;
    if let BatchNormMode::Eval { mean, var } = mode {
        shape::exactly(OP, "mean", mean, &[blocks, features])?;
        shape::exactly(OP, "var", var, &[blocks, features])?;
        shape::same_dtype(OP, "mean", mean, y)?;
        shape::same_dtype(OP, "var", var, y)?;
    }
    match backend.choose(OP, y)? {
        Chosen::Fused => {
            let given = match mode {
                BatchNormMode::Train => None,
                BatchNormMode::Eval { mean, var } => Some((mean, var)),
            };
            fused::apply(y, gamma, beta, eps, given, act)
        }
        #[cfg(any(test, feature = "cuda"))]
        Chosen::Gpu if matches!(mode, BatchNormMode::Train) => {
            Ok(crate::gpu::batch_norm::train(y, gamma, beta, eps, act)?)
        }
        _ => reference(y, gamma, beta, eps, mode, act),
    }
}

/// Moves running statistics, `[T, F]` each, towards those of a batch of `rows` rows: θ ← (1 − momentum) θ + momentum · batch's, in
/// place. The running variance is the unbiased one, as in PyTorch; a batch of one row has none and gives its own.
///
/// # Errors
/// candle's, for other shapes.
pub fn follow_statistics(
    (mean, var): (&Var, &Var),
    batch: &BatchNormOutput,
    rows: usize,
    momentum: f64,
) -> Result<()> {
    let rows = rows as f64;
    let unbiased = if rows > 1.0 { rows / (rows - 1.0) } else { 1.0 };
    #[cfg(feature = "cuda")]
    if mean.device().is_cuda() && mean.dtype() == candle_core::DType::F32 {
        let running = (mean.as_tensor(), var.as_tensor());
        let batch = (&batch.mean, &batch.var);
        return Ok(crate::gpu::batch_norm::follow(running, batch, momentum, unbiased)?);
    }
    follow(mean, &batch.mean, momentum)?;
    follow(var, &(&batch.var * unbiased)?, momentum)
}

fn follow(running: &Var, batch: &Tensor, momentum: f64) -> Result<()> {
    let kept = (running.as_detached_tensor() * (1.0 - momentum))?;
    Ok(running.set(&(kept + (batch.detach() * momentum)?)?)?)
}

fn reference(
    y: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    mode: BatchNormMode<'_>,
    act: Activation,
) -> Result<BatchNormOutput> {
    let (mean, var) = match mode {
        BatchNormMode::Train => {
            let mean = y.mean_keepdim(1)?;
            let var = y.broadcast_sub(&mean)?.sqr()?.mean_keepdim(1)?;
            (mean, var)
        }
        BatchNormMode::Eval { mean, var } => {
            (mean.detach().unsqueeze(1)?, var.detach().unsqueeze(1)?)
        }
    };
    let normal = y.broadcast_sub(&mean)?.broadcast_div(&(&var + eps)?.sqrt()?)?;
    let out = normal.broadcast_mul(&gamma.unsqueeze(1)?)?.broadcast_add(&beta.unsqueeze(1)?)?;
    let out = match act {
        Activation::None => out,
        Activation::Relu => reference_relu(&out)?,
    };
    Ok(BatchNormOutput { y: out, mean: mean.squeeze(1)?.detach(), var: var.squeeze(1)?.detach() })
}

//! Batch normalisation, with the ReLU that usually follows it.

mod fused;

use candle_core::{Tensor, Var};

use crate::activation::Activation;
use crate::backend::{Backend, Chosen};
use crate::error::Result;
use crate::shape;

const OP: &str = "batch_norm";

/// A batch normalisation: `act(γ (y - mean) / √(var + eps) + β)`, feature by feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// The number that is added to the variance.
    pub eps: f64,
    /// The activation of the result.
    pub act: Activation,
    /// The implementation to use.
    pub backend: Backend,
}

impl Default for BatchNorm {
    /// `eps` 1e-5, as in PyTorch and candle-nn, and no activation.
    fn default() -> Self {
        Self { eps: 1e-5, act: Activation::None, backend: Backend::default() }
    }
}

/// The source of mean and variance.
#[derive(Clone, Copy, Debug)]
pub enum BatchNormMode<'a> {
    /// The batch; gradients flow through them.
    Train,
    /// Running statistics, which are constants.
    Eval {
        /// Running mean, `[T, F]`.
        mean: &'a Tensor,
        /// Running variance, `[T, F]`.
        var: &'a Tensor,
    },
}

/// The result of [`BatchNorm::forward`].
#[derive(Clone, Debug)]
pub struct BatchNormOutput {
    /// The normalised batch, `[T, N, F]`.
    pub y: Tensor,
    /// Mean and variance that were used.
    pub statistics: BatchStatistics,
}

/// Mean and variance of a batch, or the running ones that took their place.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// The mean that was used, `[T, F]`: the batch's in training. Carries no gradient.
    pub mean: Tensor,
    /// The variance that was used, `[T, F]`: the batch's in training, divided by the number of values. Carries no gradient.
    pub var: Tensor,
    /// The number of values behind each statistic.
    pub(crate) values: usize,
}

impl BatchNormMode<'_> {
    /// Refuses γ, β and running statistics unless they are `[T, F]`, in the element type of `x`.
    pub(crate) fn check(
        self,
        op: &'static str,
        x: &Tensor,
        parameters: [&Tensor; 2],
        shape: [usize; 2],
    ) -> Result<()> {
        let [gamma, beta] = parameters;
        let statistics = match self {
            BatchNormMode::Train => vec![],
            BatchNormMode::Eval { mean, var } => vec![("mean", mean), ("var", var)],
        };
        for (name, tensor) in [("gamma", gamma), ("beta", beta)].into_iter().chain(statistics) {
            shape::exactly(op, name, tensor, &shape)?;
            shape::alike(op, name, tensor, x)?;
        }
        Ok(())
    }
}

impl BatchNorm {
    /// Applies the layer of every block.
    ///
    /// `y` is `[T, N, F]`, `gamma` (γ) and `beta` (β) are `[T, F]`. In [`BatchNormMode::Train`] mean and variance are those of
    /// the N rows, and [`BatchStatistics::update`] moves running statistics towards them. Gradients flow to `y`, `gamma` and
    /// `beta`.
    ///
    /// # Errors
    /// [`KernelError::Shape`](crate::KernelError::Shape) or [`KernelError::DType`](crate::KernelError::DType) when the
    /// arguments do not fit together.
    pub fn forward(
        &self,
        y: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        mode: BatchNormMode<'_>,
    ) -> Result<BatchNormOutput> {
        let [blocks, _, features] = shape::dims(OP, "y", y, "[T, N, F]")?;
        mode.check(OP, y, [gamma, beta], [blocks, features])?;
        match self.backend.choose(OP, y)? {
            Chosen::Fused => Ok(fused::apply(*self, y, gamma, beta, mode)?),
            #[cfg(any(test, feature = "cuda"))]
            Chosen::Gpu if matches!(mode, BatchNormMode::Train) => {
                let (eps, act) = (self.eps, self.act);
                let [y, mean, var] = crate::gpu::batch_norm::train(y, gamma, beta, eps, act)?;
                let statistics = BatchStatistics { values: y.dim(1)?, mean, var };
                Ok(BatchNormOutput { y, statistics })
            }
            _ => self.reference(y, gamma, beta, mode),
        }
    }

    fn reference(
        &self,
        y: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        mode: BatchNormMode<'_>,
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
        let normal = y.broadcast_sub(&mean)?.broadcast_div(&(&var + self.eps)?.sqrt()?)?;
        let out = normal.broadcast_mul(&gamma.unsqueeze(1)?)?.broadcast_add(&beta.unsqueeze(1)?)?;
        Ok(BatchNormOutput {
            statistics: BatchStatistics {
                values: y.dim(1)?,
                mean: mean.squeeze(1)?.detach(),
                var: var.squeeze(1)?.detach(),
            },
            y: self.act.reference(out)?,
        })
    }
}

impl BatchStatistics {
    /// Moves running statistics, `[T, F]` each (or `[F]` for one block), towards those of this batch, in place:
    /// θ ← (1 − momentum) θ + momentum · batch's. The running variance is the unbiased one, as in PyTorch. A single value
    /// has none and gives its own, 0. A batch without values moves nothing.
    ///
    /// # Errors
    /// [`KernelError::Device`](crate::KernelError::Device), and candle's for other shapes.
    pub fn update(&self, mean: &Var, var: &Var, momentum: f64) -> Result<()> {
        for (name, running) in [("mean", mean), ("var", var)] {
            shape::same_device(OP, name, running, &self.mean)?;
        }
        let values = self.values as f64;
        let unbiased = if values > 1.0 { values / (values - 1.0) } else { 1.0 };
        let batch = [self.mean.reshape(mean.shape())?, self.var.reshape(var.shape())?];
        if self.values == 0 {
            return Ok(());
        }
        #[cfg(feature = "cuda")]
        if mean.device().is_cuda() && mean.dtype() == candle_core::DType::F32 {
            let running = [mean.as_tensor(), var.as_tensor()];
            return Ok(crate::gpu::batch_norm::follow(
                running,
                batch.each_ref(),
                momentum,
                unbiased,
            )?);
        }
        let [batch_mean, batch_var] = batch;
        follow(mean, &batch_mean, momentum)?;
        follow(var, &(batch_var * unbiased)?, momentum)
    }
}

fn follow(running: &Var, batch: &Tensor, momentum: f64) -> Result<()> {
    let kept = (running.as_detached_tensor() * (1.0 - momentum))?;
    Ok(running.set(&(kept + (batch.detach() * momentum)?)?)?)
}

//! Batch normalisation of images, channel by channel, with the ReLU, the pooling and the addition that follow it in a residual network.

mod fused;
mod plane;

use candle_core::Tensor;

use crate::activation::Activation;
use crate::backend::{Backend, Chosen};
use crate::batch_norm::{BatchNormMode, BatchNormOutput};
use crate::conv::Pool;
use crate::error::Result;
use crate::pool::max_pool;
use crate::shape;

const OP: &str = "channel_norm";

/// A batch normalisation of images: `pool(act(γ (x - mean) / √(var + eps) + β)) + residual`, channel by channel.
///
/// The slope of ReLU at 0 is 0. Among equal values in a window the first in reading order gets the gradient.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{Activation, BatchNormMode, ChannelNorm, Pool};
///
/// let layer = ChannelNorm { act: Activation::Relu, pool: Pool::Max2, ..ChannelNorm::default() };
/// let x = Tensor::ones((1, 2, 8, 28, 28), DType::F32, &Device::Cpu)?;
/// let gamma = Tensor::ones((1, 8), DType::F32, &Device::Cpu)?;
/// let beta = gamma.zeros_like()?;
/// let out = layer.forward(&x, &gamma, &beta, None, BatchNormMode::Train)?;
/// assert_eq!(out.y.dims(), [1, 2, 8, 14, 14]);
/// assert_eq!(out.mean.dims(), [1, 8]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelNorm {
    /// The number that is added to the variance.
    pub eps: f64,
    /// The activation of the normalised values.
    pub act: Activation,
    /// The pooling after the activation.
    pub pool: Pool,
    /// The implementation to use. The fused kernel runs on the CPU; on other devices [`Backend::Auto`] uses candle's ops.
    pub backend: Backend,
}

impl Default for ChannelNorm {
    /// `eps` 1e-5, as in PyTorch and candle-nn, no activation and no pooling.
    fn default() -> Self {
        Self {
            eps: 1e-5,
            act: Activation::default(),
            pool: Pool::default(),
            backend: Backend::default(),
        }
    }
}

/// The sizes of one call.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    blocks: usize,
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
}

impl Sizes {
    /// The number of values behind each statistic.
    fn values(&self) -> usize {
        self.images * self.height * self.width
    }

    /// The shape of the result.
    fn result(&self) -> [usize; 5] {
        [self.blocks, self.images, self.channels, self.out_height, self.out_width]
    }
}

impl ChannelNorm {
    /// Applies the layer of every block.
    ///
    /// `x` is `[T, N, C, H, W]`, `gamma` (γ) and `beta` (β) are `[T, C]`, and `residual` has the shape of the result:
    /// `[T, N, C, H, W]`, or `[T, N, C, H / 2, W / 2]`, rounded down, with [`Pool::Max2`]. In [`BatchNormMode::Train`] mean and
    /// variance are those of a channel's N · H · W values, and [`BatchNormOutput::update`] moves running statistics towards
    /// them. In [`BatchNormMode::Eval`] the running statistics are `[T, C]`. Gradients flow to `x`, `gamma`, `beta` and `residual`.
    ///
    /// The fused kernel keeps nothing for the backward pass but its arguments and the statistics, both of which candle has anyway.
    ///
    /// # Errors
    /// [`KernelError::Shape`](crate::KernelError::Shape) or [`KernelError::DType`](crate::KernelError::DType) when the
    /// arguments do not fit together, or an image is smaller than a window.
    pub fn forward(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        residual: Option<&Tensor>,
        mode: BatchNormMode<'_>,
    ) -> Result<BatchNormOutput> {
        let sizes = self.sizes(x)?;
        mode.check(OP, x, [gamma, beta], [sizes.blocks, sizes.channels])?;
        if let Some(residual) = residual {
            shape::exactly(OP, "residual", residual, &sizes.result())?;
            shape::same_dtype(OP, "residual", residual, x)?;
        }
        match self.backend.choose(OP, x)? {
            Chosen::Fused => Ok(fused::apply(*self, sizes, x, [gamma, beta], residual, mode)?),
            _ => self.reference(sizes, x, [gamma, beta], residual, mode),
        }
    }

    fn sizes(&self, x: &Tensor) -> Result<Sizes> {
        let [blocks, images, channels, height, width] = shape::dims(OP, "x", x, "[T, N, C, H, W]")?;
        let side = self.pool.side();
        if height < side || width < side {
            let expected = format!("an image of at least {side}×{side}");
            return Err(shape::mismatch(OP, "x", x, &expected));
        }
        let (out_height, out_width) = (height / side, width / side);
        Ok(Sizes { blocks, images, channels, height, width, out_height, out_width })
    }

    fn reference(
        &self,
        sizes: Sizes,
        x: &Tensor,
        [gamma, beta]: [&Tensor; 2],
        residual: Option<&Tensor>,
        mode: BatchNormMode<'_>,
    ) -> Result<BatchNormOutput> {
        const OVER: (usize, usize, usize) = (1, 3, 4);
        let each = (sizes.blocks, 1, sizes.channels, 1, 1);
        let (mean, var) = match mode {
            BatchNormMode::Train => {
                let mean = x.mean_keepdim(OVER)?;
                let var = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(OVER)?;
                (mean, var)
            }
            BatchNormMode::Eval { mean, var } => {
                (mean.detach().reshape(each)?, var.detach().reshape(each)?)
            }
        };
        let normal = x.broadcast_sub(&mean)?.broadcast_div(&(&var + self.eps)?.sqrt()?)?;
        let (gamma, beta) = (gamma.reshape(each)?, beta.reshape(each)?);
        let out = self.act.reference(normal.broadcast_mul(&gamma)?.broadcast_add(&beta)?)?;
        let pooled = match self.pool {
            Pool::None => out,
            Pool::Max2 => max_pool(&out.flatten_to(2)?, (2, 2))?.reshape(&sizes.result())?,
        };
        let statistic = |t: Tensor| t.detach().reshape((sizes.blocks, sizes.channels));
        Ok(BatchNormOutput {
            y: match residual {
                Some(residual) => (pooled + residual)?,
                None => pooled,
            },
            mean: statistic(mean)?,
            var: statistic(var)?,
            values: sizes.values(),
        })
    }
}

//! Convolutions with batch norms, one after another, as one op: the image branch of a residual network.

mod backward;
mod channels;
mod forward;
mod plan;
mod reference;

use candle_core::Tensor;

use super::layer::{Conv3x3, Padding, Pool, Sizes};
use crate::activation::Activation;
use crate::backend::{Backend, Chosen, Precision};
use crate::batch_norm::{BatchNormMode, BatchStatistics};
use crate::error::{KernelError, Result};
use crate::shape;

const OP: &str = "conv_norm_stack";

/// The step after the ReLU of a [`ConvNorm`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// The maximum of each 2×2 window, windows two apart. An odd last row or column is left out.
    Max2,
    /// The addition of what the layer before was given: the two layers are a residual pair. There must be a layer before the pair, and the pair's
    /// result must have the shape of what is added.
    Residual,
}

impl After {
    fn pool(self) -> Pool {
        match self {
            Self::Max2 => Pool::Max2,
            Self::Nothing | Self::Residual => Pool::None,
        }
    }
}

/// One layer of a [`ConvNormStack`]: a 3×3 convolution with one ring of zeros and no bias, a batch norm over channels, ReLU, and the
/// step [`After`] it.
#[derive(Clone, Copy, Debug)]
pub struct ConvNorm<'a> {
    /// The weights of the convolution, `[T, Co, Ci, 3, 3]`.
    pub w: &'a Tensor,
    /// The scale of the norm, γ, `[T, Co]`.
    pub gamma: &'a Tensor,
    /// The shift of the norm, β, `[T, Co]`.
    pub beta: &'a Tensor,
    /// The source of mean and variance; running statistics are `[T, Co]`.
    pub mode: BatchNormMode<'a>,
    /// The step after the ReLU.
    pub after: After,
}

/// Convolutions with batch norms, one after another: `y = layerₖ(… layer₁(x))`, with
/// `layer(x) = after(relu(γ (conv(x, w) - mean) / √(var + eps) + β))`.
///
/// The slope of ReLU at 0 is 0. Among equal values in a window the first in reading order gets the gradient.
///
/// On the CPU values between layers never become a tensor, and norm, ReLU and pooling are part of the next convolution's reading. On a GPU
/// the convolutions are those of [`Conv3x3`], and the rest is candle's ops.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{After, BatchNormMode, ConvNorm, ConvNormStack};
///
/// let x = Tensor::ones((1, 2, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((1, 16, 3, 3, 3), DType::F32, &Device::Cpu)?;
/// let gamma = Tensor::ones((1, 16), DType::F32, &Device::Cpu)?;
/// let beta = gamma.zeros_like()?;
/// let mode = BatchNormMode::Train;
/// let layer = ConvNorm { w: &w, gamma: &gamma, beta: &beta, mode, after: After::Max2 };
/// let out = ConvNormStack::default().forward(&x, &[layer])?;
/// assert_eq!(out.y.dims(), [1, 2, 16, 4, 4]);
/// assert_eq!(out.statistics[0].mean.dims(), [1, 16]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNormStack {
    /// The number that is added to each variance.
    pub eps: f64,
    /// The rounding of products' factors on a GPU. On the CPU convolutions are in the tensors' own type.
    pub precision: Precision,
    /// The implementation to use.
    pub backend: Backend,
}

impl Default for ConvNormStack {
    /// `eps` 1e-5, as in PyTorch and candle-nn.
    fn default() -> Self {
        Self { eps: 1e-5, precision: Precision::default(), backend: Backend::default() }
    }
}

/// The result of [`ConvNormStack::forward`].
#[derive(Clone, Debug)]
pub struct ConvNormOutput {
    /// The last layer's result, `[T, N, Co, OH, OW]`.
    pub y: Tensor,
    /// The statistics that each layer used.
    pub statistics: Vec<BatchStatistics>,
}

/// The sizes of one layer.
#[derive(Clone, Copy, Debug)]
struct LayerSizes {
    conv: Sizes,
    after: After,
    /// The shape of an image of the result.
    out: [usize; 3],
}

impl ConvNormStack {
    /// Applies the layers of every block.
    ///
    /// `x` is `[T, N, Ci, H, W]`, or `[1, N, Ci, H, W]` for one input of all blocks. Gradients flow to `x` and to every `w`, `gamma` and `beta`.
    ///
    /// # Errors
    /// [`KernelError::Shape`] or [`KernelError::DType`] when the arguments do not fit together, or an image is smaller than a window;
    /// [`KernelError::NoLayers`]; [`KernelError::FusedUnavailable`].
    pub fn forward(&self, x: &Tensor, layers: &[ConvNorm<'_>]) -> Result<ConvNormOutput> {
        let sizes = self.sizes(x, layers)?;
        match self.backend.choose(OP, x)? {
            Chosen::Fused => Ok(plan::apply(self.eps, &sizes, x, layers)?),
            _ => reference::forward(self, &sizes, x, layers),
        }
    }

    fn conv(&self) -> Conv3x3 {
        Conv3x3 {
            padding: Padding::Same,
            pool: Pool::None,
            act: Activation::None,
            dropout: None,
            precision: self.precision,
            backend: self.backend,
        }
    }

    fn sizes(&self, x: &Tensor, layers: &[ConvNorm<'_>]) -> Result<Vec<LayerSizes>> {
        let mut images = shape::dims(OP, "x", x, "[T or 1, N, Ci, H, W]")?;
        if layers.is_empty() {
            return Err(KernelError::NoLayers { op: OP });
        }
        let mut all: Vec<LayerSizes> = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let wrong = |argument, expected: String, got: &Tensor| {
                let expected = format!("{expected} (layer {})", index + 1);
                shape::mismatch(OP, argument, got, &expected)
            };
            shape::alike(OP, "w", layer.w, x)?;
            let [blocks, channels] = [images[0], images[2]];
            let dims = layer.w.dims();
            let fits = dims.first() == Some(&blocks) && dims.get(2) == Some(&channels);
            if index > 0 && !fits {
                let expected = format!("[{blocks}, Co, {channels}, 3, 3]");
                return Err(wrong("w", expected, layer.w));
            }
            let conv = self.conv().sizes(images, layer.w)?;
            let statistics = [conv.blocks, conv.c_out];
            layer.mode.check(OP, x, [layer.gamma, layer.beta], statistics)?;
            let side = layer.after.pool().side();
            let [height, width] = [conv.height / side, conv.width / side];
            if height == 0 || width == 0 {
                return Err(wrong("x", "images that leave a window of 2×2 values".into(), x));
            }
            let out = [conv.c_out, height, width];
            if layer.after == After::Residual {
                // What the layer before was given is the result of the one before that.
                let Some(added) = all.len().checked_sub(2).and_then(|at| all.get(at)) else {
                    return Err(wrong(
                        "w",
                        "a residual pair with a layer before it".into(),
                        layer.w,
                    ));
                };
                if added.out != out {
                    let [channels, height, width] = added.out;
                    let expected = format!(
                        "a pair with the result {channels}×{height}×{width}, which is added"
                    );
                    return Err(wrong("w", expected, layer.w));
                }
            }
            all.push(LayerSizes { conv, after: layer.after, out });
            images = [conv.blocks, conv.images, conv.c_out, height, width];
        }
        Ok(all)
    }
}

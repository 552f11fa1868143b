//! The convolution layer of an image denoiser: 3×3 convolution, bias, 2×2 maximum, ReLU and dropout as one op.

mod backward;
mod direct;
mod epilogue;
mod forward;
mod geometry;
mod layout;
mod reference;
mod stack;
mod weights;
mod winograd;

use candle_core::{Shape, Tensor};

use crate::backend::{Backend, Chosen, Precision};
use crate::dropout::Dropout;
use crate::error::{KernelError, Result};
use crate::shape;

const OP: &str = "conv3x3";

/// What surrounds the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Nothing: the result is two smaller in height and width.
    #[default]
    Valid,
    /// One ring of zeros: the result is as large as the image.
    Same,
}

impl Padding {
    /// The width of the ring of zeros.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Valid => 0,
            Self::Same => 1,
        }
    }
}

/// What follows the convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pool {
    /// Nothing.
    #[default]
    None,
    /// The maximum of each 2×2 window, windows two apart. An odd last row or column is left out.
    Max2,
}

/// A 3×3 convolution with stride 1 and what follows it:
/// `y = dropout(pool(relu(conv(x, w) + b)))`, where `conv` is the cross-correlation that machine learning calls
/// convolution.
///
/// The slope of ReLU at 0 is 0. Among equal values in a window the first in reading order gets the gradient.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{Conv3x3, Padding, Pool};
///
/// let layer = Conv3x3 { padding: Padding::Valid, pool: Pool::Max2, ..Conv3x3::default() };
/// // Ten blocks look at the same two images.
/// let x = Tensor::ones((1, 2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((10, 32, 1, 3, 3), DType::F32, &Device::Cpu)?;
/// let b = Tensor::zeros((10, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&x, &w, &b)?.dims(), [10, 2, 32, 13, 13]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Conv3x3 {
    /// What surrounds the image.
    pub padding: Padding,
    /// Whether 2×2 maxima are taken.
    pub pool: Pool,
    /// Dropout of the result; `None` outside training.
    pub dropout: Option<Dropout>,
    /// What the factors of products are rounded to on a GPU; on the CPU convolution is in the tensors' own type.
    pub precision: Precision,
    /// Which implementation runs.
    pub backend: Backend,
}

/// The sizes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Leading dimension of the images: 1 when all blocks share them.
    pub x_blocks: usize,
    pub blocks: usize,
    pub images: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub height: usize,
    pub width: usize,
    /// Height of the convolution's result before pooling.
    pub conv_height: usize,
    pub conv_width: usize,
    /// Height of the op's result.
    pub out_height: usize,
    pub out_width: usize,
}

impl Conv3x3 {
    /// Applies the layer of every block.
    ///
    /// `x` is `[Tx, N, Ci, H, W]` with `Tx` either `T` or 1 (one input for all blocks), `w` is `[T, Co, Ci, 3, 3]`,
    /// `b` is `[T, Co]`. The result is `[T, N, Co, OH, OW]` with `OH = H - 2` (valid) or `H` (same), halved and rounded
    /// down by [`Pool::Max2`]; `OW` alike. Gradients flow to all three.
    ///
    /// # Errors
    /// [`KernelError::Shape`] or [`KernelError::DType`] when the
    /// arguments do not fit together, or an image is too small to leave any result;
    /// [`KernelError::DropoutKeys`] when dropout has other than `T` streams.
    pub fn forward(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let sizes = self.check(x, w, b)?;
        match self.backend.choose(OP, x)? {
            Chosen::Fused => stack::apply(std::slice::from_ref(self), &[sizes], x, &[(w, b)]),
            Chosen::Reference => reference::forward(self, &sizes, x, w, b),
            #[cfg(any(test, feature = "cuda"))]
            Chosen::Gpu => {
                Ok(crate::gpu::conv::stack(std::slice::from_ref(self), &[sizes], x, &[(w, b)])?)
            }
        }
    }

    fn check(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Sizes> {
        let [x_blocks, images, channels, height, width] =
            shape::dims(OP, "x", x, "[T or 1, N, Ci, H, W]")?;
        shape::same_dtype(OP, "w", w, x)?;
        shape::same_dtype(OP, "b", b, x)?;
        self.sizes([x_blocks, images, channels, height, width], x.shape(), w, b)
    }

    /// The sizes of the layer for images `[T or 1, N, Ci, H, W]`; `shown` is the shape to blame in an error.
    fn sizes(&self, images: [usize; 5], shown: &Shape, w: &Tensor, b: &Tensor) -> Result<Sizes> {
        let [x_blocks, images, channels, height, width] = images;
        let wrong_input = |expected: String| KernelError::Shape {
            op: OP,
            argument: "x",
            expected,
            got: shown.clone(),
        };
        let [blocks, c_out, c_in, kh, kw] = shape::dims(OP, "w", w, "[T, Co, Ci, 3, 3]")?;
        if (kh, kw) != (3, 3) {
            return Err(shape::mismatch(OP, "w", w, "[T, Co, Ci, 3, 3]"));
        }
        if channels != c_in || (x_blocks != blocks && x_blocks != 1) {
            return Err(wrong_input(format!(
                "[{blocks} or 1, N, {c_in}, H, W] to go with the weights"
            )));
        }
        shape::exactly(OP, "b", b, &[blocks, c_out])?;
        if let Some(dropout) = &self.dropout {
            dropout.check(blocks)?;
        }
        let pad = 2 * self.padding.width();
        let smallest = match self.pool {
            Pool::None => 3,
            Pool::Max2 => 4,
        };
        if height + pad < smallest || width + pad < smallest {
            return Err(wrong_input(format!("an image of at least {0}×{0}", smallest - pad)));
        }
        let (conv_height, conv_width) = (height + pad - 2, width + pad - 2);
        let (out_height, out_width) = match self.pool {
            Pool::None => (conv_height, conv_width),
            Pool::Max2 => (conv_height / 2, conv_width / 2),
        };
        Ok(Sizes {
            x_blocks,
            blocks,
            images,
            c_in,
            c_out,
            height,
            width,
            conv_height,
            conv_width,
            out_height,
            out_width,
        })
    }
}

/// Several layers, one after another: `y = layerₖ(… layer₁(x))`.
///
/// The same values and gradients as calling [`Conv3x3::forward`] in turn, but faster: on the CPU the images travel
/// through all layers a few at a time, and what passes between layers never becomes a tensor. `parameters` holds `w` and
/// `b` of each layer, `x` is the first layer's input, and the result is the last one's; shapes as there.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{Conv3x3, Pool, conv3x3_stack};
///
/// let layers = [Conv3x3 { pool: Pool::Max2, ..Conv3x3::default() }, Conv3x3::default()];
/// let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
/// let parameters = [
///     (zeros(&[1, 32, 1, 3, 3])?, zeros(&[1, 32])?),
///     (zeros(&[1, 64, 32, 3, 3])?, zeros(&[1, 64])?),
/// ];
/// let y = conv3x3_stack(&layers, &zeros(&[1, 5, 1, 28, 28])?, &parameters)?;
/// assert_eq!(y.dims(), [1, 5, 64, 11, 11]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
///
/// # Errors
/// As [`Conv3x3::forward`]; [`KernelError::LayerCount`] when `parameters` is not as long as `layers`.
pub fn conv3x3_stack(
    layers: &[Conv3x3],
    x: &Tensor,
    parameters: &[(Tensor, Tensor)],
) -> Result<Tensor> {
    if layers.len() != parameters.len() {
        return Err(KernelError::LayerCount {
            op: OP,
            layers: layers.len(),
            parameters: parameters.len(),
        });
    }
    let chosen = layers.iter().map(|layer| layer.backend.choose(OP, x));
    let chosen = chosen.collect::<Result<Vec<_>>>()?;
    let first = chosen.first().copied().filter(|first| chosen.iter().all(|next| next == first));
    if first.is_none_or(|first| first == Chosen::Reference) {
        let mut y = x.clone();
        for (layer, (w, b)) in layers.iter().zip(parameters) {
            y = layer.forward(&y, w, b)?;
        }
        return Ok(y);
    }
    let mut images = shape::dims(OP, "x", x, "[T or 1, N, Ci, H, W]")?;
    let mut sizes = Vec::with_capacity(layers.len());
    let mut refs = Vec::with_capacity(layers.len());
    for (layer, (w, b)) in layers.iter().zip(parameters) {
        shape::same_dtype(OP, "w", w, x)?;
        shape::same_dtype(OP, "b", b, x)?;
        let s = layer.sizes(images, &Shape::from(images.to_vec()), w, b)?;
        images = [s.blocks, s.images, s.c_out, s.out_height, s.out_width];
        sizes.push(s);
        refs.push((w, b));
    }
    match first {
        #[cfg(any(test, feature = "cuda"))]
        Some(Chosen::Gpu) => Ok(crate::gpu::conv::stack(layers, &sizes, x, &refs)?),
        _ => stack::apply(layers, &sizes, x, &refs),
    }
}

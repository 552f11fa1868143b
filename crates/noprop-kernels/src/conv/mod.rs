//! The convolution layer of an image denoiser: 3×3 convolution, bias, 2×2 maximum, ReLU and dropout as one op.

mod backward;
mod direct;
mod epilogue;
mod forward;
mod fused;
mod geometry;
mod layout;
mod reference;
mod weights;
mod winograd;

use candle_core::Tensor;

use crate::backend::{Backend, Chosen};
use crate::dropout::Dropout;
use crate::error::Result;
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
    /// [`KernelError::Shape`](crate::KernelError::Shape) or [`KernelError::DType`](crate::KernelError::DType) when the
    /// arguments do not fit together, or an image is too small to leave any result;
    /// [`KernelError::DropoutKeys`](crate::KernelError::DropoutKeys) when dropout has other than `T` streams.
    pub fn forward(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let sizes = self.check(x, w, b)?;
        match self.backend.choose(OP, x)? {
            Chosen::Fused => fused::forward(self, sizes, x, w, b),
            Chosen::Reference => reference::forward(self, &sizes, x, w, b),
        }
    }

    fn check(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Sizes> {
        let [blocks, c_out, c_in, kh, kw] = shape::dims(OP, "w", w, "[T, Co, Ci, 3, 3]")?;
        if (kh, kw) != (3, 3) {
            return Err(shape::mismatch(OP, "w", w, "[T, Co, Ci, 3, 3]"));
        }
        let [x_blocks, images, x_channels, height, width] =
            shape::dims(OP, "x", x, "[T or 1, N, Ci, H, W]")?;
        if x_channels != c_in || (x_blocks != blocks && x_blocks != 1) {
            let expected = format!("[{blocks} or 1, N, {c_in}, H, W] to go with the weights");
            return Err(shape::mismatch(OP, "x", x, &expected));
        }
        shape::exactly(OP, "b", b, &[blocks, c_out])?;
        shape::same_dtype(OP, "w", w, x)?;
        shape::same_dtype(OP, "b", b, x)?;
        if let Some(dropout) = &self.dropout {
            dropout.check(blocks)?;
        }
        let pad = 2 * self.padding.width();
        let smallest = match self.pool {
            Pool::None => 3,
            Pool::Max2 => 4,
        };
        if height + pad < smallest || width + pad < smallest {
            let expected = format!("an image of at least {0}×{0}", smallest - pad);
            return Err(shape::mismatch(OP, "x", x, &expected));
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

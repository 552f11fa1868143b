//! The settings and the sizes of a convolution layer.

use candle_core::{Shape, Tensor};

use crate::activation::Activation;
use crate::backend::{Backend, Precision};
use crate::dropout::Dropout;
use crate::error::{KernelError, Result};
use crate::shape;

pub(super) const OP: &str = "conv3x3";

/// The border around the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// No border: the result is two smaller in height and width.
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

/// The pooling after the convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pool {
    /// No pooling.
    #[default]
    None,
    /// The maximum of each 2×2 window, windows two apart. An odd last row or column is left out.
    Max2,
}

impl Pool {
    /// Values a side of a window.
    pub(crate) fn side(self) -> usize {
        match self {
            Self::None => 1,
            Self::Max2 => 2,
        }
    }
}

/// A 3×3 convolution with stride 1, and pooling, activation and dropout after it:
/// `y = dropout(act(pool(conv(x, w) + b)))`. `conv` is the cross-correlation that machine learning calls convolution.
///
/// The slope of ReLU at 0 is 0. Among equal values in a window the first in reading order gets the gradient.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{Conv3x3, Padding, Pool};
///
/// let layer = Conv3x3 { padding: Padding::Valid, pool: Pool::Max2, ..Conv3x3::default() };
/// // Ten blocks that share the same two images.
/// let x = Tensor::ones((1, 2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((10, 32, 1, 3, 3), DType::F32, &Device::Cpu)?;
/// let b = Tensor::zeros((10, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&x, &w, &b)?.dims(), [10, 2, 32, 13, 13]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv3x3 {
    /// The border around the image.
    pub padding: Padding,
    /// The pooling after the convolution.
    pub pool: Pool,
    /// The activation after pooling.
    pub act: Activation,
    /// The dropout of the result; `None` outside training.
    pub dropout: Option<Dropout>,
    /// The rounding of products' factors on a GPU. On the CPU convolutions are in the tensors' own type.
    pub precision: Precision,
    /// The implementation to use.
    pub backend: Backend,
}

impl Default for Conv3x3 {
    /// No border, no pooling, ReLU, no dropout.
    fn default() -> Self {
        Self {
            padding: Padding::default(),
            pool: Pool::default(),
            act: Activation::Relu,
            dropout: None,
            precision: Precision::default(),
            backend: Backend::default(),
        }
    }
}

/// The sizes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The leading dimension of the images: 1 when all blocks share them.
    pub x_blocks: usize,
    pub blocks: usize,
    pub images: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub height: usize,
    pub width: usize,
    /// The height of the convolution's result before pooling.
    pub conv_height: usize,
    pub conv_width: usize,
    /// The height of the op's result.
    pub out_height: usize,
    pub out_width: usize,
}

impl Conv3x3 {
    /// The sizes of a call with these arguments, if they fit together.
    pub(super) fn check(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Sizes> {
        let images = shape::dims(OP, "x", x, "[T or 1, N, Ci, H, W]")?;
        shape::alike(OP, "w", w, x)?;
        shape::alike(OP, "b", b, x)?;
        self.sizes_with_bias(images, w, b)
    }

    /// [`Self::sizes`], with a bias to go with the weights.
    pub(super) fn sizes_with_bias(
        &self,
        shape: [usize; 5],
        w: &Tensor,
        b: &Tensor,
    ) -> Result<Sizes> {
        let sizes = self.sizes(shape, w)?;
        shape::exactly(OP, "b", b, &[sizes.blocks, sizes.c_out])?;
        Ok(sizes)
    }

    /// The sizes of the layer for images `[T or 1, N, Ci, H, W]`.
    pub(super) fn sizes(&self, shape: [usize; 5], w: &Tensor) -> Result<Sizes> {
        let [x_blocks, images, channels, height, width] = shape;
        let wrong_input = |expected: String| KernelError::Shape {
            op: OP,
            argument: "x",
            expected,
            got: Shape::from(shape.to_vec()),
        };
        let [blocks, c_out, c_in, kh, kw] = shape::dims(OP, "w", w, "[T, Co, Ci, 3, 3]")?;
        if (kh, kw) != (3, 3) || blocks == 0 || c_out == 0 || c_in == 0 {
            return Err(shape::mismatch(OP, "w", w, "[T, Co, Ci, 3, 3]"));
        }
        if channels != c_in || (x_blocks != blocks && x_blocks != 1) {
            return Err(wrong_input(format!(
                "[{blocks} or 1, N, {c_in}, H, W] to go with the weights"
            )));
        }
        if let Some(dropout) = &self.dropout {
            dropout.check(blocks)?;
        }
        let (pad, side) = (2 * self.padding.width(), self.pool.side());
        let smallest = 2 + side;
        if height + pad < smallest || width + pad < smallest {
            return Err(wrong_input(format!("an image of at least {0}×{0}", smallest - pad)));
        }
        let (conv_height, conv_width) = (height + pad - 2, width + pad - 2);
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
            out_height: conv_height / side,
            out_width: conv_width / side,
        })
    }
}

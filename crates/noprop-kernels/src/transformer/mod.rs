//! A layer of a transformer (Vaswani et al. 2017), with its norms before attention and before the inner layers (Xiong et al. 2020).

mod fused;
mod reference;

use candle_core::{DType, Tensor};

use crate::attention;
use crate::backend::{Backend, Chosen, Precision};
use crate::error::{KernelError, Result};
use crate::shape;

const OP: &str = "transformer_layer";

/// The layer `z = x + out(attention(qkv(norm1(x))))`, then `z + fc2(GELU(fc1(norm2(z))))`, token by token except for attention.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{TransformerLayer, TransformerParameters};
///
/// let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
/// let norm = ones(&[1, 64])?;
/// let (qkv, bias) = (ones(&[1, 192, 64])?, ones(&[1, 192])?);
/// let (square, wide, narrow) = (ones(&[1, 64, 64])?, ones(&[1, 128, 64])?, ones(&[1, 64, 128])?);
/// let inner = ones(&[1, 128])?;
/// let parameters = TransformerParameters {
///     norm1: (&norm, &norm),
///     qkv: (&qkv, &bias),
///     out: (&square, &norm),
///     norm2: (&norm, &norm),
///     fc1: (&wide, &inner),
///     fc2: (&narrow, &norm),
/// };
/// // Two images of 49 tokens of 64 numbers, and two heads of attention.
/// let layer = TransformerLayer { heads: 2, ..TransformerLayer::default() };
/// assert_eq!(layer.forward(&ones(&[1, 2, 49, 64])?, parameters)?.dims(), [1, 2, 49, 64]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerLayer {
    /// The number of heads of attention.
    pub heads: usize,
    /// The number that the norms add to the variance.
    pub eps: f64,
    /// The rounding of the factors in the products of `qkv`, `out`, `fc1` and `fc2`.
    pub precision: Precision,
    /// The implementation to use. The fused kernel runs on the CPU; on other devices [`Backend::Auto`] uses the ops of the parts.
    pub backend: Backend,
}

impl Default for TransformerLayer {
    /// One head, and `eps` 1e-5.
    fn default() -> Self {
        Self {
            heads: 1,
            eps: crate::LayerNorm::default().eps,
            precision: Precision::default(),
            backend: Backend::default(),
        }
    }
}

/// The parameters of a [`TransformerLayer`] for T blocks, tokens of W numbers and inner layers of V.
#[derive(Clone, Copy, Debug)]
pub struct TransformerParameters<'a> {
    /// γ and β before attention, `[T, W]`.
    pub norm1: (&'a Tensor, &'a Tensor),
    /// Queries, keys and values: weight `[T, 3 W, W]`, bias `[T, 3 W]`.
    pub qkv: (&'a Tensor, &'a Tensor),
    /// After attention: weight `[T, W, W]`, bias `[T, W]`.
    pub out: (&'a Tensor, &'a Tensor),
    /// γ and β before the inner layers, `[T, W]`.
    pub norm2: (&'a Tensor, &'a Tensor),
    /// Before GELU: weight `[T, V, W]`, bias `[T, V]`.
    pub fc1: (&'a Tensor, &'a Tensor),
    /// After GELU: weight `[T, W, V]`, bias `[T, W]`.
    pub fc2: (&'a Tensor, &'a Tensor),
}

/// The number of parameter tensors.
const PARAMETERS: usize = 12;

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    attention: attention::Sizes,
    /// W.
    width: usize,
    /// V.
    inner: usize,
}

impl TransformerLayer {
    /// Applies the layer of every block to the tokens of each image.
    ///
    /// `x` is `[T, N, L, W]`, and so is the result. Gradients flow to `x` and to all parameters.
    ///
    /// # Errors
    /// [`KernelError::Shape`] or [`KernelError::DType`] when the arguments do not fit together, or are not f32 where factors
    /// are to be rounded to bf16; [`KernelError::FusedUnavailable`].
    pub fn forward(&self, x: &Tensor, parameters: TransformerParameters<'_>) -> Result<Tensor> {
        let sizes = self.sizes(x, &parameters)?;
        match self.backend.choose(OP, x)? {
            Chosen::Fused => Ok(fused::apply(*self, sizes, x, parameters.all())?),
            _ => reference::apply(*self, x, &parameters),
        }
    }

    /// The sizes, if all arguments fit together.
    fn sizes(&self, x: &Tensor, parameters: &TransformerParameters<'_>) -> Result<Sizes> {
        let [blocks, images, tokens, width] = shape::dims(OP, "x", x, "[T, N, L, W]")?;
        if blocks == 0 || width == 0 || width.checked_rem(self.heads) != Some(0) {
            let expected = match self.heads {
                0 => "at least one head".into(),
                heads => format!("[T, N, L, W] with T and W above 0, and W a multiple of {heads}"),
            };
            return Err(shape::mismatch(OP, "x", x, &expected));
        }
        let TransformerParameters { norm1, qkv, out, norm2, fc1, fc2 } = *parameters;
        let [_, inner, _] = shape::dims(OP, "the weight of fc1", fc1.0, "[T, V, W]")?;
        if inner == 0 {
            return Err(shape::mismatch(
                OP,
                "the weight of fc1",
                fc1.0,
                "[T, V, W] with V above 0",
            ));
        }
        let (norm, square) = ([blocks, width], [blocks, width, width]);
        let (widen, narrow) = ([blocks, inner, width], [blocks, width, inner]);
        for (first, second, tensors, shape) in [
            ("gamma of norm1", "beta of norm1", norm1, &norm[..]),
            ("the weight of qkv", "the bias of qkv", qkv, &[blocks, 3 * width, width]),
            ("the weight of out", "the bias of out", out, &square),
            ("gamma of norm2", "beta of norm2", norm2, &norm),
            ("the weight of fc1", "the bias of fc1", fc1, &widen),
            ("the weight of fc2", "the bias of fc2", fc2, &narrow),
        ] {
            shape::exactly(OP, first, tensors.0, shape)?;
            shape::exactly(OP, second, tensors.1, &shape[..2])?;
            shape::alike(OP, first, tensors.0, x)?;
            shape::alike(OP, second, tensors.1, x)?;
        }
        if self.precision == Precision::Bf16 && x.dtype() != DType::F32 {
            let expected = "F32, to round to bf16".to_owned();
            return Err(KernelError::DType { op: OP, argument: "x", expected, got: x.dtype() });
        }
        let (heads, each) = (self.heads, width / self.heads);
        let attention = attention::Sizes { blocks, images, tokens, heads, width: each };
        Ok(Sizes { attention, width, inner })
    }
}

impl<'a> TransformerParameters<'a> {
    /// All tensors, in the order of the fields.
    fn all(&self) -> [&'a Tensor; PARAMETERS] {
        let Self { norm1, qkv, out, norm2, fc1, fc2 } = *self;
        [norm1.0, norm1.1, qkv.0, qkv.1, out.0, out.1, norm2.0, norm2.1, fc1.0, fc1.1, fc2.0, fc2.1]
    }
}

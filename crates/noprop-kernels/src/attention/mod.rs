//! Attention of tokens to each other (Vaswani et al. 2017).

pub(crate) mod fused;
mod reference;

use candle_core::{DType, Tensor};

use crate::backend::{Backend, Chosen};
use crate::error::{KernelError, Result};
use crate::shape;

const OP: &str = "attention";

/// Attention in several heads: `softmax(q kᵀ / √d) v` for each head of d numbers.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::Attention;
///
/// // Two images of 49 tokens; queries, keys and values of 64 numbers each, in two heads of 32.
/// let qkv = Tensor::ones((1, 2, 49, 3 * 64), DType::F32, &Device::Cpu)?;
/// let attention = Attention { heads: 2, ..Attention::default() };
/// assert_eq!(attention.forward(&qkv)?.dims(), [1, 2, 49, 64]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// The number of heads.
    pub heads: usize,
    /// The implementation to use. The fused kernel runs on the CPU; on other devices [`Backend::Auto`] uses candle's ops.
    pub backend: Backend,
}

impl Default for Attention {
    /// One head.
    fn default() -> Self {
        Self { heads: 1, backend: Backend::default() }
    }
}

/// The sizes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) blocks: usize,
    pub(crate) images: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    /// The numbers of a head, d.
    pub(crate) width: usize,
}

impl Attention {
    /// Applies attention to the tokens of each image.
    ///
    /// `qkv` is `[T, N, L, 3 W]`: for each of L tokens the queries, the keys and the values of all heads, side by side. The result is
    /// `[T, N, L, W]`. The fused kernel keeps nothing for the backward pass but its argument. Gradients flow to it.
    ///
    /// # Errors
    /// [`KernelError::Shape`] unless `qkv` has four dimensions and W is a multiple of the heads, of which there is at least one.
    /// [`KernelError::FusedUnavailable`].
    pub fn forward(&self, qkv: &Tensor) -> Result<Tensor> {
        let sizes = self.sizes(qkv)?;
        match (self.backend.choose(OP, qkv)?, qkv.dtype()) {
            (Chosen::Fused, DType::F32) => Ok(fused::apply::<f32>(sizes, qkv)?),
            (Chosen::Fused, _) => Ok(fused::apply::<f64>(sizes, qkv)?),
            _ => Ok(reference::apply(sizes, qkv)?),
        }
    }

    fn sizes(&self, qkv: &Tensor) -> Result<Sizes> {
        let [blocks, images, tokens, three] = shape::dims(OP, "qkv", qkv, "[T, N, L, 3 W]")?;
        let fits = three > 0 && three % 3 == 0 && (three / 3).checked_rem(self.heads) == Some(0);
        if !fits {
            return Err(KernelError::Shape {
                op: OP,
                argument: "qkv",
                expected: match self.heads {
                    0 => "at least one head".into(),
                    heads => format!("[T, N, L, 3 W] with W a multiple of {heads} heads"),
                },
                got: qkv.shape().clone(),
            });
        }
        let width = three / 3 / self.heads;
        Ok(Sizes { blocks, images, tokens, heads: self.heads, width })
    }
}

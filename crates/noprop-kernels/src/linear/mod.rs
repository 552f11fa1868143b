//! The dense layer.

pub(crate) mod fused;
mod reference;
pub(crate) mod terms;

use candle_core::{DType, Tensor};

use crate::activation::Activation;
use crate::backend::{Backend, Chosen, Precision};
use crate::error::{KernelError, Result};
use crate::shape;

const OP: &str = "linear";

/// A dense layer: `y[t] = act(x[t] w[t]ᵀ + b[t])`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{Activation, Linear};
///
/// let layer = Linear { act: Activation::Relu, ..Linear::default() };
/// // Two blocks that share one input.
/// let x = Tensor::ones((1, 4, 3), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((2, 5, 3), DType::F32, &Device::Cpu)?;
/// let b = Tensor::zeros((2, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&x, &w, &b)?.dims(), [2, 4, 5]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linear {
    /// The activation after the sum.
    pub act: Activation,
    /// The rounding of the factors of all three products.
    pub precision: Precision,
    /// The implementation to use.
    pub backend: Backend,
}

/// The sizes of one call.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) x_blocks: usize,
    pub(crate) blocks: usize,
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Linear {
    /// Applies the layer of every block.
    ///
    /// `x` is `[Tx, N, I]` with `Tx` either `T` or 1 (one input for all blocks), `w` is `[T, O, I]`, `b` is `[T, O]`; the
    /// result is `[T, N, O]`. Gradients flow to all three.
    ///
    /// # Errors
    /// [`KernelError::Shape`] or [`KernelError::DType`] when the arguments do not fit together, or are not f32 where factors
    /// are to be rounded to bf16.
    pub fn forward(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let sizes = self.check(x, w, b)?;
        match self.backend.choose(OP, x)? {
            Chosen::Fused => Ok(fused::apply(*self, sizes, x, x, w, b)?),
            Chosen::Reference => reference::apply(*self, x, w, b),
            #[cfg(any(test, feature = "cuda"))]
            Chosen::Gpu => Ok(crate::gpu::linear::apply(x, w, b, self.act, self.precision)?),
        }
    }

    /// Applies the layer of every block to two inputs side by side: `y[t] = act([first[t] x[t]] w[t]ᵀ + b[t])`.
    ///
    /// As [`Linear::forward`] on their concatenation, but where `first` is data, the backward pass computes no gradient for it.
    /// `first` is `[Tx, N, I₁]`, `x` is `[Tx, N, I₂]`, `w` is `[T, O, I₁ + I₂]`, `b` is `[T, O]`; the result is `[T, N, O]`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn forward_joined(
        &self,
        first: &Tensor,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
    ) -> Result<Tensor> {
        let [first_blocks, rows, inputs] = shape::dims(OP, "first", first, "[T or 1, N, I₁]")?;
        let [blocks, ..] = shape::dims::<3>(OP, "x", x, "[T or 1, N, I₂]")?;
        // An input that all blocks share stands beside each block's own.
        let first = match first_blocks == 1 && blocks > 1 {
            true => &first.broadcast_as((blocks, rows, inputs))?,
            false => first,
        };
        if first.track_op() || !x.track_op() || self.backend.choose(OP, x)? != Chosen::Fused {
            return self.forward(&Tensor::cat(&[first, x], 2)?, w, b);
        }
        let joined = Tensor::cat(&[first, &x.detach()], 2)?;
        let sizes = self.check(&joined, w, b)?;
        Ok(fused::apply(*self, sizes, &joined, x, w, b)?)
    }

    /// The sizes of `x` [T or 1, N, I], `w` [T, O, I] and `b` [T, O], if they fit together.
    fn check(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Sizes> {
        let [blocks, outputs, inputs] = shape::dims(OP, "w", w, "[T, O, I]")?;
        let [x_blocks, rows, x_inputs] = shape::dims(OP, "x", x, "[T or 1, N, I]")?;
        if x_inputs != inputs || (x_blocks != blocks && x_blocks != 1) {
            let expected = format!("[{blocks} or 1, N, {inputs}] to go with the weights");
            return Err(shape::mismatch(OP, "x", x, &expected));
        }
        shape::exactly(OP, "b", b, &[blocks, outputs])?;
        shape::alike(OP, "w", w, x)?;
        shape::alike(OP, "b", b, x)?;
        match (self.precision, x.dtype()) {
            (Precision::F32 | Precision::Tf32, _) | (Precision::Bf16, DType::F32) => {}
            // A caller that computes in f64 wants all of its digits.
            (Precision::Bf16, got) => {
                let expected = "F32, to round to bf16".to_owned();
                return Err(KernelError::DType { op: OP, argument: "x", expected, got });
            }
        }
        Ok(Sizes { x_blocks, blocks, rows, inputs, outputs })
    }
}

//! The dense layer.

mod fused;

use candle_core::Tensor;

use crate::backend::{Activation, Backend, Chosen, reference_relu};
use crate::error::Result;
use crate::shape;

const OP: &str = "linear";

/// `y[t] = x[t] w[t]ᵀ + b[t]`; see [`linear_act`].
///
/// # Errors
/// As [`linear_act`].
pub fn linear(x: &Tensor, w: &Tensor, b: &Tensor, backend: Backend) -> Result<Tensor> {
    linear_act(x, w, b, Activation::None, backend)
}

/// `y[t] = act(x[t] w[t]ᵀ + b[t])`: the dense layer of every block.
///
/// `x` is `[Tx, N, I]` with `Tx` either `T` or 1 (one input for all blocks), `w` is `[T, O, I]`, `b` is `[T, O]`; the
/// result is `[T, N, O]`. Gradients flow to all three.
///
/// # Errors
/// [`KernelError::Shape`](crate::KernelError::Shape) or [`KernelError::DType`](crate::KernelError::DType) when the
/// arguments do not fit together.
pub fn linear_act(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    act: Activation,
    backend: Backend,
) -> Result<Tensor> {
    let [blocks, outputs, inputs] = shape::dims(OP, "w", w, "[T, O, I]")?;
    let [x_blocks, rows, x_inputs] = shape::dims(OP, "x", x, "[T or 1, N, I]")?;
    if x_inputs != inputs || (x_blocks != blocks && x_blocks != 1) {
        let expected = format!("[{blocks} or 1, N, {inputs}] to go with the weights");
        return Err(shape::mismatch(OP, "x", x, &expected));
    }
    shape::exactly(OP, "b", b, &[blocks, outputs])?;
    shape::same_dtype(OP, "w", w, x)?;
    shape::same_dtype(OP, "b", b, x)?;
    match backend.choose(OP, x)? {
        Chosen::Fused => {
            let sizes = fused::Sizes { x_blocks, blocks, rows, inputs, outputs };
            fused::apply(sizes, x, w, b, act)
        }
        Chosen::Reference => reference(x, w, b, act),
    }
}

/// `y[t] = [first[t] x[t]] w[t]ᵀ + b[t]`: a dense layer on two inputs side by side.
///
/// As [`linear`] on their concatenation, but where `first` is data, backward makes no gradient for it.
/// `first` is `[Tx, N, I₁]`, `x` is `[Tx, N, I₂]`, `w` is `[T, O, I₁ + I₂]`, `b` is `[T, O]`; the result is `[T, N, O]`.
///
/// # Errors
/// As [`linear_act`].
pub fn linear_joined(
    first: &Tensor,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    backend: Backend,
) -> Result<Tensor> {
    if first.track_op() || !x.track_op() || backend.choose(OP, x)? == Chosen::Reference {
        return linear(&Tensor::cat(&[first, x], 2)?, w, b, backend);
    }
    let joined = Tensor::cat(&[first, &x.detach()], 2)?;
    let [blocks, outputs, inputs] = shape::dims(OP, "w", w, "[T, O, I]")?;
    let [x_blocks, rows, joined_inputs] = shape::dims(OP, "x", &joined, "[T or 1, N, I]")?;
    if joined_inputs != inputs || (x_blocks != blocks && x_blocks != 1) {
        let expected = format!("[{blocks} or 1, N, {inputs}] to go with the weights");
        return Err(shape::mismatch(OP, "x", &joined, &expected));
    }
    shape::exactly(OP, "b", b, &[blocks, outputs])?;
    shape::same_dtype(OP, "w", w, x)?;
    shape::same_dtype(OP, "b", b, x)?;
    let sizes = fused::Sizes { x_blocks, blocks, rows, inputs, outputs };
    fused::apply_joined(sizes, joined, x, w, b)
}

fn reference(x: &Tensor, w: &Tensor, b: &Tensor, act: Activation) -> Result<Tensor> {
    let y = x.broadcast_matmul(&w.transpose(1, 2)?)?.broadcast_add(&b.unsqueeze(1)?)?;
    Ok(match act {
        Activation::None => y,
        Activation::Relu => reference_relu(&y)?,
    })
}

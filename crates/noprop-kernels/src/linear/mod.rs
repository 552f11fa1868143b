//! The dense layer.

mod fused;
mod reference;
mod terms;

use candle_core::{DType, Tensor};

use crate::backend::{Activation, Backend, Chosen, Precision};
use crate::error::{KernelError, Result};
use crate::shape;

const OP: &str = "linear";

/// `y[t] = x[t] w[t]ᵀ + b[t]`; see [`linear_act`].
///
/// # Errors
/// As [`linear_act`].
pub fn linear(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    precision: Precision,
    backend: Backend,
) -> Result<Tensor> {
    linear_act(x, w, b, Activation::None, precision, backend)
}

/// `y[t] = act(x[t] w[t]ᵀ + b[t])`: the dense layer of every block.
///
/// `x` is `[Tx, N, I]` with `Tx` either `T` or 1 (one input for all blocks), `w` is `[T, O, I]`, `b` is `[T, O]`; the
/// result is `[T, N, O]`. Gradients flow to all three; `precision` says what the factors of all three products are rounded to.
///
/// # Errors
/// [`KernelError::Shape`] or [`KernelError::DType`] when the arguments do not fit together, or are not f32 where factors are
/// to be rounded.
pub fn linear_act(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    act: Activation,
    precision: Precision,
    backend: Backend,
) -> Result<Tensor> {
    let sizes = checked(x, w, b, precision)?;
    match backend.choose(OP, x)? {
        Chosen::Fused => fused::apply(sizes, x, w, b, act, precision),
        Chosen::Reference => reference::apply(x, w, b, act, precision),
        #[cfg(any(test, feature = "cuda"))]
        Chosen::Gpu => Ok(crate::gpu::linear::apply(x, w, b, act, precision)?),
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
    precision: Precision,
    backend: Backend,
) -> Result<Tensor> {
    let [first_blocks, rows, inputs] = shape::dims(OP, "first", first, "[T or 1, N, I₁]")?;
    let [blocks, ..] = shape::dims::<3>(OP, "x", x, "[T or 1, N, I₂]")?;
    // What all blocks share stands beside what each has of its own.
    let first = match first_blocks == 1 && blocks > 1 {
        true => &first.broadcast_as((blocks, rows, inputs))?,
        false => first,
    };
    if first.track_op() || !x.track_op() || backend.choose(OP, x)? != Chosen::Fused {
        return linear(&Tensor::cat(&[first, x], 2)?, w, b, precision, backend);
    }
    let joined = Tensor::cat(&[first, &x.detach()], 2)?;
    let sizes = checked(&joined, w, b, precision)?;
    fused::apply_joined(sizes, joined, x, w, b, precision)
}

/// The sizes of `x` [T or 1, N, I], `w` [T, O, I] and `b` [T, O], if they go together.
fn checked(x: &Tensor, w: &Tensor, b: &Tensor, precision: Precision) -> Result<fused::Sizes> {
    let [blocks, outputs, inputs] = shape::dims(OP, "w", w, "[T, O, I]")?;
    let [x_blocks, rows, x_inputs] = shape::dims(OP, "x", x, "[T or 1, N, I]")?;
    if x_inputs != inputs || (x_blocks != blocks && x_blocks != 1) {
        let expected = format!("[{blocks} or 1, N, {inputs}] to go with the weights");
        return Err(shape::mismatch(OP, "x", x, &expected));
    }
    shape::exactly(OP, "b", b, &[blocks, outputs])?;
    shape::same_dtype(OP, "w", w, x)?;
    shape::same_dtype(OP, "b", b, x)?;
    roundable(precision, x)?;
    Ok(fused::Sizes { x_blocks, blocks, rows, inputs, outputs })
}

/// Only f32 is rounded to something narrower: whoever computes in f64 wants all of it.
fn roundable(precision: Precision, x: &Tensor) -> Result<()> {
    match (precision, x.dtype()) {
        (Precision::F32 | Precision::Tf32, _) | (Precision::Bf16, DType::F32) => Ok(()),
        (Precision::Bf16, got) => {
            let expected = "F32, to round to bf16".to_owned();
            Err(KernelError::DType { op: OP, argument: "x", expected, got })
        }
    }
}

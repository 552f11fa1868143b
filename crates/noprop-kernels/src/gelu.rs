//! GELU in the form with tanh (Hendrycks and Gimpel 2016).

use std::f64::consts::FRAC_2_SQRT_PI;

use candle_core::{DType, Result as CandleResult, Tensor};
use rayon::prelude::*;

use crate::backend::{Backend, Chosen};
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::error::Result;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

const OP: &str = "gelu";

/// √(2/π).
const INNER: f64 = FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const CUBE: f64 = 0.044_715;

/// `½ v (1 + tanh(√(2/π) (v + 0.044715 v³)))`, element by element.
///
/// # Errors
/// [`KernelError::FusedUnavailable`](crate::KernelError::FusedUnavailable); candle's.
pub fn gelu(x: &Tensor, backend: Backend) -> Result<Tensor> {
    match (backend.choose(OP, x)?, x.dtype()) {
        (Chosen::Fused, DType::F32) => Ok(apply::<f32>(x)?),
        (Chosen::Fused, _) => Ok(apply::<f64>(x)?),
        _ => Ok(reference(x)?),
    }
}

/// In plain candle ops. candle's own `gelu` has a gradient whose constants are rounded to six digits.
fn reference(x: &Tensor) -> CandleResult<Tensor> {
    let u = (((x.sqr()? * CUBE)? + 1.0)? * x)?;
    x * (((u * INNER)?.tanh()? + 1.0)? * 0.5)?
}

/// Elements that a task takes.
const PIECE: usize = 16 * 1024;

fn apply<F: Float>(x: &Tensor) -> CandleResult<Tensor> {
    let input = x.detach().contiguous()?;
    let mut y = vec![F::default(); x.elem_count()];
    forward::<F>(&elements(&input)?, &mut y);
    node(OP, &[x], on_cpu(y, x.shape()), move |_, dy| {
        let mut dx = vec![F::default(); input.elem_count()];
        backward::<F>(&elements(&input)?, &elements(&dy.contiguous()?)?, &mut dx);
        Ok([gradient(dx, input.shape())?, None, None])
    })
}

/// Writes GELU of each element of `x` to `y`.
pub(crate) fn forward<F: Float>(x: &[F], y: &mut [F]) {
    each(x, None, value, y);
}

/// Writes the gradient at each element of `x`, from that of the result, to `dx`.
pub(crate) fn backward<F: Float>(x: &[F], dy: &[F], dx: &mut [F]) {
    each(x, Some(dy), back, dx);
}

#[inline(always)]
fn value<F: Float>(v: F, _: F) -> F {
    let (half, _) = halves(v);
    v * half
}

/// The gradient at `v`, from that of the result.
#[inline(always)]
fn back<F: Float>(v: F, gradient: F) -> F {
    let (half, slope) = halves(v);
    gradient * (half + v * slope)
}

/// `½ (1 + tanh u)` and its slope, with u as in [`gelu`].
#[inline(always)]
fn halves<F: Float>(v: F) -> (F, F) {
    let (one, two) = (F::one(), F::constant(2.0));
    let (inner, cube) = (F::constant(INNER), F::constant(CUBE));
    let square = v * v;
    let u = inner * v * (one + cube * square);
    // (1 + tanh u) / 2 = 1 / (1 + e^(-2u)).
    let half = one / (one + (F::default() - two * u).fast_exponential());
    let inner_slope = inner * (one + F::constant(3.0 * CUBE) * square);
    (half, two * half * (one - half) * inner_slope)
}

/// Writes `f` of each element of `a`, and of `b` beside it (0 without), in pieces that threads share.
fn each<F: Float>(a: &[F], b: Option<&[F]>, f: impl Fn(F, F) -> F + Sync, result: &mut [F]) {
    let arch = instruction_set::current();
    let pieces = result.par_chunks_mut(PIECE).with_min_len(grain()).enumerate();
    pieces.for_each(|(index, result)| {
        let at = index * PIECE..index * PIECE + result.len();
        let a = &a[at.clone()];
        let f = &f;
        match b.map(|b| &b[at]) {
            None => vectorised(
                arch,
                #[inline(always)]
                || {
                    for (y, v) in result.iter_mut().zip(a) {
                        *y = f(*v, F::default());
                    }
                },
            ),
            Some(b) => vectorised(
                arch,
                #[inline(always)]
                || {
                    for ((y, v), g) in result.iter_mut().zip(a).zip(b) {
                        *y = f(*v, *g);
                    }
                },
            ),
        }
    });
}

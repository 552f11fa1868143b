//! The end of the layer while the convolution's result is still in the cache (bias, 2×2 maximum, activation and dropout), and
//! its backward pass.
//!
//! With ReLU the backward pass needs only the result, which candle keeps anyway, and one byte for each result that was
//! pooled: a result is positive exactly where ReLU and dropout let it through. Without ReLU dropout's mask is drawn again.

use super::geometry::Geometry;
use super::layer::Pool;
use crate::activation::Activation;
use crate::cpu::simd::Float;
use crate::pool::{larger, replaces};

/// Turns the raw result of one image into its finished result, both channels last in whole vectors.
///
/// `mask` holds dropout's factors by position and (unrounded) channel. The place of each maximum in its window, 0 to 3 in
/// reading order, goes to `winners`.
#[inline(always)]
pub(super) fn finish<F: Float>(
    g: &Geometry,
    raw: &[F],
    bias: &[F],
    mask: Option<&[F]>,
    winners: Option<&mut [u8]>,
    result: &mut [F],
) {
    // The activation as a constant, so that the loops need not ask for it.
    match g.act {
        Activation::Relu => {
            let relu = |v| Activation::Relu.apply(v);
            finish_by(g, raw, bias, mask, winners, result, relu);
        }
        Activation::None => finish_by(g, raw, bias, mask, winners, result, |v| v),
    }
}

#[inline(always)]
fn finish_by<F: Float>(
    g: &Geometry,
    raw: &[F],
    bias: &[F],
    mask: Option<&[F]>,
    mut winners: Option<&mut [u8]>,
    result: &mut [F],
    activated: impl Fn(F) -> F,
) {
    let whole = g.c_out_whole;
    let line = g.raw_width * whole;
    for position in 0..g.positions() {
        let (row, column) = (position / g.out_width, position % g.out_width);
        let result = &mut result[position * whole..][..whole];
        match g.pool {
            Pool::None => {
                let from = &raw[row * line + column * whole..][..whole];
                for ((y, v), b) in result.iter_mut().zip(from).zip(bias) {
                    *y = activated(*v + *b);
                }
            }
            Pool::Max2 => {
                let start = 2 * row * line + 2 * column * whole;
                let (a, b) = raw[start..][..2 * whole].split_at(whole);
                let (c, d) = raw[start + line..][..2 * whole].split_at(whole);
                if let Some(winners) = winners.as_deref_mut() {
                    let winners = &mut winners[position * whole..][..whole];
                    best_of_four(a, b, c, d, result, winners);
                } else {
                    for ((((y, a), b), c), d) in result.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        *y = larger(larger(larger(*a, *b), *c), *d);
                    }
                }
                for (y, b) in result.iter_mut().zip(bias) {
                    *y = activated(*y + *b);
                }
            }
        }
        if let Some(mask) = mask {
            let mask = &mask[position * g.c_out..][..g.c_out];
            for (y, m) in result.iter_mut().zip(mask) {
                *y *= *m;
            }
        }
    }
}

/// The largest of four and its place; among equals the first.
#[inline(always)]
fn best_of_four<F: Float>(a: &[F], b: &[F], c: &[F], d: &[F], best: &mut [F], place: &mut [u8]) {
    let n = best.len();
    let (a, b, c, d, place) = (&a[..n], &b[..n], &c[..n], &d[..n], &mut place[..n]);
    for i in 0..n {
        let top = larger(a[i], b[i]);
        let bottom = larger(c[i], d[i]);
        let in_top = u8::from(replaces(a[i], b[i]));
        let in_bottom = 2 + u8::from(replaces(c[i], d[i]));
        best[i] = larger(top, bottom);
        place[i] = if replaces(top, bottom) { in_bottom } else { in_top };
    }
}

/// Turns the gradient of one image's finished result (channels last, already stopped where the result is zero) into that of
/// its raw result, `[row][column][channel]` in whole vectors. Raw values that no result uses must be zero before, and are not written.
#[inline(always)]
pub(super) fn spread<F: Float>(g: &Geometry, gradient: &[F], winners: &[u8], raw: &mut [F]) {
    let whole = g.c_out_whole;
    let line = g.raw_width * whole;
    for position in 0..g.positions() {
        let (row, column) = (position / g.out_width, position % g.out_width);
        let gradient = &gradient[position * whole..][..whole];
        match g.pool {
            Pool::None => {
                let start = row * line + column * whole;
                raw[start..][..whole].copy_from_slice(gradient);
            }
            Pool::Max2 => {
                let start = 2 * row * line + 2 * column * whole;
                let winners = &winners[position * whole..][..whole];
                for place in 0..4_u8 {
                    let corner =
                        start + usize::from(place / 2) * line + usize::from(place % 2) * whole;
                    let corner = &mut raw[corner..][..whole];
                    for ((v, gradient), winner) in corner.iter_mut().zip(gradient).zip(winners) {
                        *v = if *winner == place { *gradient } else { F::default() };
                    }
                }
            }
        }
    }
}

/// The backward pass of ReLU and dropout: stops the gradient where its result is zero and multiplies it by dropout's
/// `scale`, in place. Adds its sum over positions, which is the bias's gradient, to `bias`. All channels last in whole
/// vectors.
#[inline(always)]
pub(super) fn stop<F: Float>(gradient: &mut [F], result: &[F], scale: F, bias: &mut [F]) {
    let whole = bias.len();
    for (gradient, result) in gradient.chunks_exact_mut(whole).zip(result.chunks_exact(whole)) {
        for ((v, y), sum) in gradient.iter_mut().zip(result).zip(bias.iter_mut()) {
            let passed = *v * scale;
            *v = if *y <= F::default() { F::default() } else { passed };
            *sum += *v;
        }
    }
}

/// The backward pass of dropout alone, for one image: multiplies the gradient by the factors in `mask`, in place, and adds its
/// sum over positions to `bias`. All as in [`finish`] and [`stop`].
#[inline(always)]
pub(super) fn pass<F: Float>(g: &Geometry, gradient: &mut [F], mask: Option<&[F]>, bias: &mut [F]) {
    if let Some(mask) = mask {
        let lines = gradient.chunks_exact_mut(g.c_out_whole).zip(mask.chunks_exact(g.c_out));
        for (gradient, mask) in lines {
            for (v, m) in gradient.iter_mut().zip(mask) {
                *v *= *m;
            }
        }
    }
    for gradient in gradient.chunks_exact(g.c_out_whole) {
        for (v, sum) in gradient.iter().zip(bias.iter_mut()) {
            *sum += *v;
        }
    }
}

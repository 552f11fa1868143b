//! What follows the convolution proper, while its result is still in the cache: bias, 2×2 maximum, ReLU and dropout;
//! and the way back.
//!
//! Backward needs only the result itself, which candle keeps anyway, and one byte a result where it was pooled: a
//! positive result is one that ReLU and dropout let through.

use super::Pool;
use super::geometry::Geometry;
use crate::cpu::simd::Float;

/// Raw result of one image to its finished result, both channels last in whole vectors.
///
/// `mask` holds dropout's factors by position and (unrounded) channel; `winners` takes the place of the maximum in its
/// window, 0 to 3 in reading order.
#[inline(always)]
pub(super) fn finish<F: Float>(
    g: &Geometry,
    raw: &[F],
    bias: &[F],
    mask: Option<&[F]>,
    mut winners: Option<&mut [u8]>,
    result: &mut [F],
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
                    *y = rectified(*v + *b);
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
                    *y = rectified(*y + *b);
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

/// Whether `next` takes the place of `best`: when larger, or not a number, which must not get lost.
#[inline(always)]
#[expect(clippy::eq_op, reason = "only a not-a-number is unequal to itself")]
fn replaces<F: Float>(best: F, next: F) -> bool {
    (next > best) | (next != next)
}

#[inline(always)]
fn larger<F: Float>(best: F, next: F) -> F {
    if replaces(best, next) { next } else { best }
}

/// `max(v, 0)`; not-a-number is passed on.
#[inline(always)]
fn rectified<F: Float>(v: F) -> F {
    if v <= F::default() { F::default() } else { v }
}

/// Where [`spread`] puts the gradient of the raw result: `[row][column][channel]` in whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// Offset of the first position.
    pub origin: usize,
    /// Elements from one row to the next.
    pub row: usize,
}

/// Gradient of one image's finished result (channels last, already stopped where the result is zero) to that of its raw
/// result. What is not used by any result must hold zeros before and is not touched.
#[inline(always)]
pub(super) fn spread<F: Float>(
    g: &Geometry,
    gradient: &[F],
    winners: &[u8],
    frame: Frame,
    raw: &mut [F],
) {
    let whole = g.c_out_whole;
    for position in 0..g.positions() {
        let (row, column) = (position / g.out_width, position % g.out_width);
        let gradient = &gradient[position * whole..][..whole];
        match g.pool {
            Pool::None => {
                let start = frame.origin + row * frame.row + column * whole;
                raw[start..][..whole].copy_from_slice(gradient);
            }
            Pool::Max2 => {
                let start = frame.origin + 2 * row * frame.row + 2 * column * whole;
                let winners = &winners[position * whole..][..whole];
                for place in 0..4_u8 {
                    let corner =
                        start + usize::from(place / 2) * frame.row + usize::from(place % 2) * whole;
                    let corner = &mut raw[corner..][..whole];
                    for ((v, gradient), winner) in corner.iter_mut().zip(gradient).zip(winners) {
                        *v = if *winner == place { *gradient } else { F::default() };
                    }
                }
            }
        }
    }
}

/// Stops one image's gradient where its result is zero and multiplies it by dropout's `scale`, in place; adds its sum
/// over positions, which is the bias's gradient, to `bias`. All channels last in whole vectors.
#[inline(always)]
pub(super) fn stop<F: Float>(gradient: &mut [F], result: &[F], scale: F, bias: &mut [F]) {
    let whole = bias.len();
    for (gradient, result) in gradient.chunks_exact_mut(whole).zip(result.chunks_exact(whole)) {
        for ((v, y), sum) in gradient.iter_mut().zip(result).zip(bias.iter_mut()) {
            *v = if *y > F::default() { *v * scale } else { F::default() };
            *sum += *v;
        }
    }
}

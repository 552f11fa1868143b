//! Between the tensors' layout, channels first, and the kernels', channels last.

use super::geometry::Geometry;
use crate::cpu::simd::Float;

/// Puts an image `[Ci, H, W]` into the padded channels-last buffer, which must hold zeros around it.
#[inline(always)]
pub(crate) fn into_padded<F: Float>(g: &Geometry, image: &[F], padded: &mut [F]) {
    let (rows, columns) = g.seen();
    for (channel, plane) in image.chunks_exact(g.height * g.width).enumerate() {
        for (row, line) in plane.chunks_exact(g.width).take(rows).enumerate() {
            let start = ((row + g.pad) * g.in_width + g.pad) * g.in_stride;
            let spots = padded[start..].chunks_mut(g.in_stride).take(columns);
            for (spot, value) in spots.zip(line) {
                spot[channel] = *value;
            }
        }
    }
}

/// Takes an image `[Ci, H, W]` out of a channels-last buffer of `stride` channels; what the buffer does not cover is zero.
#[inline(always)]
pub(crate) fn out_of_padded<F: Float>(g: &Geometry, padded: &[F], stride: usize, image: &mut [F]) {
    let (rows, columns) = g.seen();
    if (rows, columns) != (g.height, g.width) {
        image.fill(F::default());
    }
    for (channel, plane) in image.chunks_exact_mut(g.height * g.width).enumerate() {
        for (row, line) in plane.chunks_exact_mut(g.width).take(rows).enumerate() {
            let start = ((row + g.pad) * g.in_width + g.pad) * stride;
            let spots = padded[start..].chunks(stride).take(columns);
            for (value, spot) in line.iter_mut().zip(spots) {
                *value = spot[channel];
            }
        }
    }
}

/// `[positions][channels]`, `stride` apart, to `[channels, positions]`.
#[inline(always)]
pub(crate) fn channels_first<F: Copy>(
    last: &[F],
    stride: usize,
    positions: usize,
    first: &mut [F],
) {
    for (channel, plane) in first.chunks_exact_mut(positions).enumerate() {
        for (value, spot) in plane.iter_mut().zip(last.chunks(stride)) {
            *value = spot[channel];
        }
    }
}

/// `[channels, positions]` to `[positions][channels]`, `stride` apart; other channels are left alone.
#[inline(always)]
pub(crate) fn channels_last<F: Copy>(first: &[F], stride: usize, positions: usize, last: &mut [F]) {
    for (channel, plane) in first.chunks_exact(positions).enumerate() {
        for (value, spot) in plane.iter().zip(last.chunks_mut(stride)) {
            spot[channel] = *value;
        }
    }
}

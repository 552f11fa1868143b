//! The weights in the kernels' layout, and their gradient in the tensor's.

use pulp::Arch;

use super::geometry::{Algorithm, Geometry};
use super::winograd::{self, Kernels};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;

/// One block's weights, prepared for the forward pass.
pub(super) fn for_forward<F: Float>(arch: Arch, g: &Geometry, weights: &[F]) -> Scratch<F> {
    let (inner, outer) = (g.c_in, g.c_out_whole);
    match g.algorithm {
        Algorithm::Direct => {
            let mut taps = Scratch::zeros(9 * inner * outer);
            for_each_weight(g, weights, |co, ci, tap, v| taps[(tap * inner + ci) * outer + co] = v);
            taps
        }
        Algorithm::Winograd2 | Algorithm::Winograd4 => {
            let mut kernels = Scratch::zeros(9 * inner * outer);
            for_each_weight(g, weights, |co, ci, tap, v| kernels[(ci * 9 + tap) * outer + co] = v);
            to_points(arch, g, inner, outer, &kernels)
        }
    }
}

/// One block's weights, prepared for the backward pass from the result's gradient to the image's.
pub(super) fn for_backward<F: Float>(arch: Arch, g: &Geometry, weights: &[F]) -> Scratch<F> {
    let outer = g.c_in_whole;
    match g.algorithm {
        Algorithm::Direct => {
            let inner = g.c_out_whole;
            let mut taps = Scratch::zeros(9 * inner * outer);
            for_each_weight(g, weights, |co, ci, tap, v| {
                taps[((8 - tap) * inner + co) * outer + ci] = v;
            });
            taps
        }
        Algorithm::Winograd2 | Algorithm::Winograd4 => {
            let inner = g.c_out;
            let mut kernels = Scratch::zeros(9 * inner * outer);
            for_each_weight(g, weights, |co, ci, tap, v| kernels[(co * 9 + tap) * outer + ci] = v);
            to_points(arch, g, inner, outer, &kernels)
        }
    }
}

fn to_points<F: Float>(
    arch: Arch,
    g: &Geometry,
    inner: usize,
    outer: usize,
    kernels: &[F],
) -> Scratch<F> {
    let mut points = Scratch::any(g.algorithm.points() * inner * outer);
    let sizes = Kernels { tile: g.algorithm.tile(), inner, outer };
    winograd::weights_to_points(arch, sizes, kernels, &mut points);
    points
}

/// Calls `f` with output channel, input channel, tap and value of every weight in `[Co, Ci, 3, 3]`.
fn for_each_weight<F: Copy>(
    g: &Geometry,
    weights: &[F],
    mut f: impl FnMut(usize, usize, usize, F),
) {
    for (co, weights) in weights.chunks_exact(9 * g.c_in).enumerate() {
        for (ci, taps) in weights.chunks_exact(9).enumerate() {
            for (tap, v) in taps.iter().enumerate() {
                f(co, ci, tap, *v);
            }
        }
    }
}

/// The gradient that the kernels gathered, in the layout of the tensor, `[Co, Ci, 3, 3]`.
pub(super) fn gradient<F: Float>(arch: Arch, g: &Geometry, gathered: &[F], gradient: &mut [F]) {
    let (inner, outer) = (g.c_in, g.c_out_whole);
    let kernels = match g.algorithm {
        Algorithm::Direct => None,
        Algorithm::Winograd2 | Algorithm::Winograd4 => {
            let mut kernels = Scratch::any(9 * inner * outer);
            let sizes = Kernels { tile: g.algorithm.tile(), inner, outer };
            winograd::points_to_weights(arch, sizes, gathered, &mut kernels);
            Some(kernels)
        }
    };
    let kernels = kernels.as_deref().unwrap_or(gathered);
    for (co, gradient) in gradient.chunks_exact_mut(9 * inner).enumerate() {
        for (v, spot) in gradient.iter_mut().zip(kernels.chunks_exact(outer)) {
            *v = spot[co];
        }
    }
}

//! The weights in the kernels' layout, and their gradient in the tensor's.

use pulp::Arch;

use super::geometry::{Algorithm, Geometry};
use super::winograd::{self, Kernels};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::cpu::turn::turn;

/// One block's weights, prepared for the forward pass.
pub(super) fn for_forward<F: Float>(arch: Arch, g: &Geometry, weights: &[F]) -> Scratch<F> {
    let [inner, outer] = [g.c_in, g.c_out_whole];
    if g.algorithm == Algorithm::Direct {
        return prepared(g, weights, [inner, outer], |tap, co, ci| [tap, ci, co]);
    }
    let mut kernels = Scratch::any(9 * inner * outer);
    turn(arch, weights, 9 * inner, outer, &mut kernels);
    to_points(arch, g, &kernels, [inner, outer])
}

/// One block's weights, prepared for the backward pass from the result's gradient to the image's.
pub(super) fn for_backward<F: Float>(arch: Arch, g: &Geometry, weights: &[F]) -> Scratch<F> {
    match g.algorithm {
        Algorithm::Direct => {
            let sizes = [g.c_out_whole, g.c_in_whole];
            prepared(g, weights, sizes, |tap, co, ci| [8 - tap, co, ci])
        }
        Algorithm::Winograd2 | Algorithm::Winograd4 => {
            let sizes = [g.c_out, g.c_in_whole];
            let kernels = prepared(g, weights, sizes, |tap, co, ci| [tap, co, ci]);
            to_points(arch, g, &kernels, sizes)
        }
    }
}

/// Weights `[Co, Ci, 3, 3]` by tap, inner and outer channel: `[9][inner][outer]`, or `[inner][9][outer]` for [`to_points`]. `place` returns
/// the three for a tap, an output and an input channel.
fn prepared<F: Float>(
    g: &Geometry,
    weights: &[F],
    [inner, outer]: [usize; 2],
    place: impl Fn(usize, usize, usize) -> [usize; 3],
) -> Scratch<F> {
    let [tap_step, inner_step] = match g.algorithm {
        Algorithm::Direct => [inner * outer, outer],
        Algorithm::Winograd2 | Algorithm::Winograd4 => [outer, 9 * outer],
    };
    let mut kernels = Scratch::zeros(9 * inner * outer);
    for (co, weights) in weights.chunks_exact(9 * g.c_in).enumerate() {
        for (ci, taps) in weights.chunks_exact(9).enumerate() {
            for (tap, v) in taps.iter().enumerate() {
                let [tap, inner, outer] = place(tap, co, ci);
                kernels[tap * tap_step + inner * inner_step + outer] = *v;
            }
        }
    }
    kernels
}

/// Weights `[inner][9][outer]` at the points of Winograd's algorithm, `[points][inner][outer]`.
fn to_points<F: Float>(
    arch: Arch,
    g: &Geometry,
    kernels: &[F],
    [inner, outer]: [usize; 2],
) -> Scratch<F> {
    let mut points = Scratch::any(g.algorithm.points() * inner * outer);
    let sizes = Kernels { tile: g.algorithm.tile(), inner, outer };
    winograd::weights_to_points(arch, sizes, kernels, &mut points);
    points
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
    if outer == g.c_out {
        return turn(arch, kernels, outer, 9 * inner, gradient);
    }
    for (co, gradient) in gradient.chunks_exact_mut(9 * inner).enumerate() {
        for (v, spot) in gradient.iter_mut().zip(kernels.chunks_exact(outer)) {
            *v = spot[co];
        }
    }
}

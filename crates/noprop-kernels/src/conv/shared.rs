//! The parts that both stacks of layers use: the one without norms and the one with norms.

use rayon::prelude::*;

use crate::cpu::simd::Float;
use crate::threads::grain;

/// Images that share one sum of the weights' gradient.
pub(super) const GROUP: usize = 32;

/// The intermediate values that the forward pass leaves for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    ForBackward,
}

/// `Yes` if the gradient of the images is wanted: not when they are data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    No,
    Yes,
}

/// Adds the later shares to the first; for each element, share after share.
pub(super) fn add_in_order<F: Float>(total: &mut [F], others: &[F]) {
    const PIECE: usize = 16 * 1024;
    let size = total.len();
    total.par_chunks_mut(PIECE).with_min_len(grain()).enumerate().for_each(|(piece, total)| {
        for other in others.chunks_exact(size) {
            for (sum, v) in total.iter_mut().zip(&other[piece * PIECE..]) {
                *sum += *v;
            }
        }
    });
}

/// The images' gradients, summed over blocks, in order, where they share one input.
pub(super) fn over_blocks<F: Float>(blocks: usize, x_blocks: usize, mut dx: Vec<F>) -> Vec<F> {
    if x_blocks == blocks || dx.is_empty() {
        return dx;
    }
    let one = dx.len() / blocks;
    let (total, others) = dx.split_at_mut(one);
    add_in_order(total, others);
    dx.truncate(one);
    dx
}

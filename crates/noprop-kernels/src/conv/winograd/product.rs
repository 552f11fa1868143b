//! The products at the points.

use pulp::Arch;

use super::point_step;
use crate::cpu::product::{Left, Right, Start, Task, Tasks, Walk};
use crate::cpu::simd::Float;

/// The sizes of the products. Transformed tiles are `[points][tiles][inner]`, rows of `stride`; weights are
/// `[points][inner][outer]`, and products are `[points][tiles][outer]`.
#[derive(Clone, Copy, Debug)]
pub(in crate::conv) struct Products {
    pub tiles: usize,
    pub inner: usize,
    pub stride: usize,
    pub outer: usize,
}

impl Products {
    /// `M[p] = V[p] U[p]` at every point: tiles times weights.
    pub(in crate::conv) fn forward<F: Float>(
        self,
        arch: Arch,
        tiles: &[F],
        weights: &[F],
        products: &mut [F],
    ) {
        let per_point = tiles
            .chunks_exact(point_step(self.tiles, self.stride))
            .zip(weights.chunks_exact(self.inner * self.outer))
            .zip(products.chunks_exact_mut(point_step(self.tiles, self.outer)));
        arch.dispatch(Tasks(per_point.map(|((tiles, weights), c)| Task {
            rows: self.tiles,
            row_step: self.stride,
            a: Left { data: tiles, walk: Walk::straight(self.inner, 1) },
            b: Right { data: weights, stride: self.outer, width: self.outer },
            c,
            start: Start::Zero,
        })));
    }

    /// `dU[p] (+)= V[p]ᵀ dM[p]` at every point: tiles, transposed, times the gradient of the products.
    pub(in crate::conv) fn backward<F: Float>(
        self,
        arch: Arch,
        tiles: &[F],
        products: &[F],
        weights: &mut [F],
        start: Start,
    ) {
        let per_point = tiles
            .chunks_exact(point_step(self.tiles, self.stride))
            .zip(products.chunks_exact(point_step(self.tiles, self.outer)))
            .zip(weights.chunks_exact_mut(self.inner * self.outer));
        arch.dispatch(Tasks(per_point.map(|((tiles, products), c)| Task {
            rows: self.inner,
            row_step: 1,
            a: Left { data: tiles, walk: Walk::straight(self.tiles, self.stride) },
            b: Right { data: products, stride: self.outer, width: self.outer },
            c,
            start,
        })));
    }
}

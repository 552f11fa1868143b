//! The products at the points.

use pulp::{Simd, WithSimd};

use super::point_step;
use crate::cpu::arithmetic::Plain;
use crate::cpu::product::{Left, Right, Start, Walk, product};
use crate::cpu::simd::Float;

/// `M[p] = V[p] U[p]` at every point: `[tiles][inner]` (rows of `stride`) by `[inner][outer]`.
pub(in crate::conv) struct Forward<'a, F> {
    pub points: usize,
    pub tiles: usize,
    pub inner: usize,
    pub stride: usize,
    pub outer: usize,
    pub left: &'a [F],
    pub right: &'a [F],
    pub result: &'a mut [F],
}

impl<F: Float> WithSimd for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let per_point = self
            .left
            .chunks_exact(point_step(self.tiles, self.stride))
            .zip(self.right.chunks_exact(self.inner * self.outer))
            .zip(self.result.chunks_exact_mut(point_step(self.tiles, self.outer)))
            .take(self.points);
        let stride = self.stride;
        for ((left, right), result) in per_point {
            let a = Left { data: left, walk: Walk::straight(self.inner, 1) };
            let b = Right { data: right, stride: self.outer, width: self.outer };
            product(
                Plain::on(s),
                self.tiles,
                #[inline(always)]
                |tile| tile * stride,
                a,
                b,
                result,
                Start::Zero,
            );
        }
    }
}

/// `dU[p] += V[p]ᵀ dM[p]` at every point: `[tiles][inner]` (rows of `stride`) transposed by `[tiles][outer]`.
pub(in crate::conv) struct Backward<'a, F> {
    pub points: usize,
    pub tiles: usize,
    pub inner: usize,
    pub stride: usize,
    pub outer: usize,
    pub left: &'a [F],
    pub right: &'a [F],
    pub result: &'a mut [F],
    pub start: Start,
}

impl<F: Float> WithSimd for Backward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let per_point = self
            .left
            .chunks_exact(point_step(self.tiles, self.stride))
            .zip(self.right.chunks_exact(point_step(self.tiles, self.outer)))
            .zip(self.result.chunks_exact_mut(self.inner * self.outer))
            .take(self.points);
        for ((left, right), result) in per_point {
            let a = Left { data: left, walk: Walk::straight(self.tiles, self.stride) };
            let b = Right { data: right, stride: self.outer, width: self.outer };
            product(
                Plain::on(s),
                self.inner,
                #[inline(always)]
                |i| i,
                a,
                b,
                result,
                self.start,
            );
        }
    }
}

//! Winograd's F(2×2, 3×3) and F(4×4, 3×3): the convolution as a product at each of 16 or 36 points.
//!
//! The image is cut into overlapping tiles, each transformed (`V = Bᵀ d B`); so are the weights (`U = G g Gᵀ`). At each
//! point the transformed tiles of several images, `[tiles][Ci]`, are multiplied by the weights, `[Ci][Co]`, and the
//! products transformed back. All buffers hold points outermost, channels in whole vectors innermost.

mod transforms;

use pulp::{Arch, Simd, WithSimd};

use super::geometry::Geometry;
use crate::cpu::arithmetic::Plain;
use crate::cpu::product::{Left, Right, Start, Walk, product};
use crate::cpu::simd::{Float, MOST_LANES};
use transforms::both_ways;

/// Tiles of several images, `[points][tiles][channels]`, and the place of one image's tiles among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Tiles of all images together.
    pub tiles: usize,
    /// The first tile of this image.
    pub first: usize,
}

/// Elements from one point's tiles to the next's. One line of cache more than the tiles take: strides of a round number
/// would send all points of a tile to the same few places in the cache.
pub(super) const fn point_step(tiles: usize, whole: usize) -> usize {
    tiles * whole + MOST_LANES
}

/// `V = Bᵀ d B` for the tiles of one padded image.
pub(super) fn image_to_points<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    image: &[F],
    points: &mut [F],
) {
    struct Task<'a, F>(&'a Geometry, Place, &'a [F], &'a mut [F]);
    impl<F: Float> WithSimd for Task<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let Self(g, place, image, points) = self;
            match g.algorithm.tile() {
                2 => run::<F, S, 2, 4>(s, g, place, image, points),
                _ => run::<F, S, 4, 6>(s, g, place, image, points),
            }
        }
    }

    #[inline(always)]
    fn run<F: Float, S: Simd, const TILE: usize, const SIDE: usize>(
        s: S,
        g: &Geometry,
        place: Place,
        image: &[F],
        points: &mut [F],
    ) {
        let whole = g.c_in_whole;
        let point_step = point_step(place.tiles, whole);
        for_each_tile::<F, S, TILE>(
            g,
            g.in_width,
            whole,
            #[inline(always)]
            |tile, start, channel| {
                let from = &image[start + channel..];
                let to = &mut points[(place.first + tile) * whole + channel..];
                both_ways::<F, S, SIDE, SIDE>(
                    s,
                    #[inline(always)]
                    |row, column| F::load(s, &from[(row * g.in_width + column) * whole..]),
                    #[inline(always)]
                    |line| transforms::input::<F, S, TILE>(s, line),
                    #[inline(always)]
                    |row, column, v| F::store(s, &mut to[(row * SIDE + column) * point_step..], v),
                );
            },
        );
    }

    arch.dispatch(Task(g, place, image, points));
}

/// Adds `B dV Bᵀ` of one image's tiles to its padded gradient, the transpose of [`image_to_points`].
pub(super) fn points_to_image<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    points: &[F],
    image: &mut [F],
) {
    struct Task<'a, F>(&'a Geometry, Place, &'a [F], &'a mut [F]);
    impl<F: Float> WithSimd for Task<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let Self(g, place, points, image) = self;
            match g.algorithm.tile() {
                2 => run::<F, S, 2, 4>(s, g, place, points, image),
                _ => run::<F, S, 4, 6>(s, g, place, points, image),
            }
        }
    }

    #[inline(always)]
    fn run<F: Float, S: Simd, const TILE: usize, const SIDE: usize>(
        s: S,
        g: &Geometry,
        place: Place,
        points: &[F],
        image: &mut [F],
    ) {
        let whole = g.c_in_whole;
        let point_step = point_step(place.tiles, whole);
        for_each_tile::<F, S, TILE>(
            g,
            g.in_width,
            whole,
            #[inline(always)]
            |tile, start, channel| {
                let from = &points[(place.first + tile) * whole + channel..];
                let to = &mut image[start + channel..];
                both_ways::<F, S, SIDE, SIDE>(
                    s,
                    #[inline(always)]
                    |row, column| F::load(s, &from[(row * SIDE + column) * point_step..]),
                    #[inline(always)]
                    |line| transforms::input_back::<F, S, TILE>(s, line),
                    #[inline(always)]
                    |row, column, v| {
                        // Tiles overlap by two, so their shares add up.
                        let spot = &mut to[(row * g.in_width + column) * whole..];
                        let sum = F::plus(s, F::load(s, spot), v);
                        F::store(s, spot, sum);
                    },
                );
            },
        );
    }

    arch.dispatch(Task(g, place, points, image));
}

/// `Y = Aᵀ M A`: the products of one image's tiles to its raw result.
pub(super) fn points_to_raw<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    points: &[F],
    raw: &mut [F],
) {
    struct Task<'a, F>(&'a Geometry, Place, &'a [F], &'a mut [F]);
    impl<F: Float> WithSimd for Task<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let Self(g, place, points, raw) = self;
            match g.algorithm.tile() {
                2 => run::<F, S, 2, 4>(s, g, place, points, raw),
                _ => run::<F, S, 4, 6>(s, g, place, points, raw),
            }
        }
    }

    #[inline(always)]
    fn run<F: Float, S: Simd, const TILE: usize, const SIDE: usize>(
        s: S,
        g: &Geometry,
        place: Place,
        points: &[F],
        raw: &mut [F],
    ) {
        let whole = g.c_out_whole;
        let point_step = point_step(place.tiles, whole);
        for_each_tile::<F, S, TILE>(
            g,
            g.raw_width,
            whole,
            #[inline(always)]
            |tile, start, channel| {
                let from = &points[(place.first + tile) * whole + channel..];
                let to = &mut raw[start + channel..];
                both_ways::<F, S, SIDE, TILE>(
                    s,
                    #[inline(always)]
                    |row, column| F::load(s, &from[(row * SIDE + column) * point_step..]),
                    #[inline(always)]
                    |line| transforms::output::<F, S, TILE>(s, line),
                    #[inline(always)]
                    |row, column, v| {
                        F::store(s, &mut to[(row * g.raw_width + column) * whole..], v)
                    },
                );
            },
        );
    }

    arch.dispatch(Task(g, place, points, raw));
}

/// `dM = A dY Aᵀ`: the gradient of one image's raw result to that of its products, the transpose of [`points_to_raw`].
pub(super) fn raw_to_points<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    raw: &[F],
    points: &mut [F],
) {
    struct Task<'a, F>(&'a Geometry, Place, &'a [F], &'a mut [F]);
    impl<F: Float> WithSimd for Task<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let Self(g, place, raw, points) = self;
            match g.algorithm.tile() {
                2 => run::<F, S, 2, 4>(s, g, place, raw, points),
                _ => run::<F, S, 4, 6>(s, g, place, raw, points),
            }
        }
    }

    #[inline(always)]
    fn run<F: Float, S: Simd, const TILE: usize, const SIDE: usize>(
        s: S,
        g: &Geometry,
        place: Place,
        raw: &[F],
        points: &mut [F],
    ) {
        let whole = g.c_out_whole;
        let point_step = point_step(place.tiles, whole);
        for_each_tile::<F, S, TILE>(
            g,
            g.raw_width,
            whole,
            #[inline(always)]
            |tile, start, channel| {
                let from = &raw[start + channel..];
                let to = &mut points[(place.first + tile) * whole + channel..];
                both_ways::<F, S, TILE, SIDE>(
                    s,
                    #[inline(always)]
                    |row, column| F::load(s, &from[(row * g.raw_width + column) * whole..]),
                    #[inline(always)]
                    |line| transforms::output_back::<F, S, TILE>(s, line),
                    #[inline(always)]
                    |row, column, v| F::store(s, &mut to[(row * SIDE + column) * point_step..], v),
                );
            },
        );
    }

    arch.dispatch(Task(g, place, raw, points));
}

/// Calls `f` with each tile's number, its offset in a buffer of `width` positions a row and `whole` channels, and each
/// vector of channels.
#[inline(always)]
fn for_each_tile<F: Float, S: Simd, const TILE: usize>(
    g: &Geometry,
    width: usize,
    whole: usize,
    mut f: impl FnMut(usize, usize, usize),
) {
    let columns = g.raw_width / TILE;
    for row in 0..g.raw_height / TILE {
        for column in 0..columns {
            let start = (row * TILE * width + column * TILE) * whole;
            for channel in (0..whole).step_by(F::lanes::<S>()) {
                f(row * columns + column, start, channel);
            }
        }
    }
}

/// `U = G g Gᵀ`: weights `[inner][9][outer]` to `[points][inner][outer]`, `outer` in whole vectors.
pub(super) fn weights_to_points<F: Float>(
    arch: Arch,
    tile: usize,
    inner: usize,
    outer: usize,
    weights: &[F],
    points: &mut [F],
) {
    struct Task<'a, F>(usize, usize, usize, &'a [F], &'a mut [F]);
    impl<F: Float> WithSimd for Task<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let Self(tile, inner, outer, weights, points) = self;
            match tile {
                2 => run::<F, S, 2, 4>(s, inner, outer, weights, points),
                _ => run::<F, S, 4, 6>(s, inner, outer, weights, points),
            }
        }
    }

    #[inline(always)]
    fn run<F: Float, S: Simd, const TILE: usize, const SIDE: usize>(
        s: S,
        inner: usize,
        outer: usize,
        weights: &[F],
        points: &mut [F],
    ) {
        for i in 0..inner {
            for o in (0..outer).step_by(F::lanes::<S>()) {
                let from = &weights[i * 9 * outer + o..];
                let to = &mut points[i * outer + o..];
                both_ways::<F, S, 3, SIDE>(
                    s,
                    #[inline(always)]
                    |row, column| F::load(s, &from[(row * 3 + column) * outer..]),
                    #[inline(always)]
                    |line| transforms::weights::<F, S, TILE>(s, line),
                    #[inline(always)]
                    |row, column, v| {
                        F::store(s, &mut to[(row * SIDE + column) * inner * outer..], v);
                    },
                );
            }
        }
    }

    arch.dispatch(Task(tile, inner, outer, weights, points));
}

/// `dg = Gᵀ dU G`: the transpose of [`weights_to_points`].
pub(super) fn points_to_weights<F: Float>(
    arch: Arch,
    tile: usize,
    inner: usize,
    outer: usize,
    points: &[F],
    weights: &mut [F],
) {
    struct Task<'a, F>(usize, usize, usize, &'a [F], &'a mut [F]);
    impl<F: Float> WithSimd for Task<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let Self(tile, inner, outer, points, weights) = self;
            match tile {
                2 => run::<F, S, 2, 4>(s, inner, outer, points, weights),
                _ => run::<F, S, 4, 6>(s, inner, outer, points, weights),
            }
        }
    }

    #[inline(always)]
    fn run<F: Float, S: Simd, const TILE: usize, const SIDE: usize>(
        s: S,
        inner: usize,
        outer: usize,
        points: &[F],
        weights: &mut [F],
    ) {
        for i in 0..inner {
            for o in (0..outer).step_by(F::lanes::<S>()) {
                let from = &points[i * outer + o..];
                let to = &mut weights[i * 9 * outer + o..];
                both_ways::<F, S, SIDE, 3>(
                    s,
                    #[inline(always)]
                    |row, column| F::load(s, &from[(row * SIDE + column) * inner * outer..]),
                    #[inline(always)]
                    |line| transforms::weights_back::<F, S, TILE>(s, line),
                    #[inline(always)]
                    |row, column, v| F::store(s, &mut to[(row * 3 + column) * outer..], v),
                );
            }
        }
    }

    arch.dispatch(Task(tile, inner, outer, points, weights));
}

/// `M[p] = V[p] U[p]` at every point: `[tiles][inner]` (rows of `stride`) by `[inner][outer]`.
pub(super) struct Forward<'a, F> {
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
        for ((left, right), result) in per_point {
            let a = Left { data: left, walk: Walk::straight(self.inner, 1) };
            let b = Right { data: right, stride: self.outer };
            let stride = self.stride;
            product(
                Plain::on(s),
                self.tiles,
                self.outer,
                a,
                #[inline(always)]
                |tile| tile * stride,
                b,
                result,
                self.outer,
                Start::Zero,
            );
        }
    }
}

/// `dU[p] += V[p]ᵀ dM[p]` at every point: `[tiles][inner]` (rows of `stride`) transposed by `[tiles][outer]`.
pub(super) struct Backward<'a, F> {
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
            let b = Right { data: right, stride: self.outer };
            product(
                Plain::on(s),
                self.inner,
                self.outer,
                a,
                #[inline(always)]
                |i| i,
                b,
                result,
                self.outer,
                self.start,
            );
        }
    }
}

//! Winograd's F(2×2, 3×3) and F(4×4, 3×3): the convolution as a product at each of 16 or 36 points.
//!
//! The image is cut into overlapping tiles, each of which is transformed (`V = Bᵀ d B`); so are the weights
//! (`U = G g Gᵀ`). At each point the transformed tiles of several images, `[tiles][Ci]`, are multiplied by the weights,
//! `[Ci][Co]`, and the products are transformed back. In all buffers points are outermost and channels, in whole vectors,
//! innermost.

mod product;
mod tiles;
mod transforms;

use pulp::Arch;

use super::geometry::Geometry;
use crate::cpu::simd::{Float, MOST_LANES};
use tiles::{Grid, Tiling, transform};

pub(super) use product::Products;

/// The place of one image's tiles among those of several images, `[points][tiles][channels]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The number of tiles of all images together.
    pub tiles: usize,
    /// The first tile of this image.
    pub first: usize,
}

/// Elements from one point's tiles to the next's. This is one cache line more than the tiles take: with strides of a round
/// number all points of a tile would fall on the same few places in the cache.
pub(super) const fn point_step(tiles: usize, whole: usize) -> usize {
    tiles * whole + MOST_LANES
}

/// The tiles of one image: as many as cover its raw result.
fn grid(g: &Geometry, channels: usize) -> Grid {
    let tile = g.algorithm.tile();
    Grid { tile, rows: g.raw_height / tile, columns: g.raw_width / tile, channels }
}

/// The layout of the tiles of `grid` in an image or a raw result of `width` positions a row.
fn in_picture(grid: &Grid, width: usize) -> Tiling {
    let cell = [width * grid.channels, grid.channels];
    Tiling { first: 0, tile: cell.map(|step| step * grid.tile), cell }
}

/// The layout of the tiles of `grid` among the points.
fn at_points(grid: &Grid, place: Place) -> Tiling {
    let (side, step) = (grid.tile + 2, point_step(place.tiles, grid.channels));
    Tiling {
        first: place.first * grid.channels,
        tile: [grid.columns * grid.channels, grid.channels],
        cell: [side * step, step],
    }
}

/// `V = Bᵀ d B` for the tiles of one padded image.
pub(super) fn image_to_points<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    image: &[F],
    points: &mut [F],
) {
    let grid = grid(g, g.c_in_whole);
    let (from, to) = (in_picture(&grid, g.in_width), at_points(&grid, place));
    transform::<transforms::Input, F>(arch, grid, (image, from), (points, to));
}

/// Adds `B dV Bᵀ` of one image's tiles to its padded gradient: the transpose of [`image_to_points`].
pub(super) fn points_to_image<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    points: &[F],
    image: &mut [F],
) {
    let grid = grid(g, g.c_in_whole);
    let (from, to) = (at_points(&grid, place), in_picture(&grid, g.in_width));
    transform::<transforms::InputBack, F>(arch, grid, (points, from), (image, to));
}

/// `Y = Aᵀ M A`: the products of one image's tiles to its raw result.
pub(super) fn points_to_raw<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    points: &[F],
    raw: &mut [F],
) {
    let grid = grid(g, g.c_out_whole);
    let (from, to) = (at_points(&grid, place), in_picture(&grid, g.raw_width));
    transform::<transforms::Output, F>(arch, grid, (points, from), (raw, to));
}

/// `dM = A dY Aᵀ`: the gradient of one image's raw result to that of its products, the transpose of [`points_to_raw`].
pub(super) fn raw_to_points<F: Float>(
    arch: Arch,
    g: &Geometry,
    place: Place,
    raw: &[F],
    points: &mut [F],
) {
    let grid = grid(g, g.c_out_whole);
    let (from, to) = (in_picture(&grid, g.raw_width), at_points(&grid, place));
    transform::<transforms::OutputBack, F>(arch, grid, (raw, from), (points, to));
}

/// The sizes of weights: `[inner][9][outer]`, or `[points][inner][outer]` once transformed; `outer` in whole vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels {
    /// Results a side of a tile.
    pub tile: usize,
    pub inner: usize,
    pub outer: usize,
}

impl Kernels {
    /// One row of tiles, a tile for each inner channel.
    fn grid(self) -> Grid {
        Grid { tile: self.tile, rows: 1, columns: self.inner, channels: self.outer }
    }

    fn taps(self) -> Tiling {
        Tiling { first: 0, tile: [0, 9 * self.outer], cell: [3 * self.outer, self.outer] }
    }

    fn points(self) -> Tiling {
        let step = self.inner * self.outer;
        Tiling { first: 0, tile: [0, self.outer], cell: [(self.tile + 2) * step, step] }
    }
}

/// `U = G g Gᵀ`: weights to points.
pub(super) fn weights_to_points<F: Float>(
    arch: Arch,
    sizes: Kernels,
    weights: &[F],
    points: &mut [F],
) {
    let (from, to) = (sizes.taps(), sizes.points());
    transform::<transforms::Weights, F>(arch, sizes.grid(), (weights, from), (points, to));
}

/// `dg = Gᵀ dU G`: the transpose of [`weights_to_points`].
pub(super) fn points_to_weights<F: Float>(
    arch: Arch,
    sizes: Kernels,
    points: &[F],
    weights: &mut [F],
) {
    let (from, to) = (sizes.points(), sizes.taps());
    transform::<transforms::WeightsBack, F>(arch, sizes.grid(), (points, from), (weights, to));
}

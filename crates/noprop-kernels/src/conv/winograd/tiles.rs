//! Transforming tiles from one buffer to another.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::transforms::{Transform, both_ways};
use crate::cpu::product::Start;
use crate::cpu::simd::Float;

/// The tiles of one call: `rows` by `columns`, in each of `channels` channels (whole vectors).
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Results a side of a tile: 2 or 4.
    pub tile: usize,
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
}

/// The layout of a [`Grid`]'s tiles in a buffer. Steps are in elements, first from one row to the next, then from one column to
/// the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    /// The offset of the first tile.
    pub first: usize,
    /// The steps between tiles.
    pub tile: [usize; 2],
    /// The steps between the cells of a tile.
    pub cell: [usize; 2],
}

impl Tiling {
    #[inline(always)]
    fn of_tile(&self, row: usize, column: usize) -> usize {
        self.first + row * self.tile[0] + column * self.tile[1]
    }

    #[inline(always)]
    fn of_cell(&self, row: usize, column: usize) -> usize {
        row * self.cell[0] + column * self.cell[1]
    }
}

/// Applies the matrix `M` to the tiles of `grid`, from one buffer to another.
pub(super) fn transform<M: Transform<2> + Transform<4>, F: Float>(
    arch: Arch,
    grid: Grid,
    (from, from_tiling): (&[F], Tiling),
    (to, to_tiling): (&mut [F], Tiling),
) {
    arch.dispatch(Task { grid, from, from_tiling, to, to_tiling, matrix: PhantomData::<M> });
}

struct Task<'a, M, F> {
    grid: Grid,
    from: &'a [F],
    from_tiling: Tiling,
    to: &'a mut [F],
    to_tiling: Tiling,
    matrix: PhantomData<M>,
}

impl<M: Transform<2> + Transform<4>, F: Float> WithSimd for Task<'_, M, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match self.grid.tile {
            2 => self.run::<S, 2>(s),
            _ => self.run::<S, 4>(s),
        }
    }
}

impl<M, F: Float> Task<'_, M, F> {
    #[inline(always)]
    fn run<S: Simd, const TILE: usize>(self, s: S)
    where
        M: Transform<TILE>,
    {
        let Self { grid, from, from_tiling, to, to_tiling, .. } = self;
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                for channel in (0..grid.channels).step_by(F::lanes::<S>()) {
                    let from = &from[from_tiling.of_tile(row, column) + channel..];
                    let to = &mut to[to_tiling.of_tile(row, column) + channel..];
                    both_ways::<M, F, S, TILE>(
                        s,
                        #[inline(always)]
                        |row, column| F::load(s, &from[from_tiling.of_cell(row, column)..]),
                        #[inline(always)]
                        |row, column, v| {
                            let cell = &mut to[to_tiling.of_cell(row, column)..];
                            let v = match M::START {
                                Start::Zero => v,
                                Start::Kept => F::plus(s, F::load(s, cell), v),
                            };
                            F::store(s, cell, v);
                        },
                    );
                }
            }
        }
    }
}

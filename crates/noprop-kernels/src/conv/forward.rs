//! The fused layer's forward pass, a few images at a time.

use pulp::Arch;
use rayon::prelude::*;

use super::direct;
use super::epilogue::finish;
use super::geometry::{Algorithm, Geometry};
use super::layout::{channels_first, into_padded};
use super::winograd::{self, Place};
use super::{Sizes, weights};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::dropout::{Dropout, MaskStream, padded};

/// Tiles that go through a product together: enough rows to reuse the weights, few enough to stay in the cache.
pub(super) const TILES_AT_ONCE: usize = 36;

/// What backward will need besides the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    /// The place of each maximum in its window.
    Winners,
}

/// Images that are worked on together.
pub(super) fn images_at_once(g: &Geometry) -> usize {
    match g.algorithm {
        Algorithm::Direct => 4,
        Algorithm::Winograd2 | Algorithm::Winograd4 => (TILES_AT_ONCE / g.tiles()).clamp(1, 16),
    }
}

/// The result `[T, N, Co, OH, OW]` and, if kept, the winners `[T, N, positions, Co in whole vectors]`.
pub(super) fn run<F: Float>(
    arch: Arch,
    s: &Sizes,
    g: &Geometry,
    dropout: Option<&Dropout>,
    keep: Keep,
    [x, w, b]: [&[F]; 3],
) -> (Vec<F>, Vec<u8>) {
    let mut result = vec![F::default(); s.blocks * s.images * g.result()];
    let winners_an_image = match keep {
        Keep::Nothing => 0,
        Keep::Winners => g.positions() * g.c_out_whole,
    };
    let mut winners = vec![0_u8; s.blocks * s.images * winners_an_image];
    if result.is_empty() {
        return (result, winners);
    }
    let blocks: Vec<Block<'_, F>> = (0..s.blocks)
        .map(|block| {
            let weights = &w[block * 9 * g.c_in * g.c_out..][..9 * g.c_in * g.c_out];
            let mut bias = vec![F::default(); g.c_out_whole];
            bias[..g.c_out].copy_from_slice(&b[block * g.c_out..][..g.c_out]);
            let first = if s.x_blocks == 1 { 0 } else { block * s.images };
            Block {
                images: &x[first * g.image()..][..s.images * g.image()],
                weights: weights::for_forward(arch, g, weights),
                bias,
                mask: dropout.map(|dropout| (dropout.stream(block), F::constant(dropout.scale()))),
            }
        })
        .collect();
    let starts = match g.algorithm {
        Algorithm::Direct => {
            direct::window_starts(g.raw_height, g.raw_width, g.in_width, g.in_stride)
        }
        Algorithm::Winograd2 | Algorithm::Winograd4 => Vec::new(),
    };

    let at_once = images_at_once(g);
    let mut tasks = Vec::new();
    let mut winners_left = winners.as_mut_slice();
    for (block, results) in blocks
        .iter()
        .zip(result.chunks_exact_mut(s.images * g.result()))
    {
        for (chunk, results) in results.chunks_mut(at_once * g.result()).enumerate() {
            let images = results.len() / g.result();
            let (mine, rest) =
                std::mem::take(&mut winners_left).split_at_mut(images * winners_an_image);
            winners_left = rest;
            tasks.push(Task {
                block,
                first: chunk * at_once,
                images,
                results,
                winners: mine,
            });
        }
    }
    tasks
        .into_par_iter()
        .for_each(|task| task.run(arch, g, &starts));
    (result, winners)
}

struct Block<'a, F: Float> {
    images: &'a [F],
    weights: Scratch<F>,
    bias: Vec<F>,
    mask: Option<(MaskStream, F)>,
}

/// Some images of one block.
struct Task<'a, F: Float> {
    block: &'a Block<'a, F>,
    first: usize,
    images: usize,
    results: &'a mut [F],
    /// Empty when they are not kept.
    winners: &'a mut [u8],
}

impl<F: Float> Task<'_, F> {
    fn run(mut self, arch: Arch, g: &Geometry, starts: &[usize]) {
        let images = &self.block.images[self.first * g.image()..][..self.images * g.image()];
        let mut image = Scratch::zeros(g.padded_image());
        let mut raw = Scratch::any(g.raw());
        match g.algorithm {
            Algorithm::Direct => {
                for (index, source) in images.chunks_exact(g.image()).enumerate() {
                    arch.dispatch(
                        #[inline(always)]
                        || into_padded(g, source, &mut image),
                    );
                    arch.dispatch(direct::Forward {
                        g,
                        starts,
                        image: &image,
                        weights: &self.block.weights,
                        raw: &mut raw,
                    });
                    self.finish(arch, g, index, &raw);
                }
            }
            Algorithm::Winograd2 | Algorithm::Winograd4 => {
                let (points, tiles) = (g.algorithm.points(), self.images * g.tiles());
                let mut left = Scratch::any(points * tiles * g.c_in_whole);
                let mut products = Scratch::any(points * tiles * g.c_out_whole);
                let place = |index| Place {
                    tiles,
                    first: index * g.tiles(),
                };
                for (index, source) in images.chunks_exact(g.image()).enumerate() {
                    arch.dispatch(
                        #[inline(always)]
                        || into_padded(g, source, &mut image),
                    );
                    winograd::image_to_points(arch, g, place(index), &image, &mut left);
                }
                arch.dispatch(winograd::Forward {
                    points,
                    tiles,
                    inner: g.c_in,
                    stride: g.c_in_whole,
                    outer: g.c_out_whole,
                    left: &left,
                    right: &self.block.weights,
                    result: &mut products,
                });
                for index in 0..self.images {
                    winograd::points_to_raw(arch, g, place(index), &products, &mut raw);
                    self.finish(arch, g, index, &raw);
                }
            }
        }
    }

    /// Bias, pooling, ReLU and dropout of image `index`, and its result into place.
    fn finish(&mut self, arch: Arch, g: &Geometry, index: usize, raw: &[F]) {
        let positions = g.positions();
        let mut done = Scratch::any(positions * g.c_out_whole);
        let mask = self.block.mask.map(|(stream, scale)| {
            let mut mask = Scratch::any(padded(positions * g.c_out));
            arch.dispatch(
                #[inline(always)]
                || stream.fill(self.first + index, scale, &mut mask),
            );
            mask
        });
        let winners = if self.winners.is_empty() {
            None
        } else {
            let each = positions * g.c_out_whole;
            Some(&mut self.winners[index * each..][..each])
        };
        let result = &mut self.results[index * g.result()..][..g.result()];
        arch.dispatch(
            #[inline(always)]
            || {
                finish(
                    g,
                    raw,
                    &self.block.bias,
                    mask.as_deref(),
                    winners,
                    &mut done,
                );
                channels_first(&done, g.c_out_whole, positions, result);
            },
        );
    }
}

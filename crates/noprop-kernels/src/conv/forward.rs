//! One fused layer's forward pass over some images.

use pulp::Arch;

use super::direct;
use super::epilogue::finish;
use super::geometry::{Algorithm, Geometry};
use super::layout::{Source, channels_first, into_padded};
use super::winograd::{self, Place};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, vectorised};
use crate::dropout::{MaskStream, padded};

/// Tiles that go through a product together: enough rows to reuse the weights, few enough to stay in the cache.
const TILES_AT_ONCE: usize = 36;

/// Images that go through a product together.
pub(super) fn images_at_once(g: &Geometry) -> usize {
    match g.algorithm {
        Algorithm::Direct => 1,
        Algorithm::Winograd2 | Algorithm::Winograd4 => (TILES_AT_ONCE / g.tiles()).max(1),
    }
}

/// One block's parameters of a layer, ready for use.
pub(super) struct Ready<'a, F> {
    pub g: &'a Geometry,
    /// From [`direct::window_starts`], for the direct algorithm.
    pub starts: &'a [usize],
    /// From [`super::weights::for_forward`].
    pub weights: &'a [F],
    /// In whole vectors.
    pub bias: &'a [F],
    pub mask: Option<(MaskStream, F)>,
}

/// Where results go.
pub(super) enum Results<'a, F> {
    /// `[positions][Co in whole vectors]` an image: between layers.
    ChannelsLast(&'a mut [F]),
    /// `[Co, positions]` an image: after the last layer.
    ChannelsFirst(&'a mut [F]),
}

impl<F: Float> Ready<'_, F> {
    /// The layer's results for `count` images, the first of which is image `first` of the batch. `winners` takes the
    /// place of each maximum in its window, unless it is empty.
    pub(super) fn run(
        &self,
        arch: Arch,
        source: Source<'_, F>,
        first: usize,
        count: usize,
        results: &mut Results<'_, F>,
        winners: &mut [u8],
    ) {
        let g = self.g;
        let mut image = Scratch::zeros(g.padded_image());
        let mut raw = Scratch::any(g.raw());
        let mut mask = Scratch::any(self.mask.map_or(0, |_| padded(g.positions() * g.c_out)));
        let mut done = Scratch::any(g.result());
        let mut finish = |index: usize, raw: &[F]| {
            self.finish(arch, first, index, raw, &mut mask, &mut done, winners, results);
        };
        match g.algorithm {
            Algorithm::Direct => {
                for index in 0..count {
                    let one = source.image(g, index);
                    vectorised(
                        arch,
                        #[inline(always)]
                        || into_padded(g, one, &mut image),
                    );
                    arch.dispatch(direct::Forward {
                        g,
                        starts: self.starts,
                        image: &image,
                        weights: self.weights,
                        raw: &mut raw,
                    });
                    finish(index, &raw);
                }
            }
            Algorithm::Winograd2 | Algorithm::Winograd4 => {
                let at_once = images_at_once(g).min(count);
                let (points, most) = (g.algorithm.points(), at_once * g.tiles());
                let mut left = Scratch::any(points * winograd::point_step(most, g.c_in_whole));
                let mut products = Scratch::any(points * winograd::point_step(most, g.c_out_whole));
                for start in (0..count).step_by(at_once) {
                    let images = at_once.min(count - start);
                    let tiles = images * g.tiles();
                    let place = |index| Place { tiles, first: index * g.tiles() };
                    for index in 0..images {
                        let one = source.image(g, start + index);
                        vectorised(
                            arch,
                            #[inline(always)]
                            || into_padded(g, one, &mut image),
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
                        right: self.weights,
                        result: &mut products,
                    });
                    for index in 0..images {
                        winograd::points_to_raw(arch, g, place(index), &products, &mut raw);
                        finish(start + index, &raw);
                    }
                }
            }
        }
    }

    /// Bias, pooling, ReLU and dropout of one image, and its result into place.
    #[expect(clippy::too_many_arguments, reason = "buffers that outlive the image")]
    fn finish(
        &self,
        arch: Arch,
        first: usize,
        index: usize,
        raw: &[F],
        mask: &mut [F],
        done: &mut [F],
        winners: &mut [u8],
        results: &mut Results<'_, F>,
    ) {
        let g = self.g;
        let mask = self.mask.map(|(stream, scale)| {
            vectorised(
                arch,
                #[inline(always)]
                || stream.fill(first + index, scale, mask),
            );
            &*mask
        });
        let mut winners = if winners.is_empty() {
            None
        } else {
            Some(&mut winners[index * g.result()..][..g.result()])
        };
        match results {
            Results::ChannelsLast(results) => {
                let to = &mut results[index * g.result()..][..g.result()];
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        finish(g, raw, self.bias, mask, winners.as_deref_mut(), to);
                    },
                );
            }
            Results::ChannelsFirst(results) => {
                let size = g.c_out * g.positions();
                let to = &mut results[index * size..][..size];
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        finish(g, raw, self.bias, mask, winners.as_deref_mut(), done);
                        channels_first(done, g.c_out, g.positions(), to);
                    },
                );
            }
        }
    }
}

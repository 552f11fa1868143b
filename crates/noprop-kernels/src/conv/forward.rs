//! One fused layer's forward pass over some images.

use pulp::Arch;

use super::direct;
use super::epilogue::finish;
use super::geometry::{Algorithm, Geometry};
use super::layout::{Source, Target, channels_first, into_padded};
use super::winograd::{self, Place, Products};
use crate::cpu::instruction_set::vectorised;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::dropout::{MaskStream, padded};

/// Tiles that go through a product together: enough rows to reuse the weights, few enough to stay in the cache.
const TILES_AT_ONCE: usize = 36;

/// The same for weights that no core's cache holds. They come from further away for each product, so they must serve more rows.
const TILES_AT_ONCE_WIDE: usize = 64;

/// Elements of prepared weights that a core's cache holds beside the tiles.
const WIDE: usize = 512 * 1024;

/// Images that go through a product together.
pub(super) fn images_at_once(g: &Geometry) -> usize {
    let tiles = if g.prepared() > WIDE { TILES_AT_ONCE_WIDE } else { TILES_AT_ONCE };
    match g.algorithm {
        Algorithm::Direct => 1,
        Algorithm::Winograd2 | Algorithm::Winograd4 => (tiles / g.tiles()).max(1),
    }
}

/// One block's convolution, prepared for the forward pass.
pub(super) struct Convolution<'a, F: Float> {
    pub g: &'a Geometry,
    /// [`direct::Starts::windows`].
    pub starts: &'a [usize],
    /// From [`super::weights::for_forward`].
    pub weights: Scratch<F>,
}

impl<F: Float> Convolution<'_, F> {
    /// Computes the raw results of `count` images. For each, `image` puts it into its padded buffer, which holds zeros around it, and `end`
    /// takes its raw result. The results go to `raws`, one after another, or all to the same place if that holds only one.
    pub(super) fn run(
        &self,
        arch: Arch,
        count: usize,
        raws: &mut [F],
        mut image: impl FnMut(usize, &mut [F]),
        mut end: impl FnMut(usize, &[F]),
    ) {
        let g = self.g;
        let mut padded = Scratch::zeros(g.padded_image());
        let size = raws.len();
        let place_of = |index: usize| index * g.raw() % size;
        match g.algorithm {
            Algorithm::Direct => {
                for index in 0..count {
                    image(index, &mut padded);
                    let (starts, weights) = (self.starts, &self.weights);
                    let raw = &mut raws[place_of(index)..][..g.raw()];
                    arch.dispatch(direct::forward(g, starts, &padded, weights, raw));
                    end(index, raw);
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
                        image(start + index, &mut padded);
                        winograd::image_to_points(arch, g, place(index), &padded, &mut left);
                    }
                    let (inner, stride, outer) = (g.c_in, g.c_in_whole, g.c_out_whole);
                    let sizes = Products { tiles, inner, stride, outer };
                    sizes.forward(arch, &left, &self.weights, &mut products);
                    for index in 0..images {
                        let raw = &mut raws[place_of(start + index)..][..g.raw()];
                        winograd::points_to_raw(arch, g, place(index), &products, raw);
                        end(start + index, raw);
                    }
                }
            }
        }
    }
}

/// One block's layer, prepared for the forward pass.
pub(super) struct Ready<'a, F: Float> {
    pub convolution: Convolution<'a, F>,
    /// In whole vectors.
    pub bias: Scratch<F>,
    pub mask: Option<(MaskStream, F)>,
}

impl<F: Float> Ready<'_, F> {
    /// Computes the layer's results for `count` images, the first of which is image `first` of the batch. The place of each
    /// maximum in its window goes to `winners`, unless that is empty.
    pub(super) fn run(
        &self,
        arch: Arch,
        source: Source<'_, F>,
        first: usize,
        count: usize,
        results: Target<'_, F>,
        winners: &mut [u8],
    ) {
        let g = self.convolution.g;
        let mut end = End {
            ready: self,
            arch,
            first,
            mask: Scratch::any(self.mask.map_or(0, |_| padded(g.positions() * g.c_out))),
            done: Scratch::any(g.result()),
            winners,
            results,
        };
        let mut raw = Scratch::any(g.raw());
        self.convolution.run(
            arch,
            count,
            &mut raw,
            |index, padded| into_padded(arch, g, source.image(g, index), padded),
            |index, raw| end.finish(index, raw),
        );
    }
}

/// The end of the layer: bias, pooling, activation and dropout, and the result into its place.
struct End<'a, F: Float> {
    ready: &'a Ready<'a, F>,
    arch: Arch,
    /// The number of the first image in the batch.
    first: usize,
    /// Room for one image's mask.
    mask: Scratch<F>,
    /// Room for one image's result, channels last.
    done: Scratch<F>,
    winners: &'a mut [u8],
    results: Target<'a, F>,
}

impl<F: Float> End<'_, F> {
    /// Finishes image `index` from its raw result.
    fn finish(&mut self, index: usize, raw: &[F]) {
        let (g, bias, arch) = (self.ready.convolution.g, &self.ready.bias, self.arch);
        let mask = self.ready.mask.map(|(stream, scale)| {
            let mask = &mut *self.mask;
            vectorised(
                arch,
                #[inline(always)]
                || stream.fill(self.first + index, scale, mask),
            );
            &*mask
        });
        let mut winners = match self.winners.is_empty() {
            true => None,
            false => Some(&mut self.winners[index * g.result()..][..g.result()]),
        };
        match self.results.image(g.c_out, g.positions(), index) {
            Target::ChannelsLast(to) => vectorised(
                arch,
                #[inline(always)]
                || finish(g, raw, bias, mask, winners.as_deref_mut(), to),
            ),
            Target::ChannelsFirst(to) => {
                let done = &mut *self.done;
                vectorised(
                    arch,
                    #[inline(always)]
                    || finish(g, raw, bias, mask, winners.as_deref_mut(), done),
                );
                channels_first(arch, done, g.c_out, g.positions(), to);
            }
        }
    }
}

//! One fused layer's backward pass over some images.

use pulp::Arch;

use super::direct;
use super::epilogue::{Frame, spread};
use super::forward::images_at_once;
use super::geometry::{Algorithm, Geometry};
use super::layout::{Source, Target, into_padded, out_of_padded};
use super::winograd::{self, Place};
use crate::cpu::instruction_set::vectorised;
use crate::cpu::product::Start;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;

/// One block's layer, prepared for the backward pass.
pub(super) struct Ready<'a, F> {
    pub g: &'a Geometry,
    /// From [`direct::weight_starts`], for the direct algorithm.
    pub weight_starts: &'a [usize],
    /// From [`direct::window_starts`] over the padded image, for the direct algorithm.
    pub image_starts: &'a [usize],
    /// From [`super::weights::for_backward`]; `None` when the images' gradient is not wanted.
    pub weights: Option<&'a [F]>,
}

/// Some images, and the gradient of their results.
#[derive(Clone, Copy)]
pub(super) struct Images<'a, F> {
    pub count: usize,
    pub source: Source<'a, F>,
    /// The gradient of the results, already stopped where a result is zero.
    pub gradient: &'a [F],
    /// The place of each maximum in its window; empty without pooling.
    pub winners: &'a [u8],
}

impl<F: Float> Images<'_, F> {
    /// Writes the gradient of image `index`'s raw result to `raw`.
    fn spread(&self, arch: Arch, g: &Geometry, index: usize, raw: &mut [F]) {
        let gradient = &self.gradient[index * g.result()..][..g.result()];
        let winners = match self.winners.is_empty() {
            true => self.winners,
            false => &self.winners[index * g.result()..][..g.result()],
        };
        let frame = Frame { origin: 0, row: g.raw_width * g.c_out_whole };
        vectorised(
            arch,
            #[inline(always)]
            || spread(g, gradient, winners, frame, raw),
        );
    }

    /// Puts image `index` into its padded buffer.
    fn pad(&self, arch: Arch, g: &Geometry, index: usize, padded: &mut [F]) {
        let one = self.source.image(g, index);
        vectorised(
            arch,
            #[inline(always)]
            || into_padded(g, one, padded),
        );
    }
}

/// The gradient of the weights as the kernels gather it.
pub(super) struct Gathered<'a, F> {
    pub sum: &'a mut [F],
    /// [`Start::Zero`] for the first images that are added.
    pub start: Start,
}

/// The destination of the images' gradients.
pub(super) enum ImageGradients<'a, F> {
    /// None: they are not wanted.
    Skip,
    /// `[Ci, H, W]` for each image.
    ChannelsFirst(&'a mut [F]),
    /// `[H, W, Ci in whole vectors]` for each image.
    ChannelsLast(&'a mut [F]),
}

impl<F: Float> ImageGradients<'_, F> {
    fn image(&mut self, g: &Geometry, index: usize) -> Option<Target<'_, F>> {
        let positions = g.height * g.width;
        match self {
            Self::Skip => None,
            Self::ChannelsFirst(all) => {
                let size = g.c_in * positions;
                Some(Target::ChannelsFirst(&mut all[index * size..][..size]))
            }
            Self::ChannelsLast(all) => {
                let size = g.c_in_whole * positions;
                Some(Target::ChannelsLast(&mut all[index * size..][..size]))
            }
        }
    }
}

impl<F: Float> Ready<'_, F> {
    /// Adds the images' share to the gradient of the weights, and writes the images' own gradients.
    pub(super) fn run(
        &self,
        arch: Arch,
        images: Images<'_, F>,
        gathered: Gathered<'_, F>,
        gradients: &mut ImageGradients<'_, F>,
    ) {
        match self.g.algorithm {
            Algorithm::Direct => self.direct(arch, images, gathered, gradients),
            Algorithm::Winograd2 | Algorithm::Winograd4 => {
                self.winograd(arch, images, gathered, gradients);
            }
        }
    }

    fn direct(
        &self,
        arch: Arch,
        images: Images<'_, F>,
        gathered: Gathered<'_, F>,
        gradients: &mut ImageGradients<'_, F>,
    ) {
        let g = self.g;
        let mut image = Scratch::zeros(g.padded_image());
        let mut raw = Scratch::any(g.raw());
        let (ring, ringed_size) = direct::ringed(g);
        let mut ringed = Scratch::zeros(self.weights.map_or(0, |_| ringed_size));
        let mut padded = Scratch::any(g.in_height * g.in_width * g.c_in_whole);
        let line = g.raw_width * g.c_out_whole;
        let Gathered { sum, mut start } = gathered;
        for index in 0..images.count {
            images.pad(arch, g, index, &mut image);
            images.spread(arch, g, index, &mut raw);
            arch.dispatch(direct::weights(g, self.weight_starts, &image, &raw, sum, start));
            start = Start::Kept;
            let (Some(weights), Some(mut target)) = (self.weights, gradients.image(g, index))
            else {
                continue;
            };
            let rows = ringed[ring.origin..].chunks_mut(ring.row);
            for (to, from) in rows.zip(raw.chunks_exact(line)) {
                to[..line].copy_from_slice(from);
            }
            arch.dispatch(direct::image(g, self.image_starts, &ringed, weights, &mut padded));
            vectorised(
                arch,
                #[inline(always)]
                || out_of_padded(g, &padded, &mut target),
            );
        }
    }

    fn winograd(
        &self,
        arch: Arch,
        images: Images<'_, F>,
        gathered: Gathered<'_, F>,
        gradients: &mut ImageGradients<'_, F>,
    ) {
        let g = self.g;
        let at_once = images_at_once(g).min(images.count);
        let (points, most) = (g.algorithm.points(), at_once * g.tiles());
        let mut image = Scratch::zeros(g.padded_image());
        let mut image_gradient = Scratch::any(self.weights.map_or(0, |_| g.padded_image()));
        // Tiles may reach past the results that pooling uses; there the gradient is zero.
        let mut raw = Scratch::zeros(g.raw());
        let mut left = Scratch::any(points * winograd::point_step(most, g.c_in_whole));
        let mut products = Scratch::any(points * winograd::point_step(most, g.c_out_whole));
        let Gathered { sum, mut start } = gathered;
        for first in (0..images.count).step_by(at_once) {
            let together = at_once.min(images.count - first);
            let tiles = together * g.tiles();
            let place = |index| Place { tiles, first: index * g.tiles() };
            for index in 0..together {
                images.pad(arch, g, first + index, &mut image);
                winograd::image_to_points(arch, g, place(index), &image, &mut left);
                images.spread(arch, g, first + index, &mut raw);
                winograd::raw_to_points(arch, g, place(index), &raw, &mut products);
            }
            arch.dispatch(winograd::Backward {
                points,
                tiles,
                inner: g.c_in,
                stride: g.c_in_whole,
                outer: g.c_out_whole,
                left: &left,
                right: &products,
                result: sum,
                start,
            });
            start = Start::Kept;
            let Some(weights) = self.weights else {
                continue;
            };
            arch.dispatch(winograd::Forward {
                points,
                tiles,
                inner: g.c_out,
                stride: g.c_out_whole,
                outer: g.c_in_whole,
                left: &products,
                right: weights,
                // The images' tiles are not needed any more.
                result: &mut left,
            });
            for index in 0..together {
                if let Some(mut target) = gradients.image(g, first + index) {
                    image_gradient.fill(F::default());
                    winograd::points_to_image(arch, g, place(index), &left, &mut image_gradient);
                    vectorised(
                        arch,
                        #[inline(always)]
                        || out_of_padded(g, &image_gradient, &mut target),
                    );
                }
            }
        }
    }
}

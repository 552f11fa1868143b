//! One fused layer's backward pass over some images.

use pulp::Arch;

use super::direct;
use super::epilogue::{Frame, spread};
use super::forward::images_at_once;
use super::geometry::{Algorithm, Geometry};
use super::layout::{Source, Target, into_padded, out_of_padded};
use super::winograd::{self, Place};
use crate::cpu::product::Start;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, vectorised};

/// One block's layer, ready for the way back.
pub(super) struct Ready<'a, F> {
    pub g: &'a Geometry,
    /// From [`direct::weight_starts`], for the direct algorithm.
    pub weight_starts: &'a [usize],
    /// From [`direct::window_starts`] over the padded image, for the direct algorithm.
    pub image_starts: &'a [usize],
    /// From [`super::weights::for_backward`]; `None` when the images' gradient is not wanted.
    pub weights: Option<&'a [F]>,
}

/// Where the images' gradients go, if anywhere.
pub(super) enum Images<'a, F> {
    Skip,
    /// `[Ci, H, W]` an image.
    ChannelsFirst(&'a mut [F]),
    /// `[H, W, Ci in whole vectors]` an image.
    ChannelsLast(&'a mut [F]),
}

impl<F: Float> Images<'_, F> {
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
    /// From the gradient of `count` images' results, already stopped where the result is zero: adds to (or, with
    /// [`Start::Zero`], begins) the gradient of the weights as the kernels gather it, and writes the images' gradients.
    #[expect(clippy::too_many_arguments, reason = "sources and targets of several kinds")]
    pub(super) fn run(
        &self,
        arch: Arch,
        source: Source<'_, F>,
        count: usize,
        gradient: &[F],
        winners: &[u8],
        gathered: &mut [F],
        begin: Start,
        images: &mut Images<'_, F>,
    ) {
        match self.g.algorithm {
            Algorithm::Direct => {
                self.direct(arch, source, count, gradient, winners, gathered, begin, images);
            }
            Algorithm::Winograd2 | Algorithm::Winograd4 => {
                self.winograd(arch, source, count, gradient, winners, gathered, begin, images);
            }
        }
    }

    /// The gradient of one image's raw result.
    fn spread(&self, arch: Arch, index: usize, gradient: &[F], winners: &[u8], raw: &mut [F]) {
        let g = self.g;
        let gradient = &gradient[index * g.result()..][..g.result()];
        let winners =
            if winners.is_empty() { winners } else { &winners[index * g.result()..][..g.result()] };
        let frame = Frame { origin: 0, row: g.raw_width * g.c_out_whole };
        vectorised(
            arch,
            #[inline(always)]
            || spread(g, gradient, winners, frame, raw),
        );
    }

    #[expect(clippy::too_many_arguments, reason = "as `run`")]
    fn direct(
        &self,
        arch: Arch,
        source: Source<'_, F>,
        count: usize,
        gradient: &[F],
        winners: &[u8],
        gathered: &mut [F],
        begin: Start,
        images: &mut Images<'_, F>,
    ) {
        let g = self.g;
        let mut image = Scratch::zeros(g.padded_image());
        let mut raw = Scratch::any(g.raw());
        let (ring, ringed_size) = direct::ringed(g);
        let mut ringed = Scratch::zeros(self.weights.map_or(0, |_| ringed_size));
        let mut padded = Scratch::any(g.in_height * g.in_width * g.c_in_whole);
        let line = g.raw_width * g.c_out_whole;
        let mut begin = begin;
        for index in 0..count {
            let one = source.image(g, index);
            vectorised(
                arch,
                #[inline(always)]
                || into_padded(g, one, &mut image),
            );
            self.spread(arch, index, gradient, winners, &mut raw);
            arch.dispatch(direct::Weights {
                g,
                starts: self.weight_starts,
                image: &image,
                raw: &raw,
                gradient: gathered,
                start: begin,
            });
            begin = Start::Kept;
            let (Some(weights), Some(mut target)) = (self.weights, images.image(g, index)) else {
                continue;
            };
            let rows = ringed[ring.origin..].chunks_mut(ring.row);
            for (to, from) in rows.zip(raw.chunks_exact(line)) {
                to[..line].copy_from_slice(from);
            }
            arch.dispatch(direct::Image {
                g,
                starts: self.image_starts,
                ringed: &ringed,
                weights,
                image: &mut padded,
            });
            vectorised(
                arch,
                #[inline(always)]
                || out_of_padded(g, &padded, &mut target),
            );
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as `run`")]
    fn winograd(
        &self,
        arch: Arch,
        source: Source<'_, F>,
        count: usize,
        gradient: &[F],
        winners: &[u8],
        gathered: &mut [F],
        begin: Start,
        images: &mut Images<'_, F>,
    ) {
        let g = self.g;
        let at_once = images_at_once(g).min(count);
        let (points, most) = (g.algorithm.points(), at_once * g.tiles());
        let mut image = Scratch::zeros(g.padded_image());
        let mut image_gradient = Scratch::any(self.weights.map_or(0, |_| g.padded_image()));
        // Tiles may reach past what pooling uses; there the gradient is zero.
        let mut raw = Scratch::zeros(g.raw());
        let mut left = Scratch::any(points * winograd::point_step(most, g.c_in_whole));
        let mut products = Scratch::any(points * winograd::point_step(most, g.c_out_whole));
        let mut begin = begin;
        for start in (0..count).step_by(at_once) {
            let together = at_once.min(count - start);
            let tiles = together * g.tiles();
            let place = |index| Place { tiles, first: index * g.tiles() };
            for index in 0..together {
                let one = source.image(g, start + index);
                vectorised(
                    arch,
                    #[inline(always)]
                    || into_padded(g, one, &mut image),
                );
                winograd::image_to_points(arch, g, place(index), &image, &mut left);
                self.spread(arch, start + index, gradient, winners, &mut raw);
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
                result: gathered,
                start: begin,
            });
            begin = Start::Kept;
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
                // The images' tiles have done their work.
                result: &mut left,
            });
            for index in 0..together {
                if let Some(mut target) = images.image(g, start + index) {
                    image_gradient.fill(F::default());
                    winograd::points_to_image(arch, g, place(index), &left, &mut image_gradient);
                    vectorised(
                        arch,
                        #[inline(always)]
                        || {
                            out_of_padded(g, &image_gradient, &mut target);
                        },
                    );
                }
            }
        }
    }
}

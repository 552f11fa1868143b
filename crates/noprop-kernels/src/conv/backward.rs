//! One fused layer's backward pass over some images.

use pulp::Arch;

use super::direct;
use super::epilogue::spread;
use super::forward::images_at_once;
use super::geometry::{Algorithm, Geometry};
use super::layout::{Source, Target, into_padded, out_of_padded};
use super::winograd::{self, Place, Products};
use crate::cpu::instruction_set::vectorised;
use crate::cpu::product::Start;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;

/// One block's layer, prepared for the backward pass.
pub(super) struct Ready<'a, F: Float> {
    pub g: &'a Geometry,
    /// From [`direct::weight_starts`], for the direct algorithm.
    pub weight_starts: &'a [usize],
    /// From [`direct::window_starts`] over the padded image, for the direct algorithm.
    pub image_starts: &'a [usize],
    /// From [`super::weights::for_backward`]; `None` when the images' gradient is not wanted.
    pub weights: Option<Scratch<F>>,
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
        vectorised(
            arch,
            #[inline(always)]
            || spread(g, gradient, winners, raw),
        );
    }
}

/// The gradient of the weights as the kernels gather it.
pub(super) struct Gathered<'a, F> {
    pub sum: &'a mut [F],
    /// [`Start::Zero`] for the first images that are added.
    pub start: Start,
}

impl<F: Float> Ready<'_, F> {
    /// Adds the images' share to the gradient of the weights, and writes the images' own gradients.
    pub(super) fn run(
        &self,
        arch: Arch,
        images: Images<'_, F>,
        gathered: Gathered<'_, F>,
        gradients: Option<Target<'_, F>>,
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
        mut gradients: Option<Target<'_, F>>,
    ) {
        let g = self.g;
        let mut image = Scratch::zeros(g.padded_image());
        let mut raw = Scratch::any(g.raw());
        let mut ringed = Scratch::zeros(gradients.as_ref().map_or(0, |_| direct::ringed_size(g)));
        let mut padded = Scratch::any(g.in_height * g.in_width * g.c_in_whole);
        let Gathered { sum, mut start } = gathered;
        for index in 0..images.count {
            into_padded(arch, g, images.source.image(g, index), &mut image);
            images.spread(arch, g, index, &mut raw);
            arch.dispatch(direct::weights(g, self.weight_starts, &image, &raw, sum, start));
            start = Start::Kept;
            let (Some(weights), Some(gradients)) = (&self.weights, &mut gradients) else {
                continue;
            };
            direct::into_ring(g, &raw, &mut ringed);
            arch.dispatch(direct::image(g, self.image_starts, &ringed, weights, &mut padded));
            out_of_padded(arch, g, &padded, gradients.image(g.c_in, g.height * g.width, index));
        }
    }

    fn winograd(
        &self,
        arch: Arch,
        images: Images<'_, F>,
        gathered: Gathered<'_, F>,
        mut gradients: Option<Target<'_, F>>,
    ) {
        let g = self.g;
        let at_once = images_at_once(g).min(images.count);
        let (points, most) = (g.algorithm.points(), at_once * g.tiles());
        let mut image = Scratch::zeros(g.padded_image());
        let mut image_gradient = Scratch::any(gradients.as_ref().map_or(0, |_| g.padded_image()));
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
                into_padded(arch, g, images.source.image(g, first + index), &mut image);
                winograd::image_to_points(arch, g, place(index), &image, &mut left);
                images.spread(arch, g, first + index, &mut raw);
                winograd::raw_to_points(arch, g, place(index), &raw, &mut products);
            }
            let (inner, stride, outer) = (g.c_in, g.c_in_whole, g.c_out_whole);
            let sizes = Products { tiles, inner, stride, outer };
            sizes.backward(arch, &left, &products, sum, start);
            start = Start::Kept;
            let (Some(weights), Some(gradients)) = (&self.weights, &mut gradients) else {
                continue;
            };
            let (inner, stride, outer) = (g.c_out, g.c_out_whole, g.c_in_whole);
            let sizes = Products { tiles, inner, stride, outer };
            // The images' tiles are not needed any more.
            sizes.forward(arch, &products, weights, &mut left);
            for index in 0..together {
                image_gradient.fill(F::default());
                winograd::points_to_image(arch, g, place(index), &left, &mut image_gradient);
                let target = gradients.image(g.c_in, g.height * g.width, first + index);
                out_of_padded(arch, g, &image_gradient, target);
            }
        }
    }
}

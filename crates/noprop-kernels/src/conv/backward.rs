//! One fused layer's backward pass over some images.

use pulp::Arch;

use super::direct;
use super::forward::images_at_once;
use super::geometry::{Algorithm, Geometry};
use super::winograd::{self, Place, Products};
use crate::cpu::product::Start;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;

/// One block's layer, prepared for the backward pass.
pub(super) struct Ready<'a, F: Float> {
    pub g: &'a Geometry,
    /// [`direct::Starts::weights`].
    pub weight_starts: &'a [usize],
    /// [`direct::Starts::image`].
    pub image_starts: &'a [usize],
    /// From [`super::weights::for_backward`]; `None` when the images' gradient is not wanted.
    pub weights: Option<Scratch<F>>,
}

/// The gradient of the weights as the kernels gather it.
pub(super) struct Gathered<'a, F> {
    pub sum: &'a mut [F],
    /// [`Start::Zero`] for the first images that are added.
    pub start: Start,
}

impl<F: Float> Ready<'_, F> {
    /// Adds the share of `count` images to the gradient of the weights. For each image `image` puts it into its padded buffer, which holds
    /// zeros around it, `spread` writes the gradient of its raw result, and `gradient` takes that of the padded image, channels in whole
    /// vectors, if this was prepared for it.
    pub(super) fn run(
        &self,
        arch: Arch,
        count: usize,
        gathered: Gathered<'_, F>,
        image: impl FnMut(usize, &mut [F]),
        spread: impl FnMut(usize, &mut [F]),
        gradient: impl FnMut(usize, &[F]),
    ) {
        match self.g.algorithm {
            Algorithm::Direct => self.direct(arch, count, gathered, image, spread, gradient),
            Algorithm::Winograd2 | Algorithm::Winograd4 => {
                self.winograd(arch, count, gathered, image, spread, gradient);
            }
        }
    }

    fn direct(
        &self,
        arch: Arch,
        count: usize,
        gathered: Gathered<'_, F>,
        mut image: impl FnMut(usize, &mut [F]),
        mut spread: impl FnMut(usize, &mut [F]),
        mut gradient: impl FnMut(usize, &[F]),
    ) {
        let g = self.g;
        let mut padded = Scratch::zeros(g.padded_image());
        let mut raw = Scratch::any(g.raw());
        let wanted = |size| if self.weights.is_some() { size } else { 0 };
        let mut ringed = Scratch::zeros(wanted(direct::ringed_size(g)));
        let mut back = Scratch::any(wanted(g.in_height * g.in_width * g.c_in_whole));
        let Gathered { sum, mut start } = gathered;
        for index in 0..count {
            image(index, &mut padded);
            spread(index, &mut raw);
            arch.dispatch(direct::weights(g, self.weight_starts, &padded, &raw, sum, start));
            start = Start::Kept;
            if let Some(weights) = &self.weights {
                direct::into_ring(g, &raw, &mut ringed);
                arch.dispatch(direct::image(g, self.image_starts, &ringed, weights, &mut back));
                gradient(index, &back);
            }
        }
    }

    fn winograd(
        &self,
        arch: Arch,
        count: usize,
        gathered: Gathered<'_, F>,
        mut image: impl FnMut(usize, &mut [F]),
        mut spread: impl FnMut(usize, &mut [F]),
        mut gradient: impl FnMut(usize, &[F]),
    ) {
        let g = self.g;
        let at_once = images_at_once(g).min(count);
        let (points, most) = (g.algorithm.points(), at_once * g.tiles());
        let mut padded = Scratch::zeros(g.padded_image());
        let wanted = |size| if self.weights.is_some() { size } else { 0 };
        let mut back = Scratch::any(wanted(g.padded_image()));
        // Tiles may reach past the results that pooling uses; there the gradient is zero.
        let mut raw = Scratch::zeros(g.raw());
        let mut left = Scratch::any(points * winograd::point_step(most, g.c_in_whole));
        let mut products = Scratch::any(points * winograd::point_step(most, g.c_out_whole));
        let Gathered { sum, mut start } = gathered;
        for first in (0..count).step_by(at_once) {
            let together = at_once.min(count - first);
            let tiles = together * g.tiles();
            let place = |index| Place { tiles, first: index * g.tiles() };
            for index in 0..together {
                image(first + index, &mut padded);
                winograd::image_to_points(arch, g, place(index), &padded, &mut left);
                spread(first + index, &mut raw);
                winograd::raw_to_points(arch, g, place(index), &raw, &mut products);
            }
            let (inner, stride, outer) = (g.c_in, g.c_in_whole, g.c_out_whole);
            let sizes = Products { tiles, inner, stride, outer };
            sizes.backward(arch, &left, &products, sum, start);
            start = Start::Kept;
            let Some(weights) = &self.weights else { continue };
            let (inner, stride, outer) = (g.c_out, g.c_out_whole, g.c_in_whole);
            let sizes = Products { tiles, inner, stride, outer };
            // The images' tiles are not needed any more.
            sizes.forward(arch, &products, weights, &mut left);
            for index in 0..together {
                back.fill(F::default());
                winograd::points_to_image(arch, g, place(index), &left, &mut back);
                gradient(first + index, &back);
            }
        }
    }
}

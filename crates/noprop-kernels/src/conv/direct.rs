//! The convolution straight from the image: for each position nine short runs of the padded image against the weights.

use pulp::{Simd, WithSimd};

use super::epilogue::Frame;
use super::geometry::Geometry;
use crate::cpu::arithmetic::Plain;
use crate::cpu::product::{Left, Right, Start, Walk, product};
use crate::cpu::simd::Float;

/// Where the window of each position starts: rows of `columns` positions in a buffer of `width` positions a row.
pub(super) fn window_starts(
    rows: usize,
    columns: usize,
    width: usize,
    stride: usize,
) -> Vec<usize> {
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row * width + column) * stride))
        .collect()
}

/// Where each weight first meets the padded image: `[Ci][3][3]`.
pub(super) fn weight_starts(g: &Geometry) -> Vec<usize> {
    (0..g.c_in)
        .flat_map(|channel| {
            (0..9).map(move |tap| (tap / 3 * g.in_width + tap % 3) * g.in_stride + channel)
        })
        .collect()
}

/// Padded image to raw result, with weights `[9][Ci][Co]`.
pub(super) struct Forward<'a, F> {
    pub g: &'a Geometry,
    /// From [`window_starts`].
    pub starts: &'a [usize],
    pub image: &'a [F],
    pub weights: &'a [F],
    pub raw: &'a mut [F],
}

impl<F: Float> WithSimd for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let g = self.g;
        let a = Left {
            data: self.image,
            walk: Walk {
                runs: 3,
                run_step: g.in_width * g.in_stride,
                length: 3 * g.in_stride,
                step: 1,
            },
        };
        let b = Right { data: self.weights, stride: g.c_out_whole };
        let (rows, width) = (self.starts.len(), g.c_out_whole);
        product(
            Plain::on(s),
            rows,
            width,
            a,
            #[inline(always)]
            |i| self.starts[i],
            b,
            self.raw,
            width,
            Start::Zero,
        );
    }
}

/// Padded image and gradient of the raw result, added to the gradient of the weights, `[Ci][9][Co]`.
pub(super) struct Weights<'a, F> {
    pub g: &'a Geometry,
    /// From [`weight_starts`].
    pub starts: &'a [usize],
    pub image: &'a [F],
    pub raw: &'a [F],
    pub gradient: &'a mut [F],
    pub start: Start,
}

impl<F: Float> WithSimd for Weights<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let g = self.g;
        let a = Left {
            data: self.image,
            walk: Walk {
                runs: g.raw_height,
                run_step: g.in_width * g.in_stride,
                length: g.raw_width,
                step: g.in_stride,
            },
        };
        let b = Right { data: self.raw, stride: g.c_out_whole };
        let (rows, width) = (self.starts.len(), g.c_out_whole);
        product(
            Plain::on(s),
            rows,
            width,
            a,
            #[inline(always)]
            |i| self.starts[i],
            b,
            self.gradient,
            width,
            self.start,
        );
    }
}

/// Where the gradient of the raw result lies in the buffer that [`Image`] reads: two zeros on every side.
pub(super) fn ringed(g: &Geometry) -> (Frame, usize) {
    let row = (g.raw_width + 4) * g.c_out_whole;
    let frame = Frame { origin: 2 * row + 2 * g.c_out_whole, row };
    (frame, (g.raw_height + 4) * row)
}

/// Gradient of the raw result in its ring of zeros to that of the padded image, `[in_height][in_width][Ci in whole
/// vectors]`, with weights turned by half a circle, `[9][Co in whole vectors][Ci in whole vectors]`.
pub(super) struct Image<'a, F> {
    pub g: &'a Geometry,
    /// From [`window_starts`] over the padded image.
    pub starts: &'a [usize],
    pub ringed: &'a [F],
    pub weights: &'a [F],
    pub image: &'a mut [F],
}

impl<F: Float> WithSimd for Image<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let g = self.g;
        let a = Left {
            data: self.ringed,
            walk: Walk {
                runs: 3,
                run_step: (g.raw_width + 4) * g.c_out_whole,
                length: 3 * g.c_out_whole,
                step: 1,
            },
        };
        let b = Right { data: self.weights, stride: g.c_in_whole };
        let (rows, width) = (self.starts.len(), g.c_in_whole);
        product(
            Plain::on(s),
            rows,
            width,
            a,
            #[inline(always)]
            |i| self.starts[i],
            b,
            self.image,
            width,
            Start::Zero,
        );
    }
}

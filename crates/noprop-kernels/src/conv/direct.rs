//! The convolution straight from the image: for each position nine short runs of the padded image times the weights.

use pulp::{Simd, WithSimd};

use super::geometry::{Algorithm, Geometry};
use crate::cpu::arithmetic::Plain;
use crate::cpu::product::{Left, Right, Start, Walk, product};
use crate::cpu::simd::Float;

/// The tables of the direct algorithm; empty for the others.
#[derive(Default)]
pub(super) struct Starts {
    /// For [`forward`].
    pub windows: Vec<usize>,
    /// For [`weights`].
    pub weights: Vec<usize>,
    /// For [`image`].
    pub image: Vec<usize>,
}

impl Starts {
    pub(super) fn new(g: &Geometry) -> Self {
        if g.algorithm != Algorithm::Direct {
            return Self::default();
        }
        Self {
            windows: window_starts(g.raw_height, g.raw_width, g.in_width, g.in_stride),
            weights: weight_starts(g),
            image: window_starts(g.in_height, g.in_width, g.raw_width + 4, g.c_out_whole),
        }
    }
}

/// The starts of each position's window: rows of `columns` positions in a buffer of `width` positions a row.
fn window_starts(rows: usize, columns: usize, width: usize, stride: usize) -> Vec<usize> {
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row * width + column) * stride))
        .collect()
}

/// The place where each weight first meets the padded image: `[Ci][3][3]`.
fn weight_starts(g: &Geometry) -> Vec<usize> {
    (0..g.c_in)
        .flat_map(|channel| {
            (0..9).map(move |tap| (tap / 3 * g.in_width + tap % 3) * g.in_stride + channel)
        })
        .collect()
}

/// One of the three products of a direct convolution: its left factor is read straight from an image.
pub(super) struct Task<'a, F> {
    /// The start of each row of the left factor.
    starts: &'a [usize],
    left: Left<'a, F>,
    right: Right<'a, F>,
    result: &'a mut [F],
    start: Start,
}

impl<F: Float> WithSimd for Task<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        product(
            Plain::on(s),
            self.starts.len(),
            #[inline(always)]
            |i| self.starts[i],
            self.left,
            self.right,
            self.result,
            self.start,
        );
    }
}

/// A right factor whose rows lie side by side.
fn dense<F>(data: &[F], width: usize) -> Right<'_, F> {
    Right { data, stride: width, width }
}

/// The padded image to the raw result, by weights `[9][Ci][Co]`. `starts` are [`Starts::windows`].
pub(super) fn forward<'a, F>(
    g: &Geometry,
    starts: &'a [usize],
    image: &'a [F],
    weights: &'a [F],
    raw: &'a mut [F],
) -> Task<'a, F> {
    let row = g.in_width * g.in_stride;
    let walk = Walk { runs: 3, run_step: row, length: 3 * g.in_stride, step: 1 };
    let left = Left { data: image, walk };
    Task { starts, left, right: dense(weights, g.c_out_whole), result: raw, start: Start::Zero }
}

/// The padded image and the gradient of the raw result to the gradient of the weights, `[Ci][9][Co]`, which `start` begins or
/// goes on with. `starts` are [`Starts::weights`].
pub(super) fn weights<'a, F>(
    g: &Geometry,
    starts: &'a [usize],
    image: &'a [F],
    raw: &'a [F],
    gradient: &'a mut [F],
    start: Start,
) -> Task<'a, F> {
    let walk = Walk {
        runs: g.raw_height,
        run_step: g.in_width * g.in_stride,
        length: g.raw_width,
        step: g.in_stride,
    };
    let left = Left { data: image, walk };
    Task { starts, left, right: dense(raw, g.c_out_whole), result: gradient, start }
}

/// The elements of a row of the buffer that [`image`] reads: the raw result's gradient with two zeros on every side.
fn ringed_row(g: &Geometry) -> usize {
    (g.raw_width + 4) * g.c_out_whole
}

/// The elements of that buffer.
pub(super) fn ringed_size(g: &Geometry) -> usize {
    (g.raw_height + 4) * ringed_row(g)
}

/// Puts the gradient of the raw result into that buffer, which must hold zeros around it.
pub(super) fn into_ring<F: Float>(g: &Geometry, raw: &[F], ringed: &mut [F]) {
    let (row, line) = (ringed_row(g), g.raw_width * g.c_out_whole);
    let rows = ringed[2 * row + 2 * g.c_out_whole..].chunks_mut(row);
    for (to, from) in rows.zip(raw.chunks_exact(line)) {
        to[..line].copy_from_slice(from);
    }
}

/// The gradient of the raw result in its ring of zeros to that of the padded image, `[in_height][in_width][Ci in whole
/// vectors]`, by weights turned by half a circle, `[9][Co in whole vectors][Ci in whole vectors]`. `starts` are
/// [`Starts::image`].
pub(super) fn image<'a, F>(
    g: &Geometry,
    starts: &'a [usize],
    ringed: &'a [F],
    weights: &'a [F],
    image: &'a mut [F],
) -> Task<'a, F> {
    let length = 3 * g.c_out_whole;
    let walk = Walk { runs: 3, run_step: ringed_row(g), length, step: 1 };
    let left = Left { data: ringed, walk };
    Task { starts, left, right: dense(weights, g.c_in_whole), result: image, start: Start::Zero }
}

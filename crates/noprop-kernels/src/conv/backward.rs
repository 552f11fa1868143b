//! The fused layer's backward pass.
//!
//! Images are taken in groups whose size depends on the batch alone. Each group sums its share of the weights' gradient
//! by itself, and the shares are added in order, so the sum does not depend on how many threads there are.

use pulp::Arch;
use rayon::prelude::*;

use super::direct;
use super::epilogue::{Frame, spread, stop};
use super::forward::images_at_once;
use super::geometry::{Algorithm, Geometry};
use super::layout::{into_padded, out_of_padded};
use super::winograd::{self, Place};
use super::{Sizes, weights};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;

/// Images that share one sum of the weights' gradient.
const GROUP: usize = 32;

/// Whether the gradient of the images is wanted: not when they are data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Images {
    Skip,
    Wanted,
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a, F> {
    pub x: &'a [F],
    pub w: &'a [F],
    pub result: &'a [F],
    pub gradient: &'a [F],
    pub winners: &'a [u8],
    /// Dropout's factor for what it kept.
    pub scale: F,
}

/// The gradients of one call.
pub(super) struct Gradients<F> {
    /// Like `x`, if wanted.
    pub x: Option<Vec<F>>,
    pub w: Vec<F>,
    pub b: Vec<F>,
}

pub(super) fn run<F: Float>(
    arch: Arch,
    s: &Sizes,
    g: &Geometry,
    images: Images,
    inputs: &Inputs<'_, F>,
) -> Gradients<F> {
    let mut dw = vec![F::default(); s.blocks * 9 * s.c_in * s.c_out];
    let mut db = vec![F::default(); s.blocks * s.c_out];
    let mut dx = match images {
        Images::Skip => Vec::new(),
        Images::Wanted => vec![F::default(); s.blocks * s.images * g.image()],
    };
    if s.images > 0 && !dw.is_empty() {
        let backward: Vec<Scratch<F>> = match images {
            Images::Skip => Vec::new(),
            Images::Wanted => inputs
                .w
                .chunks_exact(9 * s.c_in * s.c_out)
                .map(|w| weights::for_backward(arch, g, w))
                .collect(),
        };
        let plan = Plan::new(arch, s, g, inputs);
        let groups_a_block = s.images.div_ceil(GROUP);
        let mut sums = Scratch::zeros(s.blocks * groups_a_block * plan.sum_size());
        let mut tasks = Vec::new();
        let mut dx_left = dx.as_mut_slice();
        for (index, sum) in sums.chunks_exact_mut(plan.sum_size()).enumerate() {
            let (block, group) = (index / groups_a_block, index % groups_a_block);
            let first = group * GROUP;
            let count = GROUP.min(s.images - first);
            let wanted = match images {
                Images::Skip => 0,
                Images::Wanted => count * g.image(),
            };
            let (mine, rest) = std::mem::take(&mut dx_left).split_at_mut(wanted);
            dx_left = rest;
            tasks.push(Group {
                block,
                first,
                count,
                weights: backward.get(block).map(|w| &**w),
                sum,
                dx: mine,
            });
        }
        tasks.into_par_iter().for_each(|group| group.run(&plan));

        let dw_blocks = dw.par_chunks_exact_mut(9 * s.c_in * s.c_out);
        let db_blocks = db.par_chunks_exact_mut(s.c_out);
        sums.par_chunks_exact_mut(groups_a_block * plan.sum_size())
            .zip(dw_blocks)
            .zip(db_blocks)
            .for_each(|((sums, dw), db)| {
                let (total, others) = sums.split_at_mut(plan.sum_size());
                add_in_order(total, others);
                let (bias, gathered) = total.split_at(g.c_out_whole);
                db.copy_from_slice(&bias[..s.c_out]);
                weights::gradient(arch, g, gathered, dw);
            });
    }
    Gradients {
        x: (images == Images::Wanted).then(|| over_blocks(s, dx)),
        w: dw,
        b: db,
    }
}

/// Adds the later groups' sums to the first, group after group for each element.
fn add_in_order<F: Float>(total: &mut [F], others: &[F]) {
    const PIECE: usize = 4096;
    let size = total.len();
    total
        .par_chunks_mut(PIECE)
        .enumerate()
        .for_each(|(piece, total)| {
            for other in others.chunks_exact(size) {
                for (sum, v) in total.iter_mut().zip(&other[piece * PIECE..]) {
                    *sum += *v;
                }
            }
        });
}

/// The images' gradient, summed over blocks, in order, where they share one input.
fn over_blocks<F: Float>(s: &Sizes, mut dx: Vec<F>) -> Vec<F> {
    if s.x_blocks == s.blocks {
        return dx;
    }
    let one = dx.len() / s.blocks;
    let (total, others) = dx.split_at_mut(one);
    if one > 0 {
        add_in_order(total, others);
    }
    dx.truncate(one);
    dx
}

/// What all groups share.
struct Plan<'a, F> {
    arch: Arch,
    s: &'a Sizes,
    g: &'a Geometry,
    inputs: &'a Inputs<'a, F>,
    weight_starts: Vec<usize>,
    image_starts: Vec<usize>,
}

impl<'a, F: Float> Plan<'a, F> {
    fn new(arch: Arch, s: &'a Sizes, g: &'a Geometry, inputs: &'a Inputs<'a, F>) -> Self {
        let (weight_starts, image_starts) = match g.algorithm {
            Algorithm::Direct => (
                direct::weight_starts(g),
                direct::window_starts(g.in_height, g.in_width, g.raw_width + 4, g.c_out_whole),
            ),
            Algorithm::Winograd2 | Algorithm::Winograd4 => (Vec::new(), Vec::new()),
        };
        Self {
            arch,
            s,
            g,
            inputs,
            weight_starts,
            image_starts,
        }
    }

    /// Elements of a group's sum: the bias's gradient, then the weights'.
    fn sum_size(&self) -> usize {
        self.g.c_out_whole + self.g.prepared()
    }

    /// The gradient of one image's raw result, from that of its result, into `raw`; adds to the bias's gradient.
    fn raw_gradient(&self, at: usize, frame: Frame, bias: &mut [F], raw: &mut [F]) {
        let g = self.g;
        let each = g.positions() * g.c_out_whole;
        let gradient = &self.inputs.gradient[at * g.result()..][..g.result()];
        let result = &self.inputs.result[at * g.result()..][..g.result()];
        let winners = match g.pool {
            super::Pool::None => &[],
            super::Pool::Max2 => &self.inputs.winners[at * each..][..each],
        };
        let mut stopped = Scratch::zeros(each);
        self.arch.dispatch(
            #[inline(always)]
            || {
                stop(g, gradient, result, self.inputs.scale, &mut stopped, bias);
                spread(g, &stopped, winners, frame, raw);
            },
        );
    }
}

/// Some images of one block.
struct Group<'a, F> {
    block: usize,
    first: usize,
    count: usize,
    /// The block's weights for the images' gradient, if wanted.
    weights: Option<&'a [F]>,
    sum: &'a mut [F],
    dx: &'a mut [F],
}

impl<F: Float> Group<'_, F> {
    fn run(self, plan: &Plan<'_, F>) {
        match plan.g.algorithm {
            Algorithm::Direct => self.direct(plan),
            Algorithm::Winograd2 | Algorithm::Winograd4 => self.winograd(plan),
        }
    }

    /// Number of an image in the result, and its elements in the input.
    fn image<'p>(&self, plan: &Plan<'p, F>, index: usize) -> (usize, &'p [F]) {
        let at = self.block * plan.s.images + self.first + index;
        let source = if plan.s.x_blocks == 1 {
            self.first + index
        } else {
            at
        };
        let size = plan.g.image();
        (at, &plan.inputs.x[source * size..][..size])
    }

    fn direct(self, plan: &Plan<'_, F>) {
        let (arch, g) = (plan.arch, plan.g);
        let mut image = Scratch::zeros(g.padded_image());
        let mut raw = Scratch::any(g.raw());
        let (ring, ringed_size) = direct::ringed(g);
        let mut ringed = Scratch::zeros(if self.weights.is_some() {
            ringed_size
        } else {
            0
        });
        let mut padded = Scratch::any(g.in_height * g.in_width * g.c_in_whole);
        let flat = Frame {
            origin: 0,
            row: g.raw_width * g.c_out_whole,
        };
        for index in 0..self.count {
            let (at, source) = self.image(plan, index);
            let (bias, gathered) = self.sum.split_at_mut(g.c_out_whole);
            arch.dispatch(
                #[inline(always)]
                || into_padded(g, source, &mut image),
            );
            plan.raw_gradient(at, flat, bias, &mut raw);
            arch.dispatch(direct::Weights {
                g,
                starts: &plan.weight_starts,
                image: &image,
                raw: &raw,
                gradient: gathered,
            });
            if let Some(weights) = self.weights {
                let rows = ringed[ring.origin..].chunks_mut(ring.row);
                for (to, from) in rows.zip(raw.chunks_exact(flat.row)) {
                    to[..flat.row].copy_from_slice(from);
                }
                arch.dispatch(direct::Image {
                    g,
                    starts: &plan.image_starts,
                    ringed: &ringed,
                    weights,
                    image: &mut padded,
                });
                let dx = &mut self.dx[index * g.image()..][..g.image()];
                arch.dispatch(
                    #[inline(always)]
                    || out_of_padded(g, &padded, g.c_in_whole, dx),
                );
            }
        }
    }

    fn winograd(mut self, plan: &Plan<'_, F>) {
        let at_once = images_at_once(plan.g);
        let mut first = 0;
        while first < self.count {
            let count = at_once.min(self.count - first);
            self.winograd_chunk(plan, first, count);
            first += count;
        }
    }

    fn winograd_chunk(&mut self, plan: &Plan<'_, F>, first: usize, count: usize) {
        let (arch, g) = (plan.arch, plan.g);
        let (points, tiles) = (g.algorithm.points(), count * g.tiles());
        let mut image = Scratch::zeros(g.padded_image());
        // Tiles may reach past what pooling uses; there the gradient is zero.
        let mut raw = Scratch::zeros(g.raw());
        let mut left = Scratch::any(points * tiles * g.c_in_whole);
        let mut products = Scratch::any(points * tiles * g.c_out_whole);
        let flat = Frame {
            origin: 0,
            row: g.raw_width * g.c_out_whole,
        };
        let place = |index| Place {
            tiles,
            first: index * g.tiles(),
        };
        for index in 0..count {
            let (at, source) = self.image(plan, first + index);
            arch.dispatch(
                #[inline(always)]
                || into_padded(g, source, &mut image),
            );
            winograd::image_to_points(arch, g, place(index), &image, &mut left);
            plan.raw_gradient(at, flat, &mut self.sum[..g.c_out_whole], &mut raw);
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
            result: &mut self.sum[g.c_out_whole..],
        });
        let Some(weights) = self.weights else {
            return;
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
        for index in 0..count {
            image.fill(F::default());
            winograd::points_to_image(arch, g, place(index), &left, &mut image);
            let dx = &mut self.dx[(first + index) * g.image()..][..g.image()];
            arch.dispatch(
                #[inline(always)]
                || out_of_padded(g, &image, g.in_stride, dx),
            );
        }
    }
}

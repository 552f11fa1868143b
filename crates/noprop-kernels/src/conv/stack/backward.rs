//! The backward pass through all layers.
//!
//! Images are taken in groups of a fixed size. Each group sums its own share of the parameters' gradient, and the shares are
//! added in order, so the result does not depend on the number of threads.

use pulp::Arch;
use rayon::prelude::*;

use super::super::backward::{Gathered, Ready};
use super::super::epilogue::{pass, spread, stop};
use super::super::geometry::Geometry;
use super::super::layout::{Source, Target, channels_last, into_padded, out_of_padded};
use super::super::shared::{GROUP, Wanted, add_in_order, over_blocks};
use super::super::weights;
use super::{Kept, Layer, Stack};
use crate::activation::Activation;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::product::Start;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, whole_vectors};
use crate::dropout::padded;
use crate::threads::grain;

/// The inputs of the backward pass.
pub(super) struct Inputs<'a, F: Float> {
    pub x: &'a [F],
    pub parameters: &'a [F],
    pub result: &'a [F],
    pub gradient: &'a [F],
    pub kept: &'a Kept<F>,
}

/// The gradients of one call.
pub(super) struct Gradients<F> {
    /// In the images' layout; empty if they are not wanted.
    pub x: Vec<F>,
    /// In the layout of the packed parameters.
    pub parameters: Vec<F>,
}

/// Some images of one block.
struct Group<'a, F> {
    block: usize,
    first: usize,
    count: usize,
    /// The gradient of each layer's bias and weights, side by side.
    sum: &'a mut [F],
    /// The images' gradients; empty if they are not wanted.
    dx: &'a mut [F],
}

pub(super) fn run<F: Float>(stack: &Stack, inputs: &Inputs<'_, F>, images: Wanted) -> Gradients<F> {
    let arch = instruction_set::current();
    let mut dx = match images {
        Wanted::No => Vec::new(),
        Wanted::Yes => vec![F::default(); stack.blocks * stack.images * stack.image()],
    };
    let mut parameters = vec![F::default(); inputs.parameters.len()];
    if stack.images > 0 && !parameters.is_empty() {
        // The weights serve the images' gradient alone.
        let ready = stack.for_layers(inputs.parameters, |_, index, layer, parameters| Ready {
            g: &layer.g,
            weight_starts: &layer.starts.weights,
            image_starts: &layer.starts.image,
            weights: (index > 0 || images == Wanted::Yes)
                .then(|| weights::for_backward(arch, &layer.g, layer.weights(parameters))),
        });
        let groups = stack.images.div_ceil(GROUP);
        let sum_size: usize = stack.layers.iter().map(Layer::sum).sum();
        let mut sums = Scratch::any(stack.blocks * groups * sum_size);
        let mut tasks = Vec::new();
        let mut dx_left = dx.as_mut_slice();
        for (index, sum) in sums.chunks_exact_mut(sum_size).enumerate() {
            let first = index % groups * GROUP;
            let count = GROUP.min(stack.images - first);
            let wanted = match images {
                Wanted::No => 0,
                Wanted::Yes => count * stack.image(),
            };
            let (mine, rest) = std::mem::take(&mut dx_left).split_at_mut(wanted);
            dx_left = rest;
            tasks.push(Group { block: index / groups, first, count, sum, dx: mine });
        }
        tasks.into_par_iter().with_min_len(grain()).for_each(|group| {
            let ready = &ready[group.block];
            group.run(arch, stack, inputs, ready);
        });
        sums.par_chunks_exact_mut(groups * sum_size)
            .zip(parameters.par_chunks_exact_mut(stack.parameters))
            .with_min_len(grain())
            .for_each(|(sums, gradient)| {
                let (total, others) = sums.split_at_mut(sum_size);
                add_in_order(total, others);
                unpack(arch, stack, total, gradient);
            });
    }
    Gradients { x: over_blocks(stack.blocks, stack.x_blocks, dx), parameters }
}

/// Turns one block's gathered gradients into those of its packed parameters.
fn unpack<F: Float>(arch: Arch, stack: &Stack, sum: &[F], gradient: &mut [F]) {
    let (mut sum, mut gradient) = (sum, gradient);
    let mut layers = Vec::new();
    for layer in &stack.layers {
        let (mine, rest) = sum.split_at(layer.sum());
        sum = rest;
        let size = layer.g.weights() + layer.g.c_out;
        let (to, rest) = gradient.split_at_mut(size);
        gradient = rest;
        layers.push((layer, mine, to));
    }
    layers.into_par_iter().with_min_len(grain()).for_each(|(layer, sum, gradient)| {
        let (bias, gathered) = sum.split_at(layer.g.c_out_whole);
        let (to_weights, to_bias) = gradient.split_at_mut(layer.g.weights());
        to_bias.copy_from_slice(&bias[..layer.g.c_out]);
        weights::gradient(arch, &layer.g, gathered, to_weights);
    });
}

impl<F: Float> Group<'_, F> {
    fn run(self, arch: Arch, stack: &Stack, inputs: &Inputs<'_, F>, ready: &[Ready<'_, F>]) {
        let Self { block, first, count, sum, dx } = self;
        let together = stack.together();
        for start in (0..count).step_by(together) {
            let images = together.min(count - start);
            let dx = match dx.len() {
                0 => &mut [],
                _ => &mut dx[start * stack.image()..][..images * stack.image()],
            };
            let few =
                Few { arch, stack, inputs, ready, block, first: first + start, count: images };
            let begin = if start == 0 { Start::Zero } else { Start::Kept };
            few.run(sum, begin, dx);
        }
    }
}

/// A few images of a group.
struct Few<'a, F: Float> {
    arch: Arch,
    stack: &'a Stack,
    inputs: &'a Inputs<'a, F>,
    ready: &'a [Ready<'a, F>],
    block: usize,
    first: usize,
    count: usize,
}

impl<F: Float> Few<'_, F> {
    fn run(&self, sums: &mut [F], begin: Start, dx: &mut [F]) {
        let (arch, stack) = (self.arch, self.stack);
        let at = self.block * stack.images + self.first;
        let mut end = sums.len();
        // The result and its gradient come channels first; between layers everything is channels last.
        let last = match stack.layers.last().map(|layer| layer.g.act) {
            Some(Activation::Relu) => self.turned(self.inputs.result),
            // Only ReLU asks for it.
            _ => Scratch::any(0),
        };
        let mut gradient = self.turned(self.inputs.gradient);
        for (index, (layer, op)) in stack.layers.iter().zip(self.ready).enumerate().rev() {
            let g = &layer.g;
            end -= layer.sum();
            let (bias, gathered) = sums[end..][..layer.sum()].split_at_mut(g.c_out_whole);
            if begin == Start::Zero {
                bias.fill(F::default());
            }
            match g.act {
                Activation::Relu => {
                    let scale = layer.scale();
                    let result = match self.inputs.kept.results.get(index) {
                        Some(all) => &all[at * g.result()..][..self.count * g.result()],
                        None => &last,
                    };
                    vectorised(
                        arch,
                        #[inline(always)]
                        || stop(&mut gradient, result, scale, bias),
                    );
                }
                Activation::None => self.pass(layer, &mut gradient, bias),
            }
            let size = layer.winners();
            let winners = &self.inputs.kept.winners[index][at * size..][..self.count * size];
            let each = g.c_in_whole * g.height * g.width;
            let mut next = Scratch::any(if index > 0 { self.count * each } else { 0 });
            let (source, mut to) = if index > 0 {
                let below = &self.inputs.kept.results[index - 1][at * each..][..self.count * each];
                (Source::ChannelsLast(below), Target::ChannelsLast(&mut next))
            } else {
                let images = stack.source(self.inputs.x, self.block, self.first, self.count);
                (images, Target::ChannelsFirst(&mut *dx))
            };
            op.run(
                arch,
                self.count,
                Gathered { sum: gathered, start: begin },
                |image, padded| into_padded(arch, g, source.image(g, image), padded),
                |image, raw| spread_image(arch, g, image, (&gradient, winners), raw),
                |image, padded| {
                    let to = to.image(g.c_in, g.height * g.width, image);
                    out_of_padded(arch, g, padded, to);
                },
            );
            gradient = next;
        }
    }

    /// The backward pass of the end of a layer without activation.
    fn pass(&self, layer: &Layer, gradient: &mut [F], bias: &mut [F]) {
        let g = &layer.g;
        let stream = layer.dropout.as_ref().map(|dropout| dropout.stream(self.block));
        let mut mask = Scratch::any(stream.map_or(0, |_| padded(g.positions() * g.c_out)));
        for (index, gradient) in gradient.chunks_exact_mut(g.result()).enumerate() {
            vectorised(
                self.arch,
                #[inline(always)]
                || {
                    let mask = stream.map(|stream| {
                        stream.fill(self.first + index, layer.scale(), &mut mask);
                        &*mask
                    });
                    pass(g, gradient, mask, bias);
                },
            );
        }
    }

    /// These images' part of a tensor in the result's shape, channels last.
    fn turned(&self, tensor: &[F]) -> Scratch<F> {
        let (arch, stack) = (self.arch, self.stack);
        let [channels, height, width] = stack.shape;
        let positions = height * width;
        let whole = whole_vectors(channels);
        let mut turned = Scratch::any(self.count * positions * whole);
        let start = (self.block * stack.images + self.first) * stack.result();
        let from = &tensor[start..][..self.count * stack.result()];
        let images = from.chunks_exact(stack.result());
        for (from, to) in images.zip(turned.chunks_exact_mut(positions * whole)) {
            channels_last(arch, from, channels, positions, to);
        }
        turned
    }
}

/// Writes the gradient of the raw result of image `index` to `raw`, from those of the results of all images and the winners in their windows
/// (empty without pooling).
fn spread_image<F: Float>(
    arch: Arch,
    g: &Geometry,
    index: usize,
    (gradients, winners): (&[F], &[u8]),
    raw: &mut [F],
) {
    let gradient = &gradients[index * g.result()..][..g.result()];
    let winners = match winners.is_empty() {
        true => winners,
        false => &winners[index * g.result()..][..g.result()],
    };
    vectorised(
        arch,
        #[inline(always)]
        || spread(g, gradient, winners, raw),
    );
}

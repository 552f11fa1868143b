//! The backward pass: layer after layer from the last, since a norm's gradient needs sums over all images.
//!
//! Images are taken in groups of a fixed size. Each group sums its own share of the weights' gradient, and the shares are added in order,
//! so the result does not depend on the number of threads.

use rayon::prelude::*;

use super::After;
use super::channels::{Channels, ParameterSums};
use super::plan::{Kept, Plan, Span, Statistics, cut};
use crate::conv::backward::{Gathered, Ready};
use crate::conv::layout::{Source, Target, channels_last, into_padded, out_of_padded};
use crate::conv::shared::{GROUP, Wanted, add_in_order, over_blocks};
use crate::conv::weights;
use crate::cpu::instruction_set::vectorised;
use crate::cpu::product::Start;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::threads::grain;

/// The inputs of the backward pass.
pub(super) struct Inputs<'a, F: Float> {
    pub x: &'a [F],
    pub parameters: &'a [F],
    /// Those that each layer used.
    pub statistics: &'a [Statistics<F>],
    /// For each layer, `true` if its statistics are constants.
    pub constant: &'a [bool],
    /// That of the result, in the layout of the tensor.
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

/// The norm of one layer, prepared for the backward pass.
struct Norm<'a, F: Float> {
    plan: &'a Plan,
    index: usize,
    /// For each block.
    channels: Vec<Channels<F>>,
    raw: &'a [F],
}

/// The gradient of a layer's results.
struct Gradient<F: Float> {
    /// Of all images, stopped where ReLU gave zero.
    stopped: Scratch<F>,
    /// As it was before, for the input of the pair that the layer ends; empty otherwise.
    before_relu: Scratch<F>,
    /// The sums of g and `g x̂` over each image.
    sums: Scratch<F>,
}

/// The parts of a [`Gradient`] that belong to some images.
struct Part<'a, F> {
    stopped: &'a mut [F],
    before_relu: &'a mut [F],
    sums: &'a mut [F],
}

impl<F: Float> Gradient<F> {
    fn new(plan: &Plan, index: usize) -> Self {
        let layer = &plan.layers[index];
        let ends_pair = layer.after == After::Residual;
        let each = layer.plane.result();
        Self {
            stopped: Scratch::any(plan.all() * each),
            before_relu: Scratch::any(if ends_pair { plan.all() * each } else { 0 }),
            sums: Scratch::any(plan.all() * 2 * layer.plane.whole),
        }
    }

    fn parts(&mut self, plan: &Plan, index: usize, spans: &[Span]) -> Vec<Part<'_, F>> {
        let layer = &plan.layers[index];
        let each = layer.plane.result();
        let before_each = if self.before_relu.is_empty() { 0 } else { each };
        cut(&mut self.stopped, spans, each)
            .into_iter()
            .zip(cut(&mut self.before_relu, spans, before_each))
            .zip(cut(&mut self.sums, spans, 2 * layer.plane.whole))
            .map(|((stopped, before_relu), sums)| Part { stopped, before_relu, sums })
            .collect()
    }
}

impl<F: Float> Norm<'_, F> {
    /// Stops the gradient of image `index` of `span`, which stands in `part`, and sums it up.
    fn stop(&self, span: Span, index: usize, part: &mut Part<'_, F>) {
        let plane = &self.plan.layers[self.index].plane;
        let each = plane.result();
        let one = Span { first: span.first + index, count: 1, ..span };
        let raw = one.of(self.plan, self.raw, plane.raw());
        let channels = &self.channels[span.block];
        let gradient = &mut part.stopped[index * each..][..each];
        if !part.before_relu.is_empty() {
            part.before_relu[index * each..][..each].copy_from_slice(gradient);
        }
        let mut winners = Scratch::any(if plane.side > 1 { each } else { 0 });
        vectorised(
            self.plan.arch,
            #[inline(always)]
            || {
                let x = if plane.side > 1 {
                    channels.winners(plane, raw, &mut winners);
                    &*winners
                } else {
                    raw
                };
                channels.stop(x, gradient);
            },
        );
        let x = if plane.side > 1 { &*winners } else { raw };
        let sums = &mut part.sums[index * 2 * plane.whole..][..2 * plane.whole];
        self.plan.arch.dispatch(ParameterSums { channels, x, gradient, sums });
    }
}

pub(super) fn run<F: Float>(plan: &Plan, inputs: &Inputs<'_, F>, images: Wanted) -> Gradients<F> {
    let arch = plan.arch;
    let mut dx = match images {
        Wanted::No => Vec::new(),
        Wanted::Yes => vec![F::default(); plan.all() * plan.image()],
    };
    let mut parameters = vec![F::default(); inputs.parameters.len()];
    if plan.images == 0 {
        return Gradients { x: over_blocks(plan.blocks, plan.x_blocks, dx), parameters };
    }
    // The weights serve the images' gradient alone.
    let ready = plan.for_layers(inputs.parameters, |index, layer, parameters| Ready {
        g: &layer.g,
        weight_starts: &layer.starts.weights,
        image_starts: &layer.starts.image,
        weights: (index > 0 || images == Wanted::Yes)
            .then(|| weights::for_backward(arch, &layer.g, layer.weights(parameters))),
    });
    let norm = |index: usize| Norm {
        plan,
        index,
        channels: plan.channels(index, inputs.parameters, &inputs.statistics[index]),
        raw: &inputs.kept.raw[index],
    };
    let last = plan.layers.len() - 1;
    let mut above = norm(last);
    let mut gradient = of_result(plan, inputs, &above);
    // The gradient of the result of the pair whose first layer comes next.
    let mut pair: Scratch<F> = Scratch::any(0);
    let mut gathered: Vec<Vec<Scratch<F>>> = Vec::new();
    for index in (0..plan.layers.len()).rev() {
        let means = means(plan, inputs, index, &gradient.sums, &mut parameters);
        let below = index.checked_sub(1).map(norm);
        let to = match &below {
            Some(below) => To::Layer(below, Gradient::new(plan, index - 1)),
            None => To::Images(&mut dx),
        };
        let step = Step { plan, inputs, index, norm: &above, means, pair: &pair };
        let (found, next) = step.run(&ready[index], &gradient.stopped, to);
        gathered.push(found);
        pair = gradient.before_relu;
        let (Some(below), Some(next)) = (below, next) else { break };
        above = below;
        gradient = next;
    }
    gathered.reverse();
    unpack(plan, &gathered, &mut parameters);
    Gradients { x: over_blocks(plan.blocks, plan.x_blocks, dx), parameters }
}

/// The gradient of the last layer's results, from that of the tensor.
fn of_result<F: Float>(plan: &Plan, inputs: &Inputs<'_, F>, norm: &Norm<'_, F>) -> Gradient<F> {
    let [channels, height, width] = plan.shape;
    let plane = &plan.layers[norm.index].plane;
    let mut gradient = Gradient::new(plan, norm.index);
    let spans = plan.spans(8);
    let parts = gradient.parts(plan, norm.index, &spans);
    spans.par_iter().zip(parts).with_min_len(grain()).for_each(|(span, mut part)| {
        let from = span.of(plan, inputs.gradient, plan.result());
        for (index, from) in from.chunks_exact(plan.result()).enumerate() {
            let to = &mut part.stopped[index * plane.result()..][..plane.result()];
            channels_last(plan.arch, from, channels, height * width, to);
            norm.stop(*span, index, &mut part);
        }
    });
    gradient
}

/// Adds the images' sums of g and `g x̂` in order: they are dβ and dγ, which go to `parameters`. Returns each block's dβ / M and dγ / M, where M is
/// the number of values of a channel, or zeros if the statistics are constants.
fn means<F: Float>(
    plan: &Plan,
    inputs: &Inputs<'_, F>,
    index: usize,
    sums: &[F],
    parameters: &mut [F],
) -> Vec<[Scratch<F>; 2]> {
    let layer = &plan.layers[index];
    let (whole, c_out) = (layer.plane.whole, layer.g.c_out);
    let values = (plan.images * layer.plane.positions()) as f64;
    let blocks = sums.chunks_exact(plan.images * 2 * whole);
    blocks
        .zip(parameters.chunks_exact_mut(plan.parameters))
        .map(|(sums, parameters)| {
            let mut totals = vec![0.0; 2 * whole];
            for image in sums.chunks_exact(2 * whole) {
                for (total, v) in totals.iter_mut().zip(image) {
                    *total += v.wide();
                }
            }
            let [dgamma, dbeta] = layer.affine_mut(parameters);
            for channel in 0..c_out {
                dbeta[channel] = F::constant(totals[channel]);
                dgamma[channel] = F::constant(totals[whole + channel]);
            }
            [0, whole].map(|start| {
                let mut mean = Scratch::zeros(whole);
                if !inputs.constant[index] {
                    for (mean, total) in mean.iter_mut().zip(&totals[start..][..whole]) {
                        *mean = F::constant(total / values);
                    }
                }
                mean
            })
        })
        .collect()
}

/// The destination of the gradient of what a layer was given.
enum To<'a, F: Float> {
    /// The layer before, with its norm.
    Layer(&'a Norm<'a, F>, Gradient<F>),
    /// The images; empty if it is not wanted.
    Images(&'a mut [F]),
}

/// The backward pass of one layer's norm and convolution.
struct Step<'a, F: Float> {
    plan: &'a Plan,
    inputs: &'a Inputs<'a, F>,
    index: usize,
    norm: &'a Norm<'a, F>,
    /// For each block; see [`means`].
    means: Vec<[Scratch<F>; 2]>,
    /// The gradient of the result of the pair that begins with this layer; empty if none does.
    pair: &'a [F],
}

/// One task of a step.
struct Task<'a, F> {
    span: Span,
    /// The images' share of the weights' gradient.
    sum: &'a mut [F],
    to: Destination<'a, F>,
}

enum Destination<'a, F> {
    Layer(Part<'a, F>),
    Images(&'a mut [F]),
}

impl<F: Float> Step<'_, F> {
    /// Returns each block's gradient of the weights as the kernels gather it, and that of what the layer was given.
    fn run(
        &self,
        ready: &[Ready<'_, F>],
        gradient: &[F],
        mut to: To<'_, F>,
    ) -> (Vec<Scratch<F>>, Option<Gradient<F>>) {
        let plan = self.plan;
        let spans = plan.spans(GROUP);
        let groups = spans.len() / plan.blocks;
        let size = plan.layers[self.index].g.prepared();
        // The first group's sum becomes the total; those of the others are given back at the end of the step.
        let mut totals: Vec<Scratch<F>> = (0..plan.blocks).map(|_| Scratch::any(size)).collect();
        let mut others: Vec<Scratch<F>> =
            (0..plan.blocks).map(|_| Scratch::any((groups - 1) * size)).collect();
        let (below, destinations): (_, Vec<Destination<'_, F>>) = match &mut to {
            To::Layer(below, gradient) => {
                let parts = gradient.parts(plan, below.index, &spans);
                (Some(*below), parts.into_iter().map(Destination::Layer).collect())
            }
            To::Images(dx) => {
                let each = if dx.is_empty() { 0 } else { plan.image() };
                let parts = cut(dx, &spans, each);
                (None, parts.into_iter().map(Destination::Images).collect())
            }
        };
        let tasks: Vec<Task<'_, F>> = spans
            .iter()
            .zip(totals.iter_mut().zip(&mut others).flat_map(|(total, others)| {
                std::iter::once(&mut **total).chain(others.chunks_exact_mut(size))
            }))
            .zip(destinations)
            .map(|((span, sum), to)| Task { span: *span, sum, to })
            .collect();
        tasks.into_par_iter().with_min_len(grain()).for_each(|task| {
            self.group(&ready[task.span.block], gradient, below, task);
        });
        for (total, others) in totals.iter_mut().zip(&others) {
            add_in_order(total, others);
        }
        let next = match to {
            To::Layer(_, gradient) => Some(gradient),
            To::Images(_) => None,
        };
        (totals, next)
    }

    fn group(
        &self,
        ready: &Ready<'_, F>,
        gradient: &[F],
        below: Option<&Norm<'_, F>>,
        task: Task<'_, F>,
    ) {
        let (plan, index) = (self.plan, self.index);
        let (arch, layer) = (plan.arch, &plan.layers[index]);
        let (g, plane) = (&layer.g, &layer.plane);
        let Task { span, sum, mut to } = task;
        let source = match below {
            None => plan.source(self.inputs.x, span),
            Some(_) => {
                let input = &self.inputs.kept.input[index];
                Source::ChannelsLast(span.of(plan, input, plan.input(index)))
            }
        };
        let gradients = span.of(plan, gradient, plane.result());
        let raws = span.of(plan, self.norm.raw, plane.raw());
        let (channels, means) = (&self.norm.channels[span.block], &self.means[span.block]);
        let positions = g.height * g.width;
        ready.run(
            arch,
            span.count,
            Gathered { sum, start: Start::Zero },
            |image, padded| into_padded(arch, g, source.image(g, image), padded),
            |image, dx| {
                let raw = &raws[image * plane.raw()..][..plane.raw()];
                let gradient = &gradients[image * plane.result()..][..plane.result()];
                let stride = g.raw_width * plane.whole;
                vectorised(
                    arch,
                    #[inline(always)]
                    || channels.backward(plane, means, raw, gradient, (dx, stride)),
                );
            },
            |image, padded| match &mut to {
                Destination::Images(dx) => {
                    let mut all = Target::ChannelsFirst(dx);
                    out_of_padded(arch, g, padded, all.image(g.c_in, positions, image));
                }
                Destination::Layer(part) => {
                    let Some(below) = below else { return };
                    let each = plan.input(index);
                    let to = &mut part.stopped[image * each..][..each];
                    out_of_padded(arch, g, padded, Target::ChannelsLast(to));
                    if !self.pair.is_empty() {
                        let one = Span { first: span.first + image, count: 1, ..span };
                        for (v, more) in to.iter_mut().zip(one.of(plan, self.pair, each)) {
                            *v += *more;
                        }
                    }
                    below.stop(span, image, part);
                }
            },
        );
    }
}

/// Turns the gathered gradients of all layers and blocks into those of the packed parameters.
fn unpack<F: Float>(plan: &Plan, gathered: &[Vec<Scratch<F>>], parameters: &mut [F]) {
    let mut tasks = Vec::new();
    for (block, parameters) in parameters.chunks_exact_mut(plan.parameters).enumerate() {
        let mut left = parameters;
        for (layer, gathered) in plan.layers.iter().zip(gathered) {
            let (mine, rest) = std::mem::take(&mut left).split_at_mut(layer.parameters());
            left = rest;
            tasks.push((layer, &gathered[block], mine));
        }
    }
    let tasks = tasks.into_par_iter().with_min_len(grain()).with_max_len(1);
    tasks.for_each(|(layer, gathered, parameters)| {
        let to = &mut parameters[..layer.g.weights()];
        weights::gradient(plan.arch, &layer.g, gathered, to);
    });
}

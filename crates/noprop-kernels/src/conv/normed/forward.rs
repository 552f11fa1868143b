//! The forward pass: layer after layer, since a norm needs the convolution's results of all images.

use rayon::prelude::*;

use super::After;
use super::channels::{Channels, Moments};
use super::plan::{Kept, Layer, Plan, Span, Statistics, cut};
use crate::conv::forward::Convolution;
use crate::conv::layout::{Source, channels_first, into_padded};
use crate::conv::shared::Keep;
use crate::conv::weights;
use crate::cpu::instruction_set::vectorised;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::threads::grain;

/// The results of the forward pass.
pub(super) struct Done<F: Float> {
    /// `[T, N, Co, OH, OW]`.
    pub y: Vec<F>,
    /// Those that each layer used.
    pub statistics: Vec<Statistics<F>>,
    pub kept: Kept<F>,
}

/// The end of a layer: from the raw results of its convolution to the input of the next layer.
struct Finish<'a, F: Float> {
    plan: &'a Plan,
    layer: &'a Layer,
    /// For each block.
    channels: Vec<Channels<F>>,
    /// Of all images.
    raw: &'a [F],
    /// Of all images.
    residual: Option<&'a [F]>,
}

impl<F: Float> Finish<'_, F> {
    /// Writes the result of image `index` of `span`.
    fn image(&self, span: Span, index: usize, out: &mut [F]) {
        let plane = &self.layer.plane;
        let one = Span { first: span.first + index, count: 1, ..span };
        let raw = one.of(self.plan, self.raw, plane.raw());
        let channels = &self.channels[span.block];
        let residual = self.residual.map(|all| one.of(self.plan, all, plane.result()));
        vectorised(
            self.plan.arch,
            #[inline(always)]
            || {
                channels.finish(plane, raw, out);
                if let Some(residual) = residual {
                    for (y, residual) in out.iter_mut().zip(residual) {
                        *y += *residual;
                    }
                }
            },
        );
    }
}

/// One task of a layer's convolution.
struct Task<'a, F> {
    span: Span,
    input: &'a mut [F],
    raw: &'a mut [F],
    moments: &'a mut [F],
}

/// Passes images `x` through all layers. `running` holds the running statistics of each layer that uses them.
pub(super) fn run<F: Float>(
    plan: &Plan,
    x: &[F],
    parameters: &[F],
    running: &[Option<Statistics<F>>],
    keep: Keep,
) -> Done<F> {
    let arch = plan.arch;
    let convolutions = plan.for_layers(parameters, |_, layer, parameters| Convolution {
        g: &layer.g,
        starts: &layer.starts.windows,
        weights: weights::for_forward(arch, &layer.g, layer.weights(parameters)),
    });
    let mut kept = Kept { raw: Vec::new(), input: Vec::new() };
    let mut statistics: Vec<Statistics<F>> = Vec::new();
    for (index, layer) in plan.layers.iter().enumerate() {
        let finish = index.checked_sub(1).map(|before| {
            finish(plan, before, plan.channels(before, parameters, &statistics[before]), &kept)
        });
        let (raw, input, moments) =
            convolve(plan, index, x, finish, &convolutions[index], running[index].is_none());
        kept.raw.push(raw);
        kept.input.push(input);
        statistics.push(match &running[index] {
            Some(running) => running.clone(),
            None => totals(plan, layer, &moments),
        });
        if keep == Keep::Nothing {
            // The next layer may add this one's input. Its end is computed while the layer after it reads.
            forget(&mut kept.raw, index, 1);
            forget(&mut kept.input, index, 2);
        }
    }
    let last = plan.layers.len() - 1;
    let y = result(
        plan,
        &finish(plan, last, plan.channels(last, parameters, &statistics[last]), &kept),
    );
    Done { y, statistics, kept }
}

fn finish<'a, F: Float>(
    plan: &'a Plan,
    index: usize,
    channels: Vec<Channels<F>>,
    kept: &'a Kept<F>,
) -> Finish<'a, F> {
    let layer = &plan.layers[index];
    let residual = (layer.after == After::Residual).then(|| &*kept.input[index - 1]);
    Finish { plan, layer, channels, raw: &kept.raw[index], residual }
}

/// Returns the buffer of layer `index - back` to the pool.
fn forget<F: Float>(buffers: &mut [Scratch<F>], index: usize, back: usize) {
    if let Some(buffer) = index.checked_sub(back).and_then(|index| buffers.get_mut(index)) {
        *buffer = Scratch::any(0);
    }
}

/// The convolution of layer `index`: its raw results, its input, and, if `measured`, mean and variance of each image's channels.
fn convolve<F: Float>(
    plan: &Plan,
    index: usize,
    x: &[F],
    finish: Option<Finish<'_, F>>,
    convolutions: &[Convolution<'_, F>],
    measured: bool,
) -> (Scratch<F>, Scratch<F>, Scratch<F>) {
    let (arch, layer) = (plan.arch, &plan.layers[index]);
    let (g, plane) = (&layer.g, &layer.plane);
    let (size, whole) = (plane.raw(), plane.whole);
    let each = plan.input(index);
    let moments_each = if measured { 2 * whole } else { 0 };
    let mut raw = Scratch::any(plan.all() * size);
    let mut input = Scratch::any(plan.all() * each);
    let mut moments = Scratch::any(plan.all() * moments_each);
    let spans = plan.spans(plan.together(index));
    let tasks: Vec<Task<'_, F>> = spans
        .iter()
        .zip(cut(&mut input, &spans, each))
        .zip(cut(&mut raw, &spans, size))
        .zip(cut(&mut moments, &spans, moments_each))
        .map(|(((span, input), raw), moments)| Task { span: *span, input, raw, moments })
        .collect();
    tasks.into_par_iter().with_min_len(grain()).for_each(|task| {
        let Task { span, input, raw, moments } = task;
        let source = plan.source(x, span);
        let read = |image: usize, padded: &mut [F]| match &finish {
            None => into_padded(arch, g, source.image(g, image), padded),
            Some(finish) => {
                let input = &mut input[image * each..][..each];
                finish.image(span, image, input);
                into_padded(arch, g, Source::ChannelsLast(input), padded);
            }
        };
        let mut moments_of = |image: usize, raw: &[F]| {
            if moments_each > 0 {
                let moments = &mut moments[image * moments_each..][..moments_each];
                arch.dispatch(Moments { raw, whole, moments });
            }
        };
        let convolution = &convolutions[span.block];
        if g.raw() == size {
            convolution.run(arch, span.count, raw, read, moments_of);
        } else {
            // The tiles reach past the image.
            let mut tiles = Scratch::any(g.raw());
            convolution.run(arch, span.count, &mut tiles, read, |image, from| {
                let raw = &mut raw[image * size..][..size];
                let lines = raw.chunks_exact_mut(plane.width * whole);
                for (to, from) in lines.zip(from.chunks_exact(g.raw_width * whole)) {
                    to.copy_from_slice(&from[..to.len()]);
                }
                moments_of(image, raw);
            });
        }
    });
    (raw, input, moments)
}

/// Mean and variance of each block's channels from those of each image, added in order.
fn totals<F: Float>(plan: &Plan, layer: &Layer, moments: &[F]) -> Statistics<F> {
    let (whole, c_out) = (layer.plane.whole, layer.g.c_out);
    let images = plan.images as f64;
    let (mut means, mut vars) = (Vec::new(), Vec::new());
    for block in moments.chunks(plan.images.max(1) * 2 * whole) {
        for channel in 0..c_out {
            let of =
                |at: usize| block.iter().skip(at + channel).step_by(2 * whole).map(|v| v.wide());
            let mean = of(0).sum::<f64>() / images;
            let square = |(m, v): (f64, f64)| v + (m - mean) * (m - mean);
            let var = of(0).zip(of(whole)).map(square).sum::<f64>() / images;
            means.push(F::constant(mean));
            // A comparison, because the maximum with 0 would lose a not-a-number.
            vars.push(F::constant(if var < 0.0 { 0.0 } else { var }));
        }
    }
    let all = plan.blocks * c_out;
    // Without images there is nothing to normalise.
    means.resize(all, F::default());
    vars.resize(all, F::default());
    [means, vars]
}

/// The results of the last layer in the layout of the tensor.
fn result<F: Float>(plan: &Plan, finish: &Finish<'_, F>) -> Vec<F> {
    let [channels, height, width] = plan.shape;
    let each = finish.layer.plane.result();
    let mut y = vec![F::default(); plan.all() * plan.result()];
    let spans = plan.spans(8);
    let parts = cut(&mut y, &spans, plan.result());
    spans.par_iter().zip(parts).with_min_len(grain()).for_each(|(span, y)| {
        let mut done = Scratch::any(each);
        for (index, y) in y.chunks_exact_mut(plan.result()).enumerate() {
            finish.image(*span, index, &mut done);
            channels_first(plan.arch, &done, channels, height * width, y);
        }
    });
    y
}

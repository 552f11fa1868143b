//! The forward pass through all layers.

use pulp::Arch;
use rayon::prelude::*;

use super::super::forward::{Convolution, Ready};
use super::super::layout::{Source, Target};
use super::super::shared::Keep;
use super::super::weights;
use super::{Kept, Layer, Stack};
use crate::cpu::instruction_set;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::threads::grain;

/// Some images of one block.
struct Task<'a, F> {
    block: usize,
    first: usize,
    count: usize,
    result: &'a mut [F],
    /// Room for the results between layers; empty if they are not kept.
    between: Vec<&'a mut [F]>,
    /// Room for each layer's winners; empty if they are not kept.
    winners: Vec<&'a mut [u8]>,
}

/// Returns the result `[T, N, Co, OH, OW]` of images `x` and packed parameters, and what the backward pass will need.
pub(super) fn run<F: Float>(stack: &Stack, x: &[F], parameters: &[F]) -> (Vec<F>, Kept<F>) {
    let arch = instruction_set::current();
    let all = stack.blocks * stack.images;
    let mut result = vec![F::default(); all * stack.result()];
    let mut kept = Kept::default();
    if result.is_empty() {
        return (result, kept);
    }
    // The last layer's result is the op's own, which candle keeps.
    let between: Vec<usize> =
        stack.layers.iter().map(|layer| layer.g.result()).take(stack.layers.len() - 1).collect();
    let winners: Vec<usize> = stack.layers.iter().map(Layer::winners).collect();
    if stack.keep == Keep::ForBackward {
        kept.results = between.iter().map(|size| Scratch::any(all * size)).collect();
        kept.winners = winners.iter().map(|size| Scratch::any(all * size)).collect();
    }
    let ready = stack.for_layers(parameters, |block, _, layer, parameters| Ready {
        convolution: Convolution {
            g: &layer.g,
            starts: &layer.starts.windows,
            weights: weights::for_forward(arch, &layer.g, layer.weights(parameters)),
        },
        bias: layer.bias(parameters),
        mask: layer.dropout.as_ref().map(|dropout| (dropout.stream(block), layer.scale())),
    });
    let mut between_left: Vec<&mut [F]> = kept.results.iter_mut().map(|r| &mut **r).collect();
    let mut winners_left: Vec<&mut [u8]> = kept.winners.iter_mut().map(|w| &mut **w).collect();
    let together = stack.together();
    let mut tasks = Vec::new();
    let block_results = result.chunks_exact_mut(stack.images * stack.result());
    for (block, results) in block_results.enumerate() {
        for (index, result) in results.chunks_mut(together * stack.result()).enumerate() {
            let count = result.len() / stack.result();
            tasks.push(Task {
                block,
                first: index * together,
                count,
                result,
                between: cut(&mut between_left, &between, count),
                winners: cut(&mut winners_left, &winners, count),
            });
        }
    }
    tasks.into_par_iter().with_min_len(grain()).for_each(|task| {
        let ready = &ready[task.block];
        task.run(arch, stack, ready, x);
    });
    (result, kept)
}

/// Cuts the next `count` images off every buffer; `sizes` are the elements of an image in each.
fn cut<'a, T>(left: &mut [&'a mut [T]], sizes: &[usize], count: usize) -> Vec<&'a mut [T]> {
    left.iter_mut()
        .zip(sizes)
        .map(|(left, size)| {
            let (part, rest) = std::mem::take(left).split_at_mut(count * size);
            *left = rest;
            part
        })
        .collect()
}

impl<F: Float> Task<'_, F> {
    fn run(self, arch: Arch, stack: &Stack, ready: &[Ready<'_, F>], x: &[F]) {
        let mut own: Vec<Scratch<F>> = Vec::new();
        let mut between = self.between;
        if between.is_empty() {
            let inner = &stack.layers[..stack.layers.len() - 1];
            own.extend(inner.iter().map(|layer| Scratch::any(self.count * layer.g.result())));
            between = own.iter_mut().map(|buffer| &mut **buffer).collect();
        }
        let mut between = between.into_iter();
        let mut winners = self.winners.into_iter();
        let mut source = stack.source(x, self.block, self.first, self.count);
        for op in ready {
            let winners = winners.next().unwrap_or_default();
            match between.next() {
                Some(buffer) => {
                    let results = Target::ChannelsLast(buffer);
                    op.run(arch, source, self.first, self.count, results, winners);
                    source = Source::ChannelsLast(buffer);
                }
                None => {
                    let results = Target::ChannelsFirst(&mut *self.result);
                    op.run(arch, source, self.first, self.count, results, winners);
                }
            }
        }
    }
}

//! The layers as one candle op: their sizes and buffers, and the way into candle's graph.

use candle_core::{DType, Device, Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::channels::{Channels, Plane};
use super::{After, ConvNorm, ConvNormOutput, ConvNormStack, LayerSizes, OP, backward, forward};
use crate::batch_norm::{BatchNormMode, BatchStatistics};
use crate::conv::direct::Starts;
use crate::conv::forward::images_at_once;
use crate::conv::geometry::Geometry;
use crate::conv::layout::Source;
use crate::conv::shared::{GROUP, Keep, Wanted};
use crate::cpu::instruction_set;
use crate::cpu::scratch::{Pooled, Scratch};
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::node::{self, node, on_cpu};
use crate::threads::grain;

/// One layer.
pub(super) struct Layer {
    pub g: Geometry,
    pub starts: Starts,
    pub after: After,
    /// The convolution's result and what remains of it after pooling.
    pub plane: Plane,
    /// The offset of its weights among a block's parameters; γ and β follow them.
    at: usize,
}

impl Layer {
    pub(super) fn weights<'a, F>(&self, parameters: &'a [F]) -> &'a [F] {
        &parameters[self.at..][..self.g.weights()]
    }

    /// γ and β.
    fn affine<'a, F>(&self, parameters: &'a [F]) -> [&'a [F]; 2] {
        let affine = &parameters[self.at + self.g.weights()..][..2 * self.g.c_out];
        let (gamma, beta) = affine.split_at(self.g.c_out);
        [gamma, beta]
    }

    /// The gradients of γ and β among those of a block's parameters.
    pub(super) fn affine_mut<'a, F>(&self, parameters: &'a mut [F]) -> [&'a mut [F]; 2] {
        let affine = &mut parameters[self.at + self.g.weights()..][..2 * self.g.c_out];
        let (gamma, beta) = affine.split_at_mut(self.g.c_out);
        [gamma, beta]
    }

    /// The number of its parameters.
    pub(super) fn parameters(&self) -> usize {
        self.g.weights() + 2 * self.g.c_out
    }
}

/// The layers of all blocks.
pub(super) struct Plan {
    pub arch: Arch,
    pub layers: Vec<Layer>,
    /// The number of parameters of a block.
    pub parameters: usize,
    pub x_blocks: usize,
    pub blocks: usize,
    pub images: usize,
    /// The shape of an image of the result.
    pub shape: [usize; 3],
    eps: f64,
}

/// The statistics of one layer: mean and variance, each `[blocks][Co]`.
pub(super) type Statistics<F> = [Vec<F>; 2];

/// The values of a forward pass that the backward pass needs, an entry for each layer.
pub(super) struct Kept<F: Pooled> {
    /// The results of the convolutions, `[blocks][images][height][width][Co in whole vectors]`.
    pub raw: Vec<Scratch<F>>,
    /// The input of each layer but the first, in the same layout; empty for the first.
    pub input: Vec<Scratch<F>>,
}

/// Some images of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub block: usize,
    pub first: usize,
    pub count: usize,
}

/// See [`ConvNormStack::forward`]; the arguments have been checked.
pub(super) fn apply(
    eps: f64,
    sizes: &[LayerSizes],
    x: &Tensor,
    layers: &[ConvNorm<'_>],
) -> Result<ConvNormOutput> {
    match x.dtype() {
        DType::F32 => apply_in::<f32>(eps, sizes, x, layers),
        _ => apply_in::<f64>(eps, sizes, x, layers),
    }
}

fn apply_in<F: Float>(
    eps: f64,
    sizes: &[LayerSizes],
    x: &Tensor,
    layers: &[ConvNorm<'_>],
) -> Result<ConvNormOutput> {
    let plan = Plan::new(eps, sizes);
    let mut flat = Vec::with_capacity(3 * layers.len());
    for (layer, sizes) in layers.iter().zip(sizes) {
        let s = &sizes.conv;
        flat.push(layer.w.reshape((s.blocks, s.c_out * s.c_in * 9))?);
        flat.push(layer.gamma.clone());
        flat.push(layer.beta.clone());
    }
    // All parameters of a block side by side: a candle op takes three arguments at most.
    let packed = Tensor::cat(&flat, 1)?.contiguous()?;
    let arguments = [x, &packed];
    let wanted = if x.track_op() { Wanted::Yes } else { Wanted::No };
    let keep = if x.track_op() || packed.track_op() { Keep::ForBackward } else { Keep::Nothing };
    let (x, parameters) = (x.detach().contiguous()?, packed.detach());
    let running =
        layers.iter().map(|layer| running::<F>(layer.mode)).collect::<Result<Vec<_>>>()?;
    let done = forward::run::<F>(&plan, &elements(&x)?, &elements(&parameters)?, &running, keep);
    let statistics = done
        .statistics
        .iter()
        .zip(sizes)
        .map(|([mean, var], sizes)| {
            let shape = (plan.blocks, sizes.conv.c_out);
            Ok(BatchStatistics {
                mean: Tensor::from_slice(mean, shape, &Device::Cpu)?,
                var: Tensor::from_slice(var, shape, &Device::Cpu)?,
                values: plan.images * sizes.conv.height * sizes.conv.width,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let [channels, height, width] = plan.shape;
    let value = on_cpu(done.y, (plan.blocks, plan.images, channels, height, width));
    let constant: Vec<bool> = running.iter().map(Option::is_some).collect();
    let (kept, used) = (done.kept, done.statistics);
    let y = node(OP, &arguments, value, move |_, gradient| {
        let gradient = gradient.contiguous()?;
        let inputs = backward::Inputs {
            x: &elements(&x)?,
            parameters: &elements(&parameters)?,
            statistics: &used,
            constant: &constant,
            gradient: &elements(&gradient)?,
            kept: &kept,
        };
        let found = backward::run(&plan, &inputs, wanted);
        let dx = match wanted {
            Wanted::Yes => node::gradient(found.x, x.shape())?,
            Wanted::No => None,
        };
        Ok([dx, node::gradient(found.parameters, parameters.shape())?, None])
    })?;
    Ok(ConvNormOutput { y, statistics })
}

/// The running statistics of `mode`, if it has any.
fn running<F: Float>(mode: BatchNormMode<'_>) -> Result<Option<Statistics<F>>> {
    let BatchNormMode::Eval { mean, var } = mode else { return Ok(None) };
    let numbers = |t: &Tensor| t.detach().flatten_all()?.to_vec1::<F>();
    Ok(Some([numbers(mean)?, numbers(var)?]))
}

impl Plan {
    fn new(eps: f64, sizes: &[LayerSizes]) -> Self {
        let conv = ConvNormStack::default().conv();
        let mut at = 0;
        let layers: Vec<Layer> = sizes
            .iter()
            .map(|sizes| {
                let g = Geometry::new(&conv, &sizes.conv);
                let plane = Plane {
                    height: sizes.conv.height,
                    width: sizes.conv.width,
                    whole: g.c_out_whole,
                    side: sizes.after.pool().side(),
                };
                let starts = Starts::new(&g);
                let layer = Layer { g, starts, after: sizes.after, plane, at };
                at += layer.parameters();
                layer
            })
            .collect();
        let first = &sizes[0].conv;
        Self {
            arch: instruction_set::current(),
            layers,
            parameters: at,
            x_blocks: first.x_blocks,
            blocks: first.blocks,
            images: first.images,
            shape: sizes[sizes.len() - 1].out,
            eps,
        }
    }

    /// The images of all blocks.
    pub(super) fn all(&self) -> usize {
        self.blocks * self.images
    }

    /// The elements of an image in the tensor.
    pub(super) fn image(&self) -> usize {
        let g = &self.layers[0].g;
        g.c_in * g.height * g.width
    }

    /// The elements of a result in the tensor.
    pub(super) fn result(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements of an image in the input of layer `index`, channels last; 0 for the first layer, which reads the tensor.
    pub(super) fn input(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.layers[index - 1].plane.result() }
    }

    /// One of a block's parameters.
    pub(super) fn of_block<'a, F>(&self, parameters: &'a [F], block: usize) -> &'a [F] {
        &parameters[block * self.parameters..][..self.parameters]
    }

    /// The images of `span` in the tensor.
    pub(super) fn source<'a, F>(&self, x: &'a [F], span: Span) -> Source<'a, F> {
        let block = if self.x_blocks == 1 { 0 } else { span.block };
        let start = (block * self.images + span.first) * self.image();
        Source::ChannelsFirst(&x[start..][..span.count * self.image()])
    }

    /// Images that go through the convolution of layer `index` in one task.
    pub(super) fn together(&self, index: usize) -> usize {
        const FEW: usize = 8;
        images_at_once(&self.layers[index].g).clamp(FEW, GROUP)
    }

    /// The images of all blocks, at most `together` at a time.
    pub(super) fn spans(&self, together: usize) -> Vec<Span> {
        let of_block = |block| {
            (0..self.images).step_by(together).map(move |first| Span {
                block,
                first,
                count: together.min(self.images - first),
            })
        };
        (0..self.blocks).flat_map(of_block).collect()
    }

    /// The channels of layer `index` in every block.
    pub(super) fn channels<F: Float>(
        &self,
        index: usize,
        parameters: &[F],
        [mean, var]: &Statistics<F>,
    ) -> Vec<Channels<F>> {
        let layer = &self.layers[index];
        let c_out = layer.g.c_out;
        (0..self.blocks)
            .map(|block| {
                let statistics = [mean, var].map(|all| &all[block * c_out..][..c_out]);
                let affine = layer.affine(self.of_block(parameters, block));
                Channels::new(layer.g.c_out_whole, self.eps, statistics, affine)
            })
            .collect()
    }

    /// Calls `f` for every layer of every block, side by side, with the block's parameters. The outer list is that of the layers.
    pub(super) fn for_layers<'a, F: Float, R: Send>(
        &'a self,
        parameters: &[F],
        f: impl Fn(usize, &'a Layer, &[F]) -> R + Sync,
    ) -> Vec<Vec<R>> {
        let layer = |(index, layer)| {
            let block = |block| f(index, layer, self.of_block(parameters, block));
            (0..self.blocks).into_par_iter().with_min_len(grain()).map(block).collect()
        };
        // One at a time, because the last layers have most of the weights.
        let layers = self.layers.par_iter().enumerate();
        layers.with_min_len(grain()).with_max_len(1).map(layer).collect()
    }
}

impl Span {
    /// The images' part of a buffer of all images with `each` elements an image.
    pub(super) fn of<'a, F>(&self, plan: &Plan, all: &'a [F], each: usize) -> &'a [F] {
        &all[(self.block * plan.images + self.first) * each..][..self.count * each]
    }
}

/// Cuts a buffer of all images, `each` elements an image, into the parts of `spans`, which cover it in order.
pub(super) fn cut<'a, F>(all: &'a mut [F], spans: &[Span], each: usize) -> Vec<&'a mut [F]> {
    let mut left = all;
    spans
        .iter()
        .map(|span| {
            let (part, rest) = std::mem::take(&mut left).split_at_mut(span.count * each);
            left = rest;
            part
        })
        .collect()
}

//! Several fused layers as one candle op.
//!
//! Images pass through all layers a few at a time, so the values between two layers are still in the cache when the next
//! layer reads them, stay channels last, and never become a tensor: candle would allocate, zero and add to a second tensor
//! of that size for every gradient.

mod backward;
mod forward;

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::direct::Starts;
use super::forward::images_at_once;
use super::geometry::Geometry;
use super::layer::{Conv3x3, OP, Pool, Sizes};
use super::layout::Source;
use super::shared::{GROUP, Keep, Wanted};
use crate::cpu::scratch::{Pooled, Scratch};
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::dropout::Dropout;
use crate::node::{self, node, on_cpu};
use crate::threads::grain;

/// Applies `layers`, whose sizes are `sizes`, one after another. The parameters are `w` and `b` of each layer in turn.
pub(super) fn apply(
    layers: &[Conv3x3],
    sizes: &[Sizes],
    x: &Tensor,
    parameters: &[(&Tensor, &Tensor)],
) -> crate::Result<Tensor> {
    let packed = pack(sizes, parameters)?;
    let mut at = 0;
    let layers: Vec<Layer> = layers
        .iter()
        .zip(sizes)
        .map(|(layer, sizes)| {
            let layer = Layer::new(layer, sizes, at);
            at += layer.g.weights() + layer.g.c_out;
            layer
        })
        .collect();
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else {
        return Ok(x.clone());
    };
    let stack = Stack {
        layers,
        parameters: at,
        x_blocks: first.x_blocks,
        blocks: first.blocks,
        images: first.images,
        shape: [last.c_out, last.out_height, last.out_width],
        keep: if x.track_op() || packed.track_op() { Keep::ForBackward } else { Keep::Nothing },
    };
    Ok(match x.dtype() {
        DType::F32 => stack.apply::<f32>(x, &packed),
        _ => stack.apply::<f64>(x, &packed),
    }?)
}

/// All parameters of a block side by side, `[T, parameters]`: a candle op takes three arguments at most.
fn pack(sizes: &[Sizes], parameters: &[(&Tensor, &Tensor)]) -> Result<Tensor> {
    let mut flat = Vec::with_capacity(2 * parameters.len());
    for (s, (w, b)) in sizes.iter().zip(parameters) {
        flat.push(w.reshape((s.blocks, s.c_out * s.c_in * 9))?);
        flat.push((*b).clone());
    }
    Tensor::cat(&flat, 1)?.contiguous()
}

struct Layer {
    g: Geometry,
    dropout: Option<Dropout>,
    /// The offset of its weights among a block's parameters; the biases follow them.
    at: usize,
    starts: Starts,
}

impl Layer {
    fn new(layer: &Conv3x3, sizes: &Sizes, at: usize) -> Self {
        let g = Geometry::new(layer, sizes);
        let starts = Starts::new(&g);
        Self { g, dropout: layer.dropout.clone(), at, starts }
    }

    fn weights<'a, F>(&self, parameters: &'a [F]) -> &'a [F] {
        &parameters[self.at..][..self.g.weights()]
    }

    fn bias<F: Float>(&self, parameters: &[F]) -> Scratch<F> {
        let mut bias = Scratch::zeros(self.g.c_out_whole);
        let from = &parameters[self.at + self.g.weights()..][..self.g.c_out];
        bias[..self.g.c_out].copy_from_slice(from);
        bias
    }

    /// Dropout's factor for the values that it keeps.
    fn scale<F: Float>(&self) -> F {
        F::constant(self.dropout.as_ref().map_or(1.0, Dropout::scale))
    }

    /// The bytes that an image's winners take.
    fn winners(&self) -> usize {
        match self.g.pool {
            Pool::None => 0,
            Pool::Max2 => self.g.result(),
        }
    }

    /// The elements of a group's sum: the bias's gradient, then the weights' gradient as the kernels gather it.
    fn sum(&self) -> usize {
        self.g.c_out_whole + self.g.prepared()
    }
}

/// The values that the forward pass leaves for the backward pass, one entry for each layer: results between layers
/// (`[T·N][positions][Co in whole vectors]`), and winners, one for each result.
#[derive(Default)]
struct Kept<F: Pooled> {
    results: Vec<Scratch<F>>,
    winners: Vec<Scratch<u8>>,
}

/// The layers as one op.
struct Stack {
    layers: Vec<Layer>,
    /// The number of parameters of a block.
    parameters: usize,
    x_blocks: usize,
    blocks: usize,
    images: usize,
    /// Channels, height and width of a result.
    shape: [usize; 3],
    keep: Keep,
}

impl Stack {
    fn apply<F: Float>(self, x: &Tensor, packed: &Tensor) -> Result<Tensor> {
        let wanted = if x.track_op() { Wanted::Yes } else { Wanted::No };
        let arguments = [x, packed];
        let (x, parameters) = (x.detach().contiguous()?, packed.detach());
        let (result, kept) = forward::run::<F>(&self, &elements(&x)?, &elements(&parameters)?);
        let [channels, height, width] = self.shape;
        let result = on_cpu(result, (self.blocks, self.images, channels, height, width));
        node(OP, &arguments, result, move |result, gradient| {
            let gradient = gradient.contiguous()?;
            let inputs = backward::Inputs {
                x: &elements(&x)?,
                parameters: &elements(&parameters)?,
                result: &elements(result)?,
                gradient: &elements(&gradient)?,
                kept: &kept,
            };
            let found = backward::run(&self, &inputs, wanted);
            let dx = match wanted {
                Wanted::Yes => node::gradient(found.x, x.shape())?,
                Wanted::No => None,
            };
            Ok([dx, node::gradient(found.parameters, parameters.shape())?, None])
        })
    }

    /// Calls `f` for every layer of every block, with the numbers of both and the block's parameters.
    fn for_layers<'a, F: Float, R: Send>(
        &'a self,
        parameters: &[F],
        f: impl Fn(usize, usize, &'a Layer, &[F]) -> R + Sync,
    ) -> Vec<Vec<R>> {
        let block = |block| {
            let parameters = &parameters[block * self.parameters..][..self.parameters];
            let layers = self.layers.par_iter().with_min_len(grain()).enumerate();
            layers.map(|(index, layer)| f(block, index, layer, parameters)).collect()
        };
        (0..self.blocks).into_par_iter().with_min_len(grain()).map(block).collect()
    }

    /// Images that pass through all layers together, forward or, within a group, backward: few, so that the values between layers stay in
    /// the cache, unless there is one layer whose products take more.
    fn together(&self) -> usize {
        const FEW: usize = 8;
        match self.layers.as_slice() {
            [layer] => images_at_once(&layer.g).clamp(FEW, GROUP),
            _ => FEW,
        }
    }

    /// The elements of an image in the tensor.
    fn image(&self) -> usize {
        let g = &self.layers[0].g;
        g.c_in * g.height * g.width
    }

    /// The elements of a result in the tensor.
    fn result(&self) -> usize {
        self.shape.iter().product()
    }

    /// The images of a block from number `first` on.
    fn source<'a, F>(&self, x: &'a [F], block: usize, first: usize, count: usize) -> Source<'a, F> {
        let block = if self.x_blocks == 1 { 0 } else { block };
        let start = (block * self.images + first) * self.image();
        Source::ChannelsFirst(&x[start..][..count * self.image()])
    }
}

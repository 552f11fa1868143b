//! Several fused layers as one candle op.
//!
//! Images pass through all layers a few at a time, so the values between two layers are still in the cache when the next
//! layer reads them, stay channels last, and never become a tensor: candle would allocate, zero and add to a second tensor
//! of that size for every gradient.

mod backward;
mod forward;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};

use super::direct;
use super::geometry::{Algorithm, Geometry};
use super::layer::{Conv3x3, OP, Pool, Sizes};
use super::layout::Source;
use crate::cpu::scratch::{Pooled, Scratch};
use crate::cpu::simd::Float;
use crate::cpu::storage::{contiguous, is_f32, with_elements};
use crate::dropout::Dropout;

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
    let op = Stack {
        layers,
        parameters: at,
        x_blocks: first.x_blocks,
        blocks: first.blocks,
        images: first.images,
        shape: [last.c_out, last.out_height, last.out_width],
        keep: if x.track_op() || packed.track_op() { Keep::ForBackward } else { Keep::Nothing },
        kept_f32: Mutex::new(Kept::nothing()),
        kept_f64: Mutex::new(Kept::nothing()),
    };
    Ok(x.contiguous()?.apply_op2(&packed, op)?)
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

/// The intermediate values that the forward pass leaves for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Nothing,
    ForBackward,
}

struct Layer {
    g: Geometry,
    dropout: Option<Dropout>,
    /// The offset of its weights among a block's parameters; the biases follow them.
    at: usize,
    starts: Starts,
}

/// The tables of the direct algorithm.
#[derive(Default)]
struct Starts {
    windows: Vec<usize>,
    weights: Vec<usize>,
    image: Vec<usize>,
}

impl Layer {
    fn new(layer: &Conv3x3, sizes: &Sizes, at: usize) -> Self {
        let g = Geometry::new(layer, sizes);
        let starts = match g.algorithm {
            Algorithm::Direct => Starts {
                windows: direct::window_starts(g.raw_height, g.raw_width, g.in_width, g.in_stride),
                weights: direct::weight_starts(&g),
                image: direct::window_starts(
                    g.in_height,
                    g.in_width,
                    g.raw_width + 4,
                    g.c_out_whole,
                ),
            },
            Algorithm::Winograd2 | Algorithm::Winograd4 => Starts::default(),
        };
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
struct Kept<F: Pooled> {
    results: Vec<Scratch<F>>,
    winners: Vec<Scratch<u8>>,
}

impl<F: Pooled> Kept<F> {
    fn nothing() -> Self {
        Self { results: Vec::new(), winners: Vec::new() }
    }
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
    kept_f32: Mutex<Kept<f32>>,
    kept_f64: Mutex<Kept<f64>>,
}

/// `Yes` if the gradient of the images is wanted: not when they are data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    No,
    Yes,
}

impl Stack {
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

impl Stack {
    fn run_forward<F: Float>(&self, x: &[F], parameters: &[F], kept: &Mutex<Kept<F>>) -> Vec<F> {
        let (result, new) = forward::run(self, x, parameters);
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = new;
        result
    }

    fn run_backward<F: Float>(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
        kept: &Mutex<Kept<F>>,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let images = if x.track_op() { Wanted::Yes } else { Wanted::No };
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = gradient.contiguous()?;
        let gradients = with_elements(x, |x| {
            with_elements(parameters, |parameters| {
                with_elements(result, |result| {
                    with_elements(&gradient, |gradient| {
                        let inputs =
                            backward::Inputs { x, parameters, result, gradient, kept: &kept };
                        Ok(backward::run(self, &inputs, images))
                    })
                })
            })
        })?;
        let dx = match gradients.x {
            Some(dx) => Some(Tensor::from_vec(dx, x.shape(), &Device::Cpu)?),
            None => None,
        };
        let packed = Tensor::from_vec(gradients.parameters, parameters.shape(), &Device::Cpu)?;
        Ok((dx, Some(packed)))
    }
}

impl CustomOp2 for Stack {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let result = if is_f32(x) {
            let x = contiguous::<f32>(x, x_layout)?;
            let parameters = contiguous(parameters, parameters_layout)?;
            CpuStorage::F32(self.run_forward(x, parameters, &self.kept_f32))
        } else {
            let x = contiguous::<f64>(x, x_layout)?;
            let parameters = contiguous(parameters, parameters_layout)?;
            CpuStorage::F64(self.run_forward(x, parameters, &self.kept_f64))
        };
        let [channels, height, width] = self.shape;
        Ok((result, Shape::from((self.blocks, self.images, channels, height, width))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if x.dtype() == DType::F32 {
            self.run_backward(x, parameters, result, gradient, &self.kept_f32)
        } else {
            self.run_backward(x, parameters, result, gradient, &self.kept_f64)
        }
    }
}

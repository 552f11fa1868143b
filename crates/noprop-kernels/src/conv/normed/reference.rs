//! The layers in plain candle ops: the yardstick of the fused kernel, and the implementation for other devices.

use candle_core::{Result as CandleResult, Tensor};

use super::{After, ConvNorm, ConvNormOutput, ConvNormStack, LayerSizes};
use crate::activation::Activation;
use crate::batch_norm::{BatchNormMode, BatchStatistics};
use crate::error::Result;
use crate::pool::max_pool;

/// See [`ConvNormStack::forward`]; the arguments have been checked.
pub(super) fn forward(
    stack: &ConvNormStack,
    sizes: &[LayerSizes],
    x: &Tensor,
    layers: &[ConvNorm<'_>],
) -> Result<ConvNormOutput> {
    let conv = stack.conv();
    let mut given = vec![x.clone()];
    let mut statistics = Vec::with_capacity(layers.len());
    for (index, (layer, sizes)) in layers.iter().zip(sizes).enumerate() {
        let no_bias = layer.beta.detach().zeros_like()?;
        let raw = conv.forward(&given[index], layer.w, &no_bias)?;
        let (y, found) = norm(stack.eps, sizes, &raw, layer)?;
        statistics.push(found);
        given.push(match layer.after {
            After::Residual => (y + &given[index - 1])?,
            After::Nothing | After::Max2 => y,
        });
    }
    let y = given.pop().unwrap_or_else(|| x.clone());
    Ok(ConvNormOutput { y, statistics })
}

/// Norm, ReLU and pooling.
fn norm(
    eps: f64,
    sizes: &LayerSizes,
    x: &Tensor,
    layer: &ConvNorm<'_>,
) -> CandleResult<(Tensor, BatchStatistics)> {
    const OVER: (usize, usize, usize) = (1, 3, 4);
    let conv = &sizes.conv;
    let each = (conv.blocks, 1, conv.c_out, 1, 1);
    let (mean, var) = match layer.mode {
        BatchNormMode::Train => {
            let mean = x.mean_keepdim(OVER)?;
            let var = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(OVER)?;
            (mean, var)
        }
        BatchNormMode::Eval { mean, var } => {
            (mean.detach().reshape(each)?, var.detach().reshape(each)?)
        }
    };
    let normal = x.broadcast_sub(&mean)?.broadcast_div(&(&var + eps)?.sqrt()?)?;
    let (gamma, beta) = (layer.gamma.reshape(each)?, layer.beta.reshape(each)?);
    let y = Activation::Relu.reference(normal.broadcast_mul(&gamma)?.broadcast_add(&beta)?)?;
    let y = match layer.after {
        After::Max2 => {
            let [channels, height, width] = sizes.out;
            let shape = (conv.blocks, conv.images, channels, height, width);
            max_pool(&y.flatten_to(2)?, (2, 2))?.reshape(shape)?
        }
        After::Nothing | After::Residual => y,
    };
    let statistic = |t: Tensor| t.detach().reshape((conv.blocks, conv.c_out));
    let values = conv.images * conv.height * conv.width;
    Ok((y, BatchStatistics { mean: statistic(mean)?, var: statistic(var)?, values }))
}

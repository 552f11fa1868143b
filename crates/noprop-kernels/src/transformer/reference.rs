//! The layer as the ops of its parts: the yardstick of the fused kernel, and the implementation for other devices.

use candle_core::Tensor;

use super::{TransformerLayer, TransformerParameters};
use crate::{Activation, Attention, LayerNorm, Linear, Result, gelu};

/// See [`TransformerLayer::forward`]; the arguments have been checked.
pub(super) fn apply(
    layer: TransformerLayer,
    x: &Tensor,
    parameters: &TransformerParameters<'_>,
) -> Result<Tensor> {
    let TransformerLayer { heads, eps, precision, backend } = layer;
    let TransformerParameters { norm1, qkv, out, norm2, fc1, fc2 } = *parameters;
    let (blocks, images, tokens, width) = x.dims4()?;
    let norm = LayerNorm { eps, backend };
    let linear = Linear { act: Activation::None, precision, backend };
    let rows = x.reshape((blocks, images * tokens, width))?;

    let mixed = linear.forward(&norm.forward(&rows, norm1.0, norm1.1)?, qkv.0, qkv.1)?;
    let mixed = mixed.reshape((blocks, images, tokens, 3 * width))?;
    let mixed = Attention { heads, backend }.forward(&mixed)?.reshape(rows.shape())?;
    let between = (&rows + linear.forward(&mixed, out.0, out.1)?)?;

    let wide = linear.forward(&norm.forward(&between, norm2.0, norm2.1)?, fc1.0, fc1.1)?;
    let narrow = linear.forward(&gelu(&wide, backend)?, fc2.0, fc2.1)?;
    Ok((between + narrow)?.reshape(x.shape())?)
}

//! The convolution layer in plain candle ops: the yardstick of the fused kernels, and the implementation for other devices.
//!
//! Convolution is nine shifted copies of the image and one batched matrix product, not `Tensor::conv2d`, whose
//! gradients are slow.

use candle_core::Tensor;

use super::layer::{Conv3x3, Pool, Sizes};
use crate::error::Result;
use crate::pool::max_pool;

/// See [`Conv3x3::forward`]; the arguments have been checked against `s`.
pub(super) fn forward(
    layer: &Conv3x3,
    s: &Sizes,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
) -> Result<Tensor> {
    let columns = columns(layer, s, x)?;
    let kernel = w.reshape((s.blocks, 1, s.c_out, s.c_in * 9))?;
    let bias = b.reshape((s.blocks, 1, s.c_out, 1))?;
    let sum = kernel.broadcast_matmul(&columns)?.broadcast_add(&bias)?;
    let sum = sum.reshape((s.blocks, s.images, s.c_out, s.conv_height, s.conv_width))?;
    let pooled = match layer.pool {
        Pool::None => sum,
        Pool::Max2 => max_pool(&sum.flatten_to(2)?, (2, 2))?.reshape((
            s.blocks,
            s.images,
            s.c_out,
            s.out_height,
            s.out_width,
        ))?,
    };
    let y = layer.act.reference(pooled)?;
    match &layer.dropout {
        None => Ok(y),
        Some(dropout) => {
            let sizes = [s.blocks, s.images, s.out_height * s.out_width, s.c_out];
            let mask = dropout.mask(sizes, y.dtype(), y.device())?;
            Ok((&y * mask.transpose(2, 3)?.reshape(y.dims())?)?)
        }
    }
}

/// The nine values under the kernel at each position: `[Tx, N, Ci · 9, OH · OW]`, in the order of the weights.
fn columns(layer: &Conv3x3, s: &Sizes, x: &Tensor) -> Result<Tensor> {
    let ring = layer.padding.width();
    let x = x.pad_with_zeros(3, ring, ring)?.pad_with_zeros(4, ring, ring)?;
    let mut shifted = Vec::with_capacity(9);
    for dy in 0..3 {
        let rows = x.narrow(3, dy, s.conv_height)?;
        for dx in 0..3 {
            shifted.push(rows.narrow(4, dx, s.conv_width)?.unsqueeze(3)?);
        }
    }
    Ok(Tensor::cat(&shifted, 3)?.reshape((
        s.x_blocks,
        s.images,
        s.c_in * 9,
        s.conv_height * s.conv_width,
    ))?)
}

//! The convolution layer in plain candle ops: the yardstick of the fused kernels, and the path of other devices.
//!
//! Convolution is nine shifted copies of the image and one batched matrix product, not `Tensor::conv2d`, whose
//! gradients are slow. Pooling compares the four values of a window one by one, not `Tensor::max_pool2d`, whose
//! gradient is wrong.

use candle_core::{DType, Tensor};

use super::{Conv3x3, Pool, Sizes};
use crate::backend::reference_relu;
use crate::error::{KernelError, Result};

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
        Pool::Max2 => max2(s, &sum)?,
    };
    let y = reference_relu(&pooled)?;
    match &layer.dropout {
        None => Ok(y),
        Some(dropout) => {
            let positions = s.out_height * s.out_width;
            let mask = match y.dtype() {
                DType::F64 => {
                    dropout.mask::<f64>(s.blocks, s.images, positions, s.c_out, y.device())
                }
                _ => dropout.mask::<f32>(s.blocks, s.images, positions, s.c_out, y.device()),
            }?;
            let mask = mask.transpose(2, 3)?.reshape(y.dims())?.to_dtype(y.dtype())?;
            Ok((y * mask)?)
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

/// The maximum of each 2×2 window; among equals the first in reading order.
fn max2(s: &Sizes, sum: &Tensor) -> Result<Tensor> {
    let windows = sum.narrow(3, 0, 2 * s.out_height)?.narrow(4, 0, 2 * s.out_width)?.reshape((
        s.blocks * s.images * s.c_out,
        s.out_height,
        2,
        s.out_width,
        2,
    ))?;
    let corner = |dy: usize, dx: usize| -> Result<Tensor> {
        Ok(windows.narrow(2, dy, 1)?.narrow(4, dx, 1)?.contiguous()?)
    };
    let mut best = corner(0, 0)?;
    for (dy, dx) in [(0, 1), (1, 0), (1, 1)] {
        let next = corner(dy, dx)?;
        // A value is unequal to itself only when it is not a number, which must not get lost.
        let larger = (next.gt(&best)? + next.ne(&next)?)?;
        best = larger.where_cond(&next, &best)?;
    }
    best.reshape((s.blocks, s.images, s.c_out, s.out_height, s.out_width))
        .map_err(KernelError::from)
}

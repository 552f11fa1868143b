//! Maximum pooling: of windows, for the ops that pool, and of whole images.

mod fused;
mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Chosen};
use crate::cpu::simd::Float;
use crate::error::Result;
use crate::shape;

pub(crate) use fused::MaxPool;
pub(crate) use reference::max_pool;

const OP: &str = "global_max_pool";

/// The maximum of each channel of each image: `[T, N, C, H, W]` to `[T, N, C]`.
///
/// The gradient goes to the place of the maximum, among equal values to the first in reading order. Not-a-number is passed on. The fused
/// kernel runs on the CPU; on other devices [`Backend::Auto`] uses candle's ops.
///
/// # Errors
/// [`KernelError::Shape`](crate::KernelError::Shape) unless `x` has five dimensions and at least one pixel an image.
pub fn global_max_pool(x: &Tensor, backend: Backend) -> Result<Tensor> {
    let [blocks, images, channels, height, width] = shape::dims(OP, "x", x, "[T, N, C, H, W]")?;
    if height == 0 || width == 0 {
        return Err(shape::mismatch(OP, "x", x, "images of at least 1×1"));
    }
    let planes = x.reshape((blocks * images * channels, height, width))?;
    let largest = match backend.choose(OP, x)? {
        Chosen::Fused => {
            MaxPool { height, width, rows: height, columns: width }.apply(OP, &planes)?
        }
        _ => max_pool(&planes, (height, width))?,
    };
    Ok(largest.reshape((blocks, images, channels))?)
}

/// Returns `true` if `next` takes the place of `best`: when it is larger, or not a number, which must not get lost.
#[inline(always)]
#[expect(clippy::eq_op, reason = "only a not-a-number is unequal to itself")]
pub(crate) fn replaces<F: Float>(best: F, next: F) -> bool {
    (next > best) | (next != next)
}

#[inline(always)]
pub(crate) fn larger<F: Float>(best: F, next: F) -> F {
    if replaces(best, next) { next } else { best }
}

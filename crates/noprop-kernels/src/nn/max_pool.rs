//! Maximum pooling with the right gradient.

use candle_core::{DType, Device, Result, Tensor, ToUsize2};

use crate::error::KernelError;
use crate::pool::{MaxPool, max_pool};

const OP: &str = "max_pool2d";

/// The maximum of each window of images `[N, C, H, W]`, as `Tensor::max_pool2d`. `size` is the height and width of a window, and
/// windows lie side by side; rows and columns that are left over are ignored. Not-a-number is passed on.
///
/// The gradient goes to the place of the maximum, among equal values to the first in reading order. The gradient of candle's own
/// op is wrong: for 2×2 windows it is a quarter of the right one, and with odd sizes some maxima get none.
///
/// # Errors
/// [`KernelError::Shape`] unless `x` has four dimensions and at least one window.
pub fn max_pool2d(x: &Tensor, size: impl ToUsize2) -> Result<Tensor> {
    let (rows, columns) = size.to_usize2();
    let [images, channels, height, width] = match *x.dims() {
        [n, c, h, w] if rows > 0 && columns > 0 && h >= rows && w >= columns => [n, c, h, w],
        _ => {
            let expected = format!("[N, C, H, W] with windows of {rows}×{columns}");
            let got = x.shape().clone();
            return Err(KernelError::Shape { op: OP, argument: "x", expected, got }.into());
        }
    };
    let planes = x.reshape((images * channels, height, width))?;
    let pool = MaxPool { height, width, rows, columns };
    let y = match (x.device(), x.dtype()) {
        (Device::Cpu, DType::F32 | DType::F64) => pool.apply(OP, &planes)?,
        _ => max_pool(&planes, (rows, columns))?,
    };
    y.reshape((images, channels, height / rows, width / columns))
}

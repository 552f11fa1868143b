//! Maximum pooling with the right gradient.

use candle_core::{DType, Device, Result, Tensor, ToUsize2};
use rayon::prelude::*;

use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::error::KernelError;
use crate::node::{gradient, node, on_cpu};
use crate::pool::max_pool;
use crate::threads::grain;

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
        (Device::Cpu, DType::F32) => pool.apply::<f32>(&planes)?,
        (Device::Cpu, DType::F64) => pool.apply::<f64>(&planes)?,
        _ => max_pool(&planes, (rows, columns))?,
    };
    y.reshape((images, channels, height / rows, width / columns))
}

/// The op on planes, `[P, H, W]`.
struct MaxPool {
    height: usize,
    width: usize,
    /// The sides of a window.
    rows: usize,
    columns: usize,
}

impl MaxPool {
    fn apply<F: Float>(self, planes: &Tensor) -> Result<Tensor> {
        let x = planes.detach().contiguous()?;
        let shape = (x.dim(0)?, self.height / self.rows, self.width / self.columns);
        let y = on_cpu(self.forward::<F>(&elements(&x)?), shape);
        node(OP, &[planes], y, move |_, dy| {
            let dx = self.backward::<F>(&elements(&x)?, &elements(&dy.contiguous()?)?);
            Ok([gradient(dx, x.shape())?, None, None])
        })
    }

    /// The number of windows of a plane.
    fn windows(&self) -> usize {
        (self.height / self.rows) * (self.width / self.columns)
    }

    /// Calls `f` with the number of each window of `plane` and the place of its maximum.
    #[inline(always)]
    fn winners<F: Float>(&self, plane: &[F], f: impl FnMut(usize, usize)) {
        // The usual window as a constant, for which the loops are unrolled.
        match (self.rows, self.columns) {
            (2, 2) => winners(plane, self.width, (2, 2), f),
            window => winners(plane, self.width, window, f),
        }
    }

    fn forward<F: Float>(&self, x: &[F]) -> Vec<F> {
        let (plane, windows) = (self.height * self.width, self.windows());
        let mut y = vec![F::default(); x.len() / plane * windows];
        y.par_chunks_exact_mut(windows)
            .zip(x.par_chunks_exact(plane))
            .with_min_len(grain())
            .for_each(|(y, x)| self.winners(x, |window, place| y[window] = x[place]));
        y
    }

    fn backward<F: Float>(&self, x: &[F], gradient: &[F]) -> Vec<F> {
        let mut dx = vec![F::default(); x.len()];
        let plane = self.height * self.width;
        dx.par_chunks_exact_mut(plane)
            .zip(x.par_chunks_exact(plane))
            .zip(gradient.par_chunks_exact(self.windows()))
            .with_min_len(grain())
            .for_each(|((dx, x), gradient)| {
                self.winners(x, |window, place| dx[place] = gradient[window]);
            });
        dx
    }
}

/// See [`MaxPool::winners`]; `plane` has rows of `width`.
#[inline(always)]
fn winners<F: Float>(
    plane: &[F],
    width: usize,
    (rows, columns): (usize, usize),
    mut f: impl FnMut(usize, usize),
) {
    let across = width / columns;
    for (band, lines) in plane.chunks_exact(rows * width).enumerate() {
        for window in 0..across {
            let mut best = window * columns;
            let mut top = lines[best];
            for row in 0..rows {
                let first = row * width + window * columns;
                for (place, v) in lines[first..][..columns].iter().enumerate() {
                    #[expect(clippy::eq_op, reason = "only a not-a-number is unequal to itself")]
                    if *v > top || *v != *v {
                        (top, best) = (*v, first + place);
                    }
                }
            }
            f(band * across + window, band * rows * width + best);
        }
    }
}

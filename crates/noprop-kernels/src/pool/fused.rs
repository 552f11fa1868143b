//! The maximum of windows on the CPU, with its gradient. The backward pass finds the maxima again, so nothing is kept but the planes.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::replaces;
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// The op on planes, `[P, H, W]`.
pub(crate) struct MaxPool {
    pub height: usize,
    pub width: usize,
    /// The sides of a window.
    pub rows: usize,
    pub columns: usize,
}

impl MaxPool {
    /// The maximum of each window of `planes`, contiguous or not, on the CPU.
    pub(crate) fn apply(self, op: &'static str, planes: &Tensor) -> Result<Tensor> {
        match planes.dtype() {
            DType::F32 => self.apply_in::<f32>(op, planes),
            _ => self.apply_in::<f64>(op, planes),
        }
    }

    fn apply_in<F: Float>(self, op: &'static str, planes: &Tensor) -> Result<Tensor> {
        let x = planes.detach().contiguous()?;
        let shape = (x.dim(0)?, self.height / self.rows, self.width / self.columns);
        let y = on_cpu(self.forward::<F>(&elements(&x)?), shape);
        node(op, &[planes], y, move |_, dy| {
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
                    if replaces(top, *v) {
                        (top, best) = (*v, first + place);
                    }
                }
            }
            f(band * across + window, band * rows * width + best);
        }
    }
}

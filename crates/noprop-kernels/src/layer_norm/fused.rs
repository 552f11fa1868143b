//! Layer normalisation on the CPU: a row at a time, while it is in the cache. The backward pass computes the statistics again.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::OP;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::cpu::total::total;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// Rows that a task takes. They share one sum of the parameters' gradient, and the shares are added in order, so the result does not depend on
/// the number of threads.
const ROWS: usize = 128;

/// See [`super::LayerNorm::forward`]; the arguments have been checked.
pub(super) fn apply<F: Float>(
    eps: f64,
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
) -> Result<Tensor> {
    let (_, rows, features) = x.dims3()?;
    let norm = Norm::<F>::new(eps, rows, features);
    let arguments = [x, gamma, beta];
    let (x, gamma) = (x.detach().contiguous()?, gamma.detach().contiguous()?);
    let beta = beta.detach().contiguous()?;
    let mut y = vec![F::default(); x.elem_count()];
    norm.forward(&elements(&x)?, &elements(&gamma)?, &elements(&beta)?, &mut y);
    let value = on_cpu(y, x.shape());
    node(OP, &arguments, value, move |_, dy| {
        let dy = dy.contiguous()?;
        let mut dx = vec![F::default(); x.elem_count()];
        let (dgamma, dbeta) =
            norm.backward(&elements(&x)?, &elements(&gamma)?, &elements(&dy)?, &mut dx);
        let parameter = |values| gradient(values, gamma.shape());
        Ok([gradient(dx, x.shape())?, parameter(dgamma)?, parameter(dbeta)?])
    })
}

/// The layer for `rows` rows of each block.
#[derive(Clone, Copy)]
pub(crate) struct Norm<F> {
    eps: F,
    /// Of each block.
    rows: usize,
    features: usize,
}

impl<F: Float> Norm<F> {
    pub(crate) fn new(eps: f64, rows: usize, features: usize) -> Self {
        Self { eps: F::constant(eps), rows, features }
    }

    /// The mean of a row, and `1 / √(var + eps)`.
    #[inline(always)]
    fn statistics(&self, x: &[F]) -> (F, F) {
        let count = F::constant(self.features as f64);
        let mean = total(x, x, |x, _| x) / count;
        let var = total(x, x, |x, _| (x - mean) * (x - mean)) / count;
        (mean, F::one() / (var + self.eps).root())
    }

    /// Elements of the rows that a task takes. A task's rows are of one block.
    fn piece(&self) -> usize {
        ROWS * self.features
    }

    fn block(&self) -> usize {
        (self.rows * self.features).max(1)
    }

    pub(crate) fn forward(&self, x: &[F], gamma: &[F], beta: &[F], y: &mut [F]) {
        let arch = instruction_set::current();
        if x.is_empty() {
            return;
        }
        let features = self.features;
        let blocks = y.chunks_mut(self.block()).zip(x.chunks(self.block())).enumerate();
        let tasks: Vec<_> = blocks
            .flat_map(|(block, (y, x))| {
                let pieces = y.chunks_mut(self.piece()).zip(x.chunks(self.piece()));
                pieces.map(move |(y, x)| (block, y, x))
            })
            .collect();
        tasks.into_par_iter().with_min_len(grain()).for_each(|(block, y, x)| {
            let gamma = &gamma[block * features..][..features];
            let beta = &beta[block * features..][..features];
            vectorised(
                arch,
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(features).zip(x.chunks_exact(features)) {
                        let (mean, inverse) = self.statistics(x);
                        for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                            *y = (*x - mean) * inverse * *gamma + *beta;
                        }
                    }
                },
            );
        });
    }

    /// Writes the gradient of x, and returns those of γ and β.
    pub(crate) fn backward(
        &self,
        x: &[F],
        gamma: &[F],
        dy: &[F],
        dx: &mut [F],
    ) -> (Vec<F>, Vec<F>) {
        let arch = instruction_set::current();
        let features = self.features;
        let (mut dgamma, mut dbeta) =
            (vec![F::default(); gamma.len()], vec![F::default(); gamma.len()]);
        if x.is_empty() {
            return (dgamma, dbeta);
        }
        let pieces = self.rows.div_ceil(ROWS);
        let mut sums: Scratch<F> = Scratch::zeros(gamma.len() * pieces * 2);
        let blocks =
            dx.chunks_mut(self.block()).zip(x.chunks(self.block())).zip(dy.chunks(self.block()));
        let tasks: Vec<_> = blocks
            .enumerate()
            .flat_map(|(block, ((dx, x), dy))| {
                let rows = dx.chunks_mut(self.piece()).zip(x.chunks(self.piece()));
                rows.zip(dy.chunks(self.piece())).map(move |((dx, x), dy)| (block, dx, x, dy))
            })
            .zip(sums.chunks_exact_mut(2 * features))
            .collect();
        tasks.into_par_iter().with_min_len(grain()).for_each(|((block, dx, x, dy), sums)| {
            let gamma = &gamma[block * features..][..features];
            let (dgamma, dbeta) = sums.split_at_mut(features);
            let mut scaled = Scratch::any(features);
            let scaled = &mut *scaled;
            vectorised(
                arch,
                #[inline(always)]
                || {
                    let rows = dx.chunks_exact_mut(features).zip(x.chunks_exact(features));
                    for ((dx, x), dy) in rows.zip(dy.chunks_exact(features)) {
                        let (mean, inverse) = self.statistics(x);
                        row_back((mean, inverse), x, dy, gamma, scaled, dx);
                        for ((sum, x), g) in dgamma.iter_mut().zip(x).zip(dy) {
                            *sum += *g * (*x - mean) * inverse;
                        }
                        for (sum, g) in dbeta.iter_mut().zip(dy) {
                            *sum += *g;
                        }
                    }
                },
            );
        });
        let of_block = sums.chunks_exact(pieces * 2 * features);
        let gradients = dgamma.chunks_exact_mut(features).zip(dbeta.chunks_exact_mut(features));
        for (sums, (dgamma, dbeta)) in of_block.zip(gradients) {
            for piece in sums.chunks_exact(2 * features) {
                let (more_gamma, more_beta) = piece.split_at(features);
                dgamma.iter_mut().zip(more_gamma).for_each(|(sum, v)| *sum += *v);
                dbeta.iter_mut().zip(more_beta).for_each(|(sum, v)| *sum += *v);
            }
        }
        (dgamma, dbeta)
    }
}

/// `dx = (h - mean(h) - x̂ mean(h x̂)) / √(var + eps)` for one row, with `h = γ dy`.
#[inline(always)]
fn row_back<F: Float>(
    (mean, inverse): (F, F),
    x: &[F],
    dy: &[F],
    gamma: &[F],
    h: &mut [F],
    dx: &mut [F],
) {
    for ((h, g), gamma) in h.iter_mut().zip(dy).zip(gamma) {
        *h = *g * *gamma;
    }
    let count = F::constant(x.len() as f64);
    let plain = total(h, x, |h, _| h) / count;
    let normal = total(h, x, |h, x| h * (x - mean) * inverse) / count;
    for ((dx, h), x) in dx.iter_mut().zip(h).zip(x) {
        *dx = (*h - plain - (*x - mean) * inverse * normal) * inverse;
    }
}

//! Batch normalisation on the CPU: three passes over rows that fit the cache, forward and backward.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::{BatchNorm, BatchNormMode, BatchNormOutput, BatchStatistics, OP};
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// The most rows whose sum is taken in one run.
const ONE_RUN: usize = 1024;

/// The rows of a run where there are more. Over a long run of f32 the rounding of the sum grows with the number of rows.
const RUN: usize = 64;

/// The source of mean and variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The batch.
    Batch,
    /// The caller: constants in the backward pass.
    Given,
}

#[derive(Clone, Copy)]
struct Norm {
    layer: BatchNorm,
    rows: usize,
    features: usize,
    source: Source,
}

/// See [`BatchNorm::forward`]; the arguments have been checked.
pub(super) fn apply(
    layer: BatchNorm,
    y: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mode: BatchNormMode<'_>,
) -> Result<BatchNormOutput> {
    match y.dtype() {
        DType::F32 => apply_in::<f32>(layer, y, gamma, beta, mode),
        _ => apply_in::<f64>(layer, y, gamma, beta, mode),
    }
}

fn apply_in<F: Float>(
    layer: BatchNorm,
    y: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mode: BatchNormMode<'_>,
) -> Result<BatchNormOutput> {
    let (blocks, rows, features) = y.dims3()?;
    let given =
        |statistic: &Tensor| -> Result<_> { Ok(elements::<F>(&statistic.contiguous()?)?.to_vec()) };
    let zeros = || vec![F::default(); blocks * features];
    let (source, mut mean, mut var) = match mode {
        BatchNormMode::Train => (Source::Batch, zeros(), zeros()),
        BatchNormMode::Eval { mean, var } => (Source::Given, given(mean)?, given(var)?),
    };
    let norm = Norm { layer, rows, features, source };
    let arguments = [y, gamma, beta];
    let (y, gamma) = (y.detach().contiguous()?, gamma.detach().contiguous()?);
    let beta = beta.detach().contiguous()?;
    let out =
        norm.forward(&elements(&y)?, &elements(&gamma)?, &elements(&beta)?, &mut mean, &mut var);
    let mean = Tensor::from_vec(mean, (blocks, features), &Device::Cpu)?;
    let var = Tensor::from_vec(var, (blocks, features), &Device::Cpu)?;
    let statistics = (mean.clone(), var.clone());
    let value = on_cpu(out, (blocks, rows, features));
    let y = node(OP, &arguments, value, move |out, dout| {
        let (dy, dgamma, dbeta) = norm.backward(&Block::<F> {
            y: &elements(&y)?,
            out: &elements(out)?,
            gradient: &elements(&dout.contiguous()?)?,
            gamma: &elements(&gamma)?,
            mean: &elements(&statistics.0)?,
            var: &elements(&statistics.1)?,
        });
        let dgamma = gradient(dgamma, (blocks, features))?;
        let dbeta = gradient(dbeta, (blocks, features))?;
        Ok([gradient(dy, (blocks, rows, features))?, dgamma, dbeta])
    })?;
    Ok(BatchNormOutput { y, statistics: BatchStatistics { mean, var, values: rows } })
}

/// `1 / √(var + eps)`.
#[inline(always)]
fn inverse<F: Float>(var: F, eps: F) -> F {
    F::one() / (var + eps).root()
}

impl Norm {
    /// The result. Mean and variance of the batch are written to `mean` and `var`, given ones are read there.
    fn forward<F: Float>(
        &self,
        y: &[F],
        gamma: &[F],
        beta: &[F],
        mean: &mut [F],
        var: &mut [F],
    ) -> Vec<F> {
        let mut out = vec![F::default(); y.len()];
        if out.is_empty() {
            return out;
        }
        let block = self.rows * self.features;
        let arch = instruction_set::current();
        out.par_chunks_exact_mut(block)
            .zip(y.par_chunks_exact(block))
            .zip(gamma.par_chunks_exact(self.features))
            .zip(beta.par_chunks_exact(self.features))
            .zip(mean.par_chunks_exact_mut(self.features))
            .zip(var.par_chunks_exact_mut(self.features))
            .with_min_len(grain())
            .for_each(|(((((out, y), gamma), beta), mean), var)| {
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        if self.source == Source::Batch {
                            moments(y, mean, var);
                        }
                        self.normalise(y, gamma, beta, mean, var, out);
                    },
                );
            });
        out
    }

    #[inline(always)]
    fn normalise<F: Float>(
        &self,
        y: &[F],
        gamma: &[F],
        beta: &[F],
        mean: &[F],
        var: &[F],
        out: &mut [F],
    ) {
        let n = self.features;
        let mut scale = Scratch::any(n);
        let mut shift = Scratch::any(n);
        let eps = F::constant(self.layer.eps);
        for i in 0..n {
            scale[i] = gamma[i] * inverse(var[i], eps);
            shift[i] = beta[i];
        }
        let (scale, shift, mean) = (&scale[..n], &shift[..n], &mean[..n]);
        for (out, y) in out.chunks_exact_mut(n).zip(y.chunks_exact(n)) {
            for i in 0..n {
                out[i] = self.layer.act.apply((y[i] - mean[i]) * scale[i] + shift[i]);
            }
        }
    }

    /// The gradients of `y`, γ and β.
    fn backward<F: Float>(&self, all: &Block<'_, F>) -> (Vec<F>, Vec<F>, Vec<F>) {
        let mut dy = vec![F::default(); all.y.len()];
        let mut dgamma = vec![F::default(); all.gamma.len()];
        let mut dbeta = dgamma.clone();
        if !dy.is_empty() {
            let arch = instruction_set::current();
            dy.par_chunks_exact_mut(self.rows * self.features)
                .zip(dgamma.par_chunks_exact_mut(self.features))
                .zip(dbeta.par_chunks_exact_mut(self.features))
                .enumerate()
                .with_min_len(grain())
                .for_each(|(index, ((dy, dgamma), dbeta))| {
                    let rows = |all| part(all, index, self.rows * self.features);
                    let features = |all| part(all, index, self.features);
                    let from = Block {
                        y: rows(all.y),
                        out: rows(all.out),
                        gradient: rows(all.gradient),
                        gamma: features(all.gamma),
                        mean: features(all.mean),
                        var: features(all.var),
                    };
                    vectorised(
                        arch,
                        #[inline(always)]
                        || self.one(&from, dy, dgamma, dbeta),
                    );
                });
        }
        (dy, dgamma, dbeta)
    }

    /// One block's gradients. With `ŷ = (y - mean) s`, `s = 1 / √(var + eps)` and g the gradient before the activation:
    /// `dβ = Σ g`, `dγ = Σ g ŷ`, and `dy = γ s (g - dβ / N - ŷ dγ / N)`, without the last two terms when mean and
    /// variance were given.
    #[inline(always)]
    fn one<F: Float>(&self, from: &Block<'_, F>, dy: &mut [F], dgamma: &mut [F], dbeta: &mut [F]) {
        let n = self.features;
        let eps = F::constant(self.layer.eps);
        let mut inv = Scratch::any(n);
        for (inv, var) in inv.iter_mut().zip(from.var) {
            *inv = inverse(*var, eps);
        }
        let (inv, mean, gamma) = (&inv[..n], &from.mean[..n], &from.gamma[..n]);
        let (dgamma, dbeta) = (&mut dgamma[..n], &mut dbeta[..n]);
        let lines = || {
            from.y.chunks_exact(n).zip(from.out.chunks_exact(n)).zip(from.gradient.chunks_exact(n))
        };
        for (dy, ((y, out), gradient)) in dy.chunks_exact_mut(n).zip(lines()) {
            for i in 0..n {
                let g = self.layer.act.back(out[i], gradient[i]);
                dy[i] = g;
                dbeta[i] += g;
                dgamma[i] += g * ((y[i] - mean[i]) * inv[i]);
            }
        }
        let share = match self.source {
            Source::Batch => F::constant(1.0 / self.rows as f64),
            Source::Given => F::default(),
        };
        for (dy, y) in dy.chunks_exact_mut(n).zip(from.y.chunks_exact(n)) {
            for i in 0..n {
                let normal = (y[i] - mean[i]) * inv[i];
                let through = (dbeta[i] + normal * dgamma[i]) * share;
                dy[i] = gamma[i] * inv[i] * (dy[i] - through);
            }
        }
    }
}

/// Part number `index` of `all`, each of `size` elements.
fn part<F>(all: &[F], index: usize, size: usize) -> &[F] {
    &all[index * size..][..size]
}

/// The inputs of the backward pass, of all blocks or of one.
struct Block<'a, F> {
    y: &'a [F],
    out: &'a [F],
    gradient: &'a [F],
    gamma: &'a [F],
    mean: &'a [F],
    var: &'a [F],
}

/// Mean and variance (divided by the number of rows) of each column; both start at zero.
#[inline(always)]
fn moments<F: Float>(rows: &[F], mean: &mut [F], var: &mut [F]) {
    let n = mean.len();
    let var = &mut var[..n];
    let share = F::constant(n as f64 / rows.len() as f64);
    sum_of_rows(
        rows,
        mean,
        #[inline(always)]
        |sums, row| {
            for i in 0..n {
                sums[i] += row[i];
            }
        },
    );
    for mean in mean.iter_mut() {
        *mean *= share;
    }
    let mean = &mean[..n];
    sum_of_rows(
        rows,
        var,
        #[inline(always)]
        |sums, row| {
            for i in 0..n {
                let off = row[i] - mean[i];
                sums[i] += off * off;
            }
        },
    );
    for var in var {
        *var *= share;
    }
}

/// Adds every row to `sums`, which start at zero, with `add`. More rows than [`ONE_RUN`] are added in short runs, and these in f64.
#[inline(always)]
fn sum_of_rows<F: Float>(rows: &[F], sums: &mut [F], add: impl Fn(&mut [F], &[F])) {
    let n = sums.len();
    if rows.len() <= ONE_RUN * n {
        for row in rows.chunks_exact(n) {
            add(sums, row);
        }
        return;
    }
    let mut totals = Scratch::<f64>::zeros(n);
    for run in rows.chunks(RUN * n) {
        sums.fill(F::default());
        for row in run.chunks_exact(n) {
            add(sums, row);
        }
        for (total, sum) in totals.iter_mut().zip(sums.iter()) {
            *total += sum.wide();
        }
    }
    for (sum, total) in sums.iter_mut().zip(totals.iter()) {
        *sum = F::constant(*total);
    }
}

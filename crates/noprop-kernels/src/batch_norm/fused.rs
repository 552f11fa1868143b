//! Batch normalisation on the CPU: three passes over rows that fit the cache, forward and backward.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{BatchNorm, BatchNormMode, BatchNormOutput, OP};
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::cpu::storage::{Stored, contiguous, is_f32, with_elements};
use crate::threads::grain;

/// The source of mean and variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The batch.
    Batch,
    /// The caller: constants in the backward pass.
    Given,
}

/// Mean and variance, `[T, F]` each: given before the forward pass, or left by it.
#[derive(Clone, Default)]
struct Statistics<F> {
    mean: Vec<F>,
    var: Vec<F>,
}

type Shared<F> = Arc<Mutex<Statistics<F>>>;

#[derive(Clone)]
struct Norm {
    layer: BatchNorm,
    blocks: usize,
    rows: usize,
    features: usize,
    source: Source,
    f32: Shared<f32>,
    f64: Shared<f64>,
}

/// See [`BatchNorm::forward`]; the arguments have been checked.
pub(super) fn apply(
    layer: BatchNorm,
    y: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mode: BatchNormMode<'_>,
) -> crate::Result<BatchNormOutput> {
    let (blocks, rows, features) = y.dims3()?;
    let source = match mode {
        BatchNormMode::Train => Source::Batch,
        BatchNormMode::Eval { .. } => Source::Given,
    };
    let (f32, f64) = Default::default();
    let op = Norm { layer, blocks, rows, features, source, f32, f64 };
    if let BatchNormMode::Eval { mean, var } = mode {
        if y.dtype() == DType::F32 {
            fill(&op.f32, mean, var)?;
        } else {
            fill(&op.f64, mean, var)?;
        }
    }
    let out = y.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op.clone())?;
    let (mean, var) = match mode {
        BatchNormMode::Eval { mean, var } => (mean.detach(), var.detach()),
        BatchNormMode::Train if y.dtype() == DType::F32 => tensors(&op.f32, gamma.shape())?,
        BatchNormMode::Train => tensors(&op.f64, gamma.shape())?,
    };
    Ok(BatchNormOutput { y: out, mean, var })
}

fn fill<F: Float>(shared: &Shared<F>, mean: &Tensor, var: &Tensor) -> Result<()> {
    let copy = |t: &Tensor| with_elements(&t.contiguous()?, |t: &[F]| Ok(t.to_vec()));
    let statistics = Statistics { mean: copy(mean)?, var: copy(var)? };
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = statistics;
    Ok(())
}

fn tensors<F: Float>(shared: &Shared<F>, shape: &Shape) -> Result<(Tensor, Tensor)> {
    let Statistics { mean, var } = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((Tensor::from_vec(mean, shape, &Device::Cpu)?, Tensor::from_vec(var, shape, &Device::Cpu)?))
}

/// `1 / √(var + eps)`.
#[inline(always)]
fn inverse<F: Float>(var: F, eps: F) -> F {
    F::one() / (var + eps).root()
}

impl Norm {
    fn forward<F: Float>(
        &self,
        parts: [(&CpuStorage, &Layout); 3],
        shared: &Shared<F>,
    ) -> Result<Vec<F>> {
        let [y, gamma, beta] = parts;
        let y = contiguous::<F>(y.0, y.1)?;
        let gamma = contiguous::<F>(gamma.0, gamma.1)?;
        let beta = contiguous::<F>(beta.0, beta.1)?;
        let mut statistics = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if self.source == Source::Batch {
            statistics.mean = vec![F::default(); gamma.len()];
            statistics.var = vec![F::default(); gamma.len()];
        }
        let mut out = vec![F::default(); y.len()];
        if out.is_empty() {
            return Ok(out);
        }
        let Statistics { mean, var } = &mut *statistics;
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
        Ok(out)
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

    fn backward<F: Float>(
        &self,
        y: &Tensor,
        gamma: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
        shared: &Shared<F>,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let statistics = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = gradient.contiguous()?;
        let (dy, dgamma, dbeta) = with_elements::<F, _>(y, |y| {
            with_elements(gamma, |gamma| {
                with_elements(out, |out| {
                    with_elements(&gradient, |gradient| {
                        Ok(self.gradients([y, gamma, out, gradient], &statistics))
                    })
                })
            })
        })?;
        let tensor = |elements, like: &Tensor| {
            Tensor::from_vec(elements, like.shape(), &Device::Cpu).map(Some)
        };
        Ok((tensor(dy, y)?, tensor(dgamma, gamma)?, tensor(dbeta, gamma)?))
    }

    fn gradients<F: Float>(
        &self,
        [y, gamma, out, gradient]: [&[F]; 4],
        statistics: &Statistics<F>,
    ) -> (Vec<F>, Vec<F>, Vec<F>) {
        let mut dy = vec![F::default(); y.len()];
        let mut dgamma = vec![F::default(); gamma.len()];
        let mut dbeta = vec![F::default(); gamma.len()];
        if !dy.is_empty() {
            let block = self.rows * self.features;
            let arch = instruction_set::current();
            dy.par_chunks_exact_mut(block)
                .zip(dgamma.par_chunks_exact_mut(self.features))
                .zip(dbeta.par_chunks_exact_mut(self.features))
                .enumerate()
                .with_min_len(grain())
                .for_each(|(index, ((dy, dgamma), dbeta))| {
                    let rows = index * block..(index + 1) * block;
                    let features = index * self.features..(index + 1) * self.features;
                    let from = Block {
                        y: &y[rows.clone()],
                        out: &out[rows.clone()],
                        gradient: &gradient[rows],
                        gamma: &gamma[features.clone()],
                        mean: &statistics.mean[features.clone()],
                        var: &statistics.var[features],
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

/// The inputs of one block's backward pass.
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
    for row in rows.chunks_exact(n) {
        for i in 0..n {
            mean[i] += row[i];
        }
    }
    for mean in mean.iter_mut() {
        *mean *= share;
    }
    for row in rows.chunks_exact(n) {
        for i in 0..n {
            let off = row[i] - mean[i];
            var[i] += off * off;
        }
    }
    for var in var {
        *var *= share;
    }
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let parts = [(y, y_layout), (gamma, gamma_layout), (beta, beta_layout)];
        let out = if is_f32(y) {
            f32::storage(self.forward(parts, &self.f32)?)
        } else {
            f64::storage(self.forward(parts, &self.f64)?)
        };
        Ok((out, Shape::from((self.blocks, self.rows, self.features))))
    }

    fn bwd(
        &self,
        y: &Tensor,
        gamma: &Tensor,
        _beta: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if y.dtype() == DType::F32 {
            self.backward(y, gamma, out, gradient, &self.f32)
        } else {
            self.backward(y, gamma, out, gradient, &self.f64)
        }
    }
}

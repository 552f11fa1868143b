//! The losses on the CPU, row by row. Gradients are computed again from the logits, so nothing is kept.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::Target;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// See [`super::denoise_loss`]; every label is a class.
pub(super) fn denoise_loss(
    logits: &Tensor,
    embeddings: &Tensor,
    targets: Vec<Target>,
) -> Result<Tensor> {
    match logits.dtype() {
        DType::F32 => denoise_loss_in::<f32>(logits, embeddings, targets),
        _ => denoise_loss_in::<f64>(logits, embeddings, targets),
    }
}

fn denoise_loss_in<F: Float>(
    logits: &Tensor,
    embeddings: &Tensor,
    targets: Vec<Target>,
) -> Result<Tensor> {
    let (blocks, rows, classes) = logits.dims3()?;
    let op = Denoise { blocks, rows, classes, width: embeddings.dim(1)?, targets };
    let arguments = [logits, embeddings];
    let [logits, embeddings] = arguments.map(|argument| argument.detach().contiguous());
    let (logits, embeddings) = (logits?, embeddings?);
    let losses = op.forward::<F>(&elements(&logits)?, &elements(&embeddings)?);
    node("denoise_loss", &arguments, on_cpu(losses, blocks), move |_, at_losses| {
        let at_losses = at_losses.contiguous()?;
        let (d_logits, d_embeddings) =
            op.backward::<F>(&elements(&logits)?, &elements(&embeddings)?, &elements(&at_losses)?);
        let d_embeddings = gradient(d_embeddings, embeddings.shape())?;
        Ok([gradient(d_logits, logits.shape())?, d_embeddings, None])
    })
}

/// See [`super::cross_entropy`]; every label is a class.
pub(super) fn cross_entropy(logits: &Tensor, targets: Vec<Target>) -> Result<Tensor> {
    match logits.dtype() {
        DType::F32 => cross_entropy_in::<f32>(logits, targets),
        _ => cross_entropy_in::<f64>(logits, targets),
    }
}

fn cross_entropy_in<F: Float>(logits: &Tensor, targets: Vec<Target>) -> Result<Tensor> {
    let (blocks, rows, classes) = logits.dims3()?;
    let op = CrossEntropy { blocks, rows, classes, targets };
    let kept = logits.detach().contiguous()?;
    let losses = op.forward::<F>(&elements(&kept)?);
    node("cross_entropy", &[logits], on_cpu(losses, blocks), move |_, at_losses| {
        let d_logits = op.backward::<F>(&elements(&kept)?, &elements(&at_losses.contiguous()?)?);
        Ok([gradient(d_logits, kept.shape())?, None, None])
    })
}

/// Writes `softmax(logits)` to `weights` and returns `log Σ exp logits`.
#[inline(always)]
fn softmax<F: Float>(logits: &[F], weights: &mut [F]) -> F {
    let mut top = logits[0];
    for v in logits {
        if *v > top {
            top = *v;
        }
    }
    let mut sum = F::default();
    for (weight, v) in weights.iter_mut().zip(logits) {
        *weight = (*v - top).exponential();
        sum += *weight;
    }
    for weight in weights.iter_mut() {
        *weight /= sum;
    }
    top + sum.logarithm()
}

/// The denoising loss of one call. `width` is that of the embeddings.
struct Denoise {
    blocks: usize,
    rows: usize,
    classes: usize,
    width: usize,
    targets: Vec<Target>,
}

/// Room for one row's weights and error.
struct Row<F: Float> {
    weights: Scratch<F>,
    error: Scratch<F>,
}

impl Denoise {
    fn row<F: Float>(&self) -> Row<F> {
        Row { weights: Scratch::any(self.classes), error: Scratch::any(self.width) }
    }

    /// Computes the softmax weights and `softmax(logits) E − E[y]` of one row.
    #[inline(always)]
    fn error<F: Float>(&self, logits: &[F], embeddings: &[F], label: u32, row: &mut Row<F>) {
        let width = self.width;
        softmax(logits, &mut row.weights);
        let target = &embeddings[label as usize * width..][..width];
        for (error, v) in row.error.iter_mut().zip(target) {
            *error = F::default() - *v;
        }
        for (embedding, weight) in embeddings.chunks_exact(width).zip(row.weights.iter()) {
            for (error, v) in row.error.iter_mut().zip(embedding) {
                *error += *weight * *v;
            }
        }
    }

    /// The loss of each block.
    fn forward<F: Float>(&self, logits: &[F], embeddings: &[F]) -> Vec<F> {
        let &Self { blocks, rows, classes, width, .. } = self;
        let arch = instruction_set::current();
        let mut losses = vec![F::default(); blocks];
        if logits.is_empty() || width == 0 {
            return losses;
        }
        losses
            .par_iter_mut()
            .zip(logits.par_chunks_exact(rows * classes))
            .with_min_len(grain())
            .for_each(|(loss, logits)| {
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        let mut row = self.row();
                        let mut sum = F::default();
                        for (logits, target) in logits.chunks_exact(classes).zip(&self.targets) {
                            self.error(logits, embeddings, target.label, &mut row);
                            let mut square = F::default();
                            for v in row.error.iter() {
                                square += *v * *v;
                            }
                            sum += square * F::constant(target.weight);
                        }
                        *loss = sum * F::constant(1.0 / rows as f64);
                    },
                );
            });
        losses
    }

    /// The gradients. With e the error of a row and p its weights: `d logits = p ⊙ (2 e Eᵀ − Σ p ⊙ 2 e Eᵀ)`. E gets
    /// `p ⊗ 2 e` from the prediction, and `−2 e` at the label from the target.
    fn backward<F: Float>(
        &self,
        logits: &[F],
        embeddings: &[F],
        gradient: &[F],
    ) -> (Vec<F>, Vec<F>) {
        let &Self { blocks, rows, classes, width, .. } = self;
        let arch = instruction_set::current();
        let mut d_logits = vec![F::default(); logits.len()];
        let mut d_embeddings = vec![F::default(); embeddings.len()];
        if logits.is_empty() || width == 0 {
            return (d_logits, d_embeddings);
        }
        let mut shares = Scratch::zeros(blocks * embeddings.len());
        d_logits
            .par_chunks_exact_mut(rows * classes)
            .zip(logits.par_chunks_exact(rows * classes))
            .zip(shares.par_chunks_exact_mut(embeddings.len()))
            .zip(gradient)
            .with_min_len(grain())
            .for_each(|(((d_logits, logits), share), gradient)| {
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        let factor = *gradient * F::constant(2.0 / rows as f64);
                        let mut row = self.row();
                        let lines =
                            d_logits.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
                        for ((d_logits, logits), target) in lines.zip(&self.targets) {
                            let factor = factor * F::constant(target.weight);
                            let label = target.label;
                            self.error(logits, embeddings, label, &mut row);
                            self.spread(&mut row, factor, embeddings, label, d_logits, share);
                        }
                    },
                );
            });
        for share in shares.chunks_exact(embeddings.len()) {
            for (sum, v) in d_embeddings.iter_mut().zip(share) {
                *sum += *v;
            }
        }
        (d_logits, d_embeddings)
    }

    #[inline(always)]
    fn spread<F: Float>(
        &self,
        row: &mut Row<F>,
        factor: F,
        embeddings: &[F],
        label: u32,
        d_logits: &mut [F],
        share: &mut [F],
    ) {
        let width = self.width;
        for error in row.error.iter_mut() {
            *error *= factor;
        }
        let mut mean = F::default();
        for ((d, weight), embedding) in
            d_logits.iter_mut().zip(row.weights.iter()).zip(embeddings.chunks_exact(width))
        {
            let mut dot = F::default();
            for (error, v) in row.error.iter().zip(embedding) {
                dot += *error * *v;
            }
            *d = dot;
            mean += *weight * dot;
        }
        for (d, weight) in d_logits.iter_mut().zip(row.weights.iter()) {
            *d = *weight * (*d - mean);
        }
        for (share, weight) in share.chunks_exact_mut(width).zip(row.weights.iter()) {
            for (share, error) in share.iter_mut().zip(row.error.iter()) {
                *share += *weight * *error;
            }
        }
        let target = &mut share[label as usize * width..][..width];
        for (share, error) in target.iter_mut().zip(row.error.iter()) {
            *share -= *error;
        }
    }
}

/// The cross-entropy of one call.
struct CrossEntropy {
    blocks: usize,
    rows: usize,
    classes: usize,
    targets: Vec<Target>,
}

impl CrossEntropy {
    /// The loss of each block.
    fn forward<F: Float>(&self, logits: &[F]) -> Vec<F> {
        let &Self { blocks, rows, classes, .. } = self;
        let mut losses = vec![F::default(); blocks];
        let mut weights = Scratch::any(classes);
        if !logits.is_empty() {
            for (loss, logits) in losses.iter_mut().zip(logits.chunks_exact(rows * classes)) {
                for (logits, target) in logits.chunks_exact(classes).zip(&self.targets) {
                    let surprise = softmax(logits, &mut weights) - logits[target.label as usize];
                    *loss += surprise * F::constant(target.weight);
                }
                *loss *= F::constant(1.0 / rows as f64);
            }
        }
        losses
    }

    /// The gradient of the logits.
    fn backward<F: Float>(&self, logits: &[F], gradient: &[F]) -> Vec<F> {
        let &Self { rows, classes, .. } = self;
        let mut d_logits = vec![F::default(); logits.len()];
        if logits.is_empty() {
            return d_logits;
        }
        let blocks =
            d_logits.chunks_exact_mut(rows * classes).zip(logits.chunks_exact(rows * classes));
        for ((d_logits, logits), gradient) in blocks.zip(gradient) {
            let factor = *gradient * F::constant(1.0 / rows as f64);
            let lines = d_logits.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
            for ((d, logits), target) in lines.zip(&self.targets) {
                let factor = factor * F::constant(target.weight);
                softmax(logits, d);
                d[target.label as usize] -= F::one();
                for d in d.iter_mut() {
                    *d *= factor;
                }
            }
        }
        d_logits
    }
}

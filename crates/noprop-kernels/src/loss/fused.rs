//! The losses on the CPU, row by row. Gradients are computed again from the logits, so nothing is kept.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::Target;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::cpu::storage::{Stored, contiguous, is_f32, with_elements};
use crate::threads::grain;

/// The sizes of one call. `width` is that of the embeddings.
#[derive(Clone, Copy)]
struct Sizes {
    blocks: usize,
    rows: usize,
    classes: usize,
    width: usize,
}

/// See [`super::denoise_loss`]; every label is a class.
pub(super) fn denoise_loss(
    logits: &Tensor,
    embeddings: &Tensor,
    targets: Vec<Target>,
) -> crate::Result<Tensor> {
    let (blocks, rows, classes) = logits.dims3()?;
    let sizes = Sizes { blocks, rows, classes, width: embeddings.dim(1)? };
    let op = Denoise { sizes, targets };
    Ok(logits.contiguous()?.apply_op2(&embeddings.contiguous()?, op)?)
}

/// See [`super::cross_entropy`]; every label is a class.
pub(super) fn cross_entropy(logits: &Tensor, targets: Vec<Target>) -> crate::Result<Tensor> {
    let (blocks, rows, classes) = logits.dims3()?;
    let sizes = Sizes { blocks, rows, classes, width: 0 };
    let op = CrossEntropy { sizes, targets };
    Ok(logits.contiguous()?.apply_op1(op)?)
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

struct Denoise {
    sizes: Sizes,
    targets: Vec<Target>,
}

/// Room for one row's weights and error.
struct Row<F: Float> {
    weights: Scratch<F>,
    error: Scratch<F>,
}

impl Denoise {
    fn row<F: Float>(&self) -> Row<F> {
        Row { weights: Scratch::any(self.sizes.classes), error: Scratch::any(self.sizes.width) }
    }

    /// Computes the softmax weights and `softmax(logits) E − E[y]` of one row.
    #[inline(always)]
    fn error<F: Float>(&self, logits: &[F], embeddings: &[F], label: u32, row: &mut Row<F>) {
        let width = self.sizes.width;
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
        let Sizes { blocks, rows, classes, width } = self.sizes;
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
        let Sizes { blocks, rows, classes, width } = self.sizes;
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
        let width = self.sizes.width;
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

    fn tensors<F: Float>(
        &self,
        logits: &Tensor,
        embeddings: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (d_logits, d_embeddings) = with_elements::<F, _>(logits, |logits| {
            with_elements(embeddings, |embeddings| {
                with_elements(&gradient, |gradient| Ok(self.backward(logits, embeddings, gradient)))
            })
        })?;
        Ok((
            Some(Tensor::from_vec(d_logits, logits.shape(), &Device::Cpu)?),
            Some(Tensor::from_vec(d_embeddings, embeddings.shape(), &Device::Cpu)?),
        ))
    }
}

impl CustomOp2 for Denoise {
    fn name(&self) -> &'static str {
        "denoise_loss"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        embeddings: &CpuStorage,
        embeddings_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let losses = if is_f32(logits) {
            let logits = contiguous(logits, logits_layout)?;
            f32::storage(self.forward(logits, contiguous(embeddings, embeddings_layout)?))
        } else {
            let logits = contiguous(logits, logits_layout)?;
            f64::storage(self.forward(logits, contiguous(embeddings, embeddings_layout)?))
        };
        Ok((losses, Shape::from(self.sizes.blocks)))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        embeddings: &Tensor,
        _losses: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if logits.dtype() == DType::F32 {
            self.tensors::<f32>(logits, embeddings, gradient)
        } else {
            self.tensors::<f64>(logits, embeddings, gradient)
        }
    }
}

struct CrossEntropy {
    sizes: Sizes,
    targets: Vec<Target>,
}

impl CrossEntropy {
    fn forward<F: Float>(&self, logits: &[F]) -> Vec<F> {
        let Sizes { blocks, rows, classes, .. } = self.sizes;
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

    fn backward<F: Float>(&self, logits: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Sizes { rows, classes, .. } = self.sizes;
        let gradient = gradient.contiguous()?;
        let d_logits = with_elements::<F, _>(logits, |logits| {
            with_elements(&gradient, |gradient: &[F]| {
                let mut d_logits = vec![F::default(); logits.len()];
                if !logits.is_empty() {
                    let blocks = d_logits
                        .chunks_exact_mut(rows * classes)
                        .zip(logits.chunks_exact(rows * classes));
                    for ((d_logits, logits), gradient) in blocks.zip(gradient) {
                        let factor = *gradient * F::constant(1.0 / rows as f64);
                        let lines =
                            d_logits.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
                        for ((d, logits), target) in lines.zip(&self.targets) {
                            let factor = factor * F::constant(target.weight);
                            softmax(logits, d);
                            let hit = &mut d[target.label as usize];
                            *hit -= F::one();
                            for d in d.iter_mut() {
                                *d *= factor;
                            }
                        }
                    }
                }
                Ok(d_logits)
            })
        })?;
        Tensor::from_vec(d_logits, logits.shape(), &Device::Cpu).map(Some)
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let losses = if is_f32(logits) {
            f32::storage(self.forward(contiguous(logits, layout)?))
        } else {
            f64::storage(self.forward(contiguous(logits, layout)?))
        };
        Ok((losses, Shape::from(self.sizes.blocks)))
    }

    fn bwd(&self, logits: &Tensor, _losses: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if logits.dtype() == DType::F32 {
            self.backward::<f32>(logits, gradient)
        } else {
            self.backward::<f64>(logits, gradient)
        }
    }
}

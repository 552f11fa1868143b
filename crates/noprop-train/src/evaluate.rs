//! How well the whole chain classifies, and how well each block alone would have.

use std::num::NonZeroUsize;

use candle_core::{D, Device, Tensor};
use noprop_data::Split;
use noprop_kernels::threads::{self, Workers};
use noprop_method::{Denoiser, Encoded, Objective, Sampler, classify, classify_encoded};

use crate::TrainError;

/// Images that a thread classifies at a time: few enough for what lies between two layers to stay in its cache.
const CHUNK: usize = 128;

/// Images that a GPU classifies at a time.
const GPU_CHUNK: usize = 2000;

/// Images at a time, and how many chunks at once. A GPU has one queue.
fn chunks(device: &Device) -> (usize, Workers) {
    match device {
        Device::Cpu => (CHUNK, Workers::Auto),
        Device::Cuda(_) | Device::Metal(_) => (GPU_CHUNK, Workers::Exactly(NonZeroUsize::MIN)),
    }
}

/// The outcome of classifying a whole split. Labels were used to count, and for nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Images classified correctly.
    pub correct: usize,
    /// Images classified.
    pub total: usize,
    /// The share of images that each block's own class probabilities get right, block 1 first; empty where a block alone has
    /// no answer.
    pub per_block: Vec<f64>,
    /// The predicted class of every image.
    pub predictions: Vec<u32>,
    /// Images by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<u64>>,
}

impl Evaluation {
    /// The share of images classified correctly, 0..=1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }
}

/// Classifies every image of `split` and counts.
///
/// The images are classified first, by a function that takes no labels; then the labels are compared.
///
/// # Errors
/// [`TrainError::Method`] if network, objective and images do not fit together.
pub fn evaluate(
    network: &dyn Denoiser,
    objective: &dyn Objective,
    split: &Split,
    sampler: &Sampler,
) -> Result<Evaluation, TrainError> {
    let (chunk, workers) = chunks(split.labels.device());
    let starts: Vec<usize> = (0..split.len()).step_by(chunk).collect();
    let answers = threads::side_by_side(workers, starts, |start| {
        let images = split.range(start..start + chunk)?;
        let rows: Vec<u32> = (start..start + images.dim(0)?).map(row_id).collect();
        let answer = classify(network, objective, &images, &rows, sampler)?;
        let by_block = answer.per_block.iter().map(top).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, TrainError>((top(&answer.probabilities)?, by_block))
    });
    let mut predictions = Vec::with_capacity(split.len());
    let mut by_block: Vec<Vec<u32>> = Vec::new();
    for answer in answers {
        let (chain, blocks) = answer?;
        predictions.extend(chain);
        by_block.resize_with(blocks.len(), Vec::new);
        for (labels, more) in by_block.iter_mut().zip(blocks) {
            labels.extend(more);
        }
    }

    let truth = split.labels.to_vec1::<u32>()?;
    let classes = network.class_embeddings().dim(0)?;
    let mut confusion = vec![vec![0u64; classes]; classes];
    for (&true_class, &predicted) in truth.iter().zip(&predictions) {
        if let Some(cell) =
            confusion.get_mut(true_class as usize).and_then(|row| row.get_mut(predicted as usize))
        {
            *cell += 1;
        }
    }
    let hits = |labels: &[u32]| labels.iter().zip(&truth).filter(|(a, b)| a == b).count();
    Ok(Evaluation {
        correct: hits(&predictions),
        total: truth.len(),
        per_block: by_block
            .iter()
            .map(|labels| hits(labels) as f64 / truth.len().max(1) as f64)
            .collect(),
        predictions,
        confusion,
    })
}

/// The share of `split` that each of `samplers` classifies correctly, in their order. The image branches run once for all of
/// them; labels were used to count, and for nothing else.
///
/// # Errors
/// As for [`evaluate`].
pub fn accuracies(
    network: &dyn Denoiser,
    objective: &dyn Objective,
    split: &Split,
    samplers: &[Sampler],
) -> Result<Vec<f64>, TrainError> {
    let (chunk, workers) = chunks(split.labels.device());
    let starts: Vec<usize> = (0..split.len()).step_by(chunk).collect();
    let answers = threads::side_by_side(workers, starts, |start| {
        let images = split.range(start..start + chunk)?;
        let rows: Vec<u32> = (start..start + images.dim(0)?).map(row_id).collect();
        let encoded = Encoded::new(network, &images)?;
        samplers
            .iter()
            .map(|sampler| {
                let answer = classify_encoded(network, objective, &encoded, &rows, sampler)?;
                top(&answer.probabilities)
            })
            .collect::<Result<Vec<_>, TrainError>>()
    });
    let mut predictions: Vec<Vec<u32>> = vec![Vec::with_capacity(split.len()); samplers.len()];
    for answer in answers {
        for (all, more) in predictions.iter_mut().zip(answer?) {
            all.extend(more);
        }
    }
    let truth = split.labels.to_vec1::<u32>()?;
    let share = |labels: Vec<u32>| {
        let hits = labels.iter().zip(&truth).filter(|(a, b)| a == b).count();
        hits as f64 / truth.len().max(1) as f64
    };
    Ok(predictions.into_iter().map(share).collect())
}

fn row_id(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

fn top(probabilities: &Tensor) -> Result<Vec<u32>, TrainError> {
    Ok(probabilities.argmax(D::Minus1)?.to_vec1()?)
}

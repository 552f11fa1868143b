//! The accuracy of the whole chain, and of each block in it.

use std::num::NonZeroUsize;

use candle_core::{Device, Tensor};
use noprop_data::Split;
use noprop_kernels::threads::{self, Workers};
use noprop_method::{
    Denoiser, Encoded, Method, MethodError, Sampler, classify, classify_encoded, most_probable,
};

use crate::TrainError;

/// The number of images that a thread classifies at a time. It is small enough for the values between two layers to stay in the
/// cache.
const CHUNK: usize = 128;

/// The number of images that a GPU classifies at a time.
const GPU_CHUNK: usize = 2000;

/// The results that are kept for every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The predicted class.
    Class,
    /// The predicted class and the probabilities of all classes: four bytes for each image and class.
    Probabilities,
}

/// The outcome of classifying a whole split. Labels are used only to count.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The number of images classified correctly.
    pub correct: usize,
    /// The number of images classified.
    pub total: usize,
    /// The share of images that each block's own class probabilities classify correctly, block 1 first, 0..=1; empty if a
    /// single block gives no class probabilities.
    pub per_block: Vec<f64>,
    /// The true class of every image.
    pub truth: Vec<u32>,
    /// The predicted class of every image.
    pub predictions: Vec<u32>,
    /// The probabilities of all classes, [N, classes], row by row; `None` without [`Keep::Probabilities`].
    pub probabilities: Option<Vec<f32>>,
    /// The number of images by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<u64>>,
}

impl Evaluation {
    /// Returns the share of images classified correctly, 0..=1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }

    /// Returns the share of images whose true class is among the `k` most probable ones, 0..=1; `None` without probabilities.
    /// Classes that are equally probable are ranked by number, the lowest first.
    pub fn accuracy_within(&self, k: usize) -> Option<f64> {
        let rows = self.probabilities.as_ref()?.chunks_exact(self.confusion.len().max(1));
        let hits = rows.zip(&self.truth).filter(|&(row, &truth)| rank(row, truth as usize) < k);
        Some(hits.count() as f64 / self.total.max(1) as f64)
    }
}

/// Returns the number of classes that rank before `class` in order of falling probability. A class whose probability is NaN,
/// which damaged weights can give, ranks last.
fn rank(probabilities: &[f32], class: usize) -> usize {
    let Some(&own) = probabilities.get(class).filter(|own| !own.is_nan()) else {
        return usize::MAX;
    };
    let before = |&(other, &p): &(usize, &f32)| p > own || (p == own && other < class);
    probabilities.iter().enumerate().filter(before).count()
}

/// Classifies every image of `split`, and counts the correct predictions.
///
/// A function that takes no labels classifies the images first; then the predictions are compared with the labels.
///
/// # Errors
/// [`TrainError::Method`] if network, method and images do not match.
pub fn evaluate(
    network: &dyn Denoiser,
    method: &dyn Method,
    split: &Split,
    sampler: &Sampler,
) -> Result<Evaluation, TrainError> {
    evaluate_keeping(Keep::Class, network, method, split, sampler)
}

/// As [`evaluate`], but keeps for every image the results that `keep` names.
///
/// # Errors
/// As for [`evaluate`].
pub fn evaluate_keeping(
    keep: Keep,
    network: &dyn Denoiser,
    method: &dyn Method,
    split: &Split,
    sampler: &Sampler,
) -> Result<Evaluation, TrainError> {
    let answers = in_chunks(split, |images, rows| {
        let answer = classify(network, method, images, rows, sampler)?;
        let by_block = answer.per_block.iter().map(most_probable).collect::<Result<Vec<_>, _>>()?;
        let probabilities = match keep {
            Keep::Class => Vec::new(),
            Keep::Probabilities => answer.probabilities.flatten_all()?.to_vec1::<f32>()?,
        };
        Ok((most_probable(&answer.probabilities)?, by_block, probabilities))
    })?;
    let mut predictions = Vec::with_capacity(split.len());
    let mut probabilities = Vec::new();
    let mut by_block: Vec<Vec<u32>> = Vec::new();
    for (chain, blocks, more) in answers {
        predictions.extend(chain);
        probabilities.extend(more);
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
    Ok(Evaluation {
        correct: hits(&predictions, &truth),
        total: truth.len(),
        per_block: by_block.iter().map(|labels| share(labels, &truth)).collect(),
        truth,
        predictions,
        probabilities: (keep == Keep::Probabilities).then_some(probabilities),
        confusion,
    })
}

/// Returns the share of `split` that each of `samplers` classifies correctly, 0..=1, in the order of the samplers. The image
/// branches run once for all samplers. Labels are used only to count.
///
/// # Errors
/// As for [`evaluate`].
pub fn accuracies(
    network: &dyn Denoiser,
    method: &dyn Method,
    split: &Split,
    samplers: &[Sampler],
) -> Result<Vec<f64>, TrainError> {
    let answers: Vec<Vec<Vec<u32>>> = in_chunks(split, |images, rows| {
        let encoded = Encoded::new(network, images)?;
        let answer = |sampler| classify_encoded(network, method, &encoded, rows, sampler);
        let answers = samplers.iter().map(|sampler| most_probable(&answer(sampler)?.probabilities));
        Ok(answers.collect::<Result<_, MethodError>>()?)
    })?;
    let mut predictions: Vec<Vec<u32>> = vec![Vec::with_capacity(split.len()); samplers.len()];
    for answer in answers {
        for (all, more) in predictions.iter_mut().zip(answer) {
            all.extend(more);
        }
    }
    let truth = split.labels.to_vec1::<u32>()?;
    Ok(predictions.iter().map(|labels| share(labels, &truth)).collect())
}

/// Calls `answer` with a few images of `split` at a time, [n, C, H, W], and their ids, on all threads. Returns the answers in the
/// order of the images.
///
/// # Errors
/// Those of `answer`, and candle's.
pub fn in_chunks<T: Send>(
    split: &Split,
    answer: impl Fn(&Tensor, &[u32]) -> Result<T, TrainError> + Sync,
) -> Result<Vec<T>, TrainError> {
    let (chunk, workers) = match split.labels.device() {
        Device::Cpu => (CHUNK, Workers::Auto),
        // A GPU has one queue.
        Device::Cuda(_) | Device::Metal(_) => (GPU_CHUNK, Workers::Exactly(NonZeroUsize::MIN)),
    };
    let starts: Vec<usize> = (0..split.len()).step_by(chunk).collect();
    let answers = threads::side_by_side(workers, starts, |start| {
        let images = split.range(start..start + chunk)?;
        let rows = start..start + images.dim(0)?;
        let rows: Vec<u32> = rows.map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
        answer(&images, &rows)
    });
    answers.into_iter().collect()
}

fn hits(labels: &[u32], truth: &[u32]) -> usize {
    labels.iter().zip(truth).filter(|(a, b)| a == b).count()
}

fn share(labels: &[u32], truth: &[u32]) -> f64 {
    hits(labels, truth) as f64 / truth.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of equal probabilities only one class takes each rank, and NaN must not count for any class.
    #[test]
    fn the_true_class_is_looked_for_among_the_most_probable() {
        let row = [0.1, 0.4, 0.4, 0.1];
        let test = Evaluation {
            correct: 1,
            total: 4,
            per_block: Vec::new(),
            truth: vec![1, 2, 0, 3],
            predictions: vec![1; 4],
            probabilities: Some(row.repeat(4)),
            confusion: vec![vec![0; 4]; 4],
        };
        let within = [1, 2, 3, 4].map(|k| test.accuracy_within(k));
        assert_eq!(within, [Some(0.25), Some(0.5), Some(0.75), Some(1.0)]);
        let probabilities = Some(vec![f32::NAN; 16]);
        assert_eq!(Evaluation { probabilities, ..test.clone() }.accuracy_within(4), Some(0.0));
        assert_eq!(Evaluation { probabilities: None, ..test }.accuracy_within(1), None);
    }
}

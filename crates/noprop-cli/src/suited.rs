//! Default settings that fit the data: the presets are made for MNIST's 55,000 images, a folder may hold fifty.

use anyhow::{Result, ensure};
use noprop_data::Dataset;
use noprop_models::EmbeddingStart;

use crate::config::{Method, RunConfig};
use crate::resolve::Asked;
use crate::source::Source;

/// The share of the training images that is held out, at most.
const HELD_OUT: usize = 10;
/// The share of a training's steps that its warm-up takes, at most.
const WARM_UP: u64 = 10;
/// Images that a training needs: a batch norm wants two.
const LEAST_IMAGES: usize = 2;
/// Steps that an epoch should have, and the smallest batch that is chosen for them.
const EPOCH_STEPS: usize = 100;
const LEAST_BATCH: usize = 8;
/// Steps that a training should have, and the most epochs that are chosen for them.
const STEPS: u64 = 1000;
const MOST_EPOCHS: u32 = 60;

impl RunConfig {
    /// Fits the settings that were not asked for to the data. Returns a line with those that were chosen, if any were.
    pub fn fit_to(&mut self, data: &Dataset, asked: &Asked) -> Result<Option<String>> {
        self.embedding_start = self.embedding_start.map(|start| {
            let rows = data.class_names.len();
            // As in the paper: orthogonal where that is possible, and random otherwise.
            let too_many = self.embedding.dimension(rows).is_some_and(|columns| rows > columns);
            let usual = start == EmbeddingStart::Orthogonal && !asked.contains("embedding-start");
            if usual && too_many { EmbeddingStart::Random } else { start }
        });
        let given = self.clone();
        let images = data.train.len();
        let in_folder = matches!(self.dataset, Source::Folder(_));
        match &data.validation {
            Some(held) => {
                ensure!(
                    !asked.contains("validation") || self.validation == held.len(),
                    "validation is {}, but the data bring {} held-out images of their own: leave it out",
                    self.validation,
                    held.len()
                );
                self.validation = held.len();
            }
            None if in_folder && !asked.contains("validation") => {
                self.validation = self.validation.min(images.div_ceil(HELD_OUT));
            }
            None => {}
        }
        let train = match data.validation {
            Some(_) => images,
            None => images.saturating_sub(self.validation),
        };
        ensure!(
            !in_folder || train >= LEAST_IMAGES || asked.contains("validation"),
            "{images} training image(s) are too few: some are held out to choose the epoch, and at least {LEAST_IMAGES} must be left to train on"
        );
        // On the bundled sample dt learns well with the preset's batches, and the others do not (docs/results.md).
        let small_batches = in_folder || self.method != Method::Dt;
        if small_batches && !asked.contains("batch-size") {
            self.batch_size = self.batch_size.min(batch_size(train));
        }
        let steps = u64::from(self.train().steps_per_epoch(train)).max(1);
        if in_folder && !asked.contains("epochs") {
            let enough = u32::try_from(STEPS.div_ceil(steps)).unwrap_or(MOST_EPOCHS);
            self.epochs = self.epochs.max(enough.min(MOST_EPOCHS));
        }
        if !asked.contains("warmup-steps") {
            let most = steps * u64::from(self.epochs) / WARM_UP;
            self.warmup_steps = self.warmup_steps.min(u32::try_from(most).unwrap_or(u32::MAX));
        }
        Ok((*self != given).then(|| {
            format!(
                "for {train} training images: batch size {}, {} epoch(s) of {steps} step(s), {} of them warm-up, {} image(s) held out",
                self.batch_size,
                self.epochs,
                self.warmup_steps,
                self.validation
            )
        }))
    }
}

/// The power of two that gives an epoch enough steps.
fn batch_size(images: usize) -> usize {
    let most = (images / EPOCH_STEPS).max(LEAST_BATCH).min(images.max(2));
    // The largest power of two that is not above it; 2 at least, for a batch norm.
    (most / 2 + 1).next_power_of_two().max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch larger than the data is refused, and a single batch an epoch learns little.
    #[test]
    fn batches_fit_small_data() {
        let sizes = [1, 2, 3, 7, 8, 54, 1_599, 1_600, 3_500, 12_800].map(batch_size);
        assert_eq!(sizes, [2, 2, 2, 4, 8, 8, 8, 16, 32, 128]);
    }
}

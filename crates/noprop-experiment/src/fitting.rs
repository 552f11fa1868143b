//! Default settings that fit the data: the presets are made for MNIST's 55,000 images, a folder or an array may hold fifty.

use noprop_data::{Dataset, Split};

use crate::error::{Result, ensure};
use crate::settings::{Settings, Setup};
use crate::source::Source;
use noprop_method::{EmbeddingLength, MethodKind};

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

/// The sizes of a data set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Images for training, and for validation if the data do not bring them.
    pub train: usize,
    /// Images that the data themselves hold out.
    pub validation: Option<usize>,
    pub classes: usize,
}

impl Sizes {
    pub fn of(data: &Dataset) -> Self {
        Self {
            train: data.train.len(),
            validation: data.validation.as_ref().map(Split::len),
            classes: data.class_names.len(),
        }
    }
}

impl Setup {
    /// Fits the settings that were not `asked` for to the data. Returns a line with those that were chosen, if any were.
    ///
    /// # Errors
    /// If the data have held-out images of their own and another number was asked for; if there are too few training images.
    pub(crate) fn fit_to(&mut self, data: Sizes, asked: &Settings) -> Result<Option<String>> {
        if asked.embedding_start.is_none() && self.embedding_start == self.embedding.usual_start() {
            self.embedding_start = self.embedding.usual_start_of(data.classes);
        }
        let given = self.clone();
        let images = data.train;
        // Presets know the sizes of known data sets.
        let any_size = !matches!(self.dataset, Source::Known(_));
        match data.validation {
            Some(held) => {
                ensure!(
                    asked.validation.is_none() || self.validation == held,
                    "validation is {}, but the data bring {} held-out images of their own: leave it out",
                    self.validation,
                    held
                );
                self.validation = held;
            }
            None if any_size && asked.validation.is_none() => {
                self.validation = self.validation.min(images.div_ceil(HELD_OUT));
            }
            None => {}
        }
        let train = match data.validation {
            Some(_) => images,
            None => images.saturating_sub(self.validation),
        };
        ensure!(
            !any_size || train >= LEAST_IMAGES || asked.validation.is_some(),
            "{images} training image(s) are too few: some are held out to choose the epoch, and at least {LEAST_IMAGES} must be left to train on"
        );
        // On the bundled sample dt learns well with the preset's batches, and the others do not (docs/results.md).
        let small_batches = any_size || self.method != MethodKind::DT;
        if small_batches && asked.batch_size.is_none() {
            self.batch_size = self.batch_size.min(batch_size(train));
        }
        let steps = u64::from(self.train().steps_per_epoch(train)).max(1);
        if any_size && asked.epochs.is_none() {
            let enough = u32::try_from(STEPS.div_ceil(steps)).unwrap_or(MOST_EPOCHS);
            self.epochs = self.epochs.max(enough.min(MOST_EPOCHS));
        }
        if asked.warmup_steps.is_none() {
            let most = steps * u64::from(self.epochs) / WARM_UP;
            self.warmup_steps = self.warmup_steps.min(u32::try_from(most).unwrap_or(u32::MAX));
        }
        let chosen = (*self != given).then(|| {
            format!(
                "for {train} training images: batch size {}, {} epoch(s) of {steps} step(s), {} of them warm-up, {} image(s) held out",
                self.batch_size, self.epochs, self.warmup_steps, self.validation
            )
        });
        self.fit_embedding_scale(data.classes);
        Ok(chosen)
    }

    /// Chooses the length of class embeddings, unless it was given or each has the length of its prototype.
    fn fit_embedding_scale(&mut self, classes: usize) {
        if self.start_has_length_of_prototypes() {
            return;
        }
        // Embeddings that are images have a length of their own.
        let dimension = match self.method.embedding_length {
            EmbeddingLength::One => None,
            EmbeddingLength::TenthOfDimension => self.embedding.dimension(classes),
        };
        let scale = dimension.map_or(1.0, |dimension| (dimension as f64 / 10.0).max(1.0));
        self.embedding_scale.get_or_insert(scale);
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
    use noprop_models::Embedding;

    use super::*;
    use crate::layers::Layers;
    use crate::preset::Preset;

    /// A batch larger than the data is refused, and a single batch an epoch learns little.
    #[test]
    fn batches_fit_small_data() {
        let sizes = [1, 2, 3, 7, 8, 54, 1_599, 1_600, 3_500, 12_800].map(batch_size);
        assert_eq!(sizes, [2, 2, 2, 4, 8, 8, 8, 16, 32, 128]);
    }

    fn scale(settings: Settings, classes: usize) -> Option<f64> {
        let layers = Layers { preset: Some(Preset::Mnist), settings, ..Layers::default() };
        let mut setup = layers.resolve(|_| Ok(Preset::Mnist)).unwrap().setup;
        setup.fit_embedding_scale(classes);
        setup.embedding_scale
    }

    /// A unit vector among a hundred classes drowns in the noise of flow matching, and learns nothing.
    #[test]
    fn embeddings_of_many_classes_stand_out_of_the_noise() {
        let fm = || Settings { method: Some(MethodKind::FM), ..Settings::default() };
        let embedded = |embedding| Settings { embedding: Some(embedding), ..fm() };
        assert_eq!(scale(fm(), 10), Some(1.0));
        assert_eq!(scale(fm(), 100), Some(10.0));
        assert_eq!(scale(embedded(Embedding::Learned { dimension: 20 }), 100), Some(2.0));
        assert_eq!(scale(embedded(Embedding::Prototype), 100), Some(1.0));
        assert_eq!(scale(Settings { embedding_scale: Some(3.0), ..fm() }, 100), Some(3.0));
        assert_eq!(scale(Settings::default(), 100), Some(1.0));
    }

    /// A reproduction compares the settings of a run with those of its preset, before they are fitted to data.
    #[test]
    fn the_length_of_a_presets_embeddings_depends_on_no_data() {
        for preset in Preset::all() {
            let layers = Layers { preset: Some(preset), ..Layers::default() };
            let mut setup = layers.resolve(|_| Ok(preset)).unwrap().setup;
            let expected = setup.embedding_scale;
            setup.fit_embedding_scale(100);
            assert_eq!(setup.embedding_scale, expected, "{preset}");
        }
    }
}

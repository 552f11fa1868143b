//! The settings of a training. They are checked once.

use noprop_data::{Augmentation, Split};
use noprop_method::{EncoderKind, not_positive};
use serde::{Deserialize, Serialize};

use crate::unit::Order;
use crate::{ClassWeights, Decay, Position, TrainError};

/// The optimizer that updates the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay, the paper's choice for discrete time.
    #[default]
    Adamw,
    /// Adam with L2 weight decay, the paper's choice for continuous time and flow matching.
    Adam,
}

/// The settings of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainConfig {
    /// The number of passes over the training images.
    pub epochs: u32,
    /// The number of images in a step.
    pub batch_size: usize,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// The peak learning rate.
    pub lr: f64,
    /// The course of the learning rate after the warm-up.
    pub lr_decay: Decay,
    /// The number of steps of linear warm-up. A warm-up longer than a sixth of the training is cut to a sixth.
    pub warmup_steps: u32,
    /// The weight decay.
    pub weight_decay: f64,
    /// The readout's learning rate as a multiple of that of the other parts. It is 1 in the paper.
    pub readout_lr_scale: f64,
    /// The order in which blocks learn from mini-batches.
    pub order: Order,
    /// The random changes to training images, drawn anew in every epoch.
    pub augment: Augmentation,
    /// The weight of each class's images in the losses.
    pub class_weights: ClassWeights,
    /// The rate of the exponential moving average of the weights, in 0..1, see [`Averages`](noprop_kernels::optim::Averages). A run then
    /// validates and keeps the averages, and goes on to train the weights themselves. `None` averages nothing.
    pub ema: Option<f64>,
    /// The greatest Euclidean norm that the gradients of one part may have together: longer ones are scaled down to it. A part is the
    /// image branch that blocks share, or a block with all that is its own, so a block does not wait for the gradients of the others.
    /// `None` leaves all gradients as they are.
    pub clip_gradients: Option<f64>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch_size: 128,
            optimizer: OptimizerKind::Adamw,
            lr: 2e-3,
            lr_decay: Decay::Cosine,
            warmup_steps: 200,
            weight_decay: 1e-3,
            // The readout is one small linear layer on inputs of length about 1. At the blocks' rate its probabilities would
            // still be close to uniform when the blocks are trained.
            readout_lr_scale: 10.0,
            order: Order::default(),
            augment: Augmentation::default(),
            class_weights: ClassWeights::default(),
            ema: None,
            clip_gradients: None,
        }
    }
}

/// The most epochs that a training may have. No practical training reaches it.
const MAX_EPOCHS: u32 = 1_000_000;

impl TrainConfig {
    /// Checks every setting against its range and the number of training images.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`], which names the first setting that is out of range.
    pub fn validate(&self, images: usize) -> Result<(), TrainError> {
        let out_of_range = |name, expected: &str, value: String| {
            Err(TrainError::OutOfRange { name, expected: expected.into(), value })
        };
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return out_of_range("epochs", "between 1 and 1000000", self.epochs.to_string());
        }
        if self.batch_size < 2 {
            let expected = "at least 2 (batch norm needs a batch)";
            return out_of_range("batch-size", expected, self.batch_size.to_string());
        }
        if self.batch_size > images {
            let expected = format!("at most the {images} training images");
            return out_of_range("batch-size", &expected, self.batch_size.to_string());
        }
        let positive = [
            ("lr", Some(self.lr)),
            ("readout-lr-scale", Some(self.readout_lr_scale)),
            ("clip-gradients", self.clip_gradients),
        ];
        for (name, value) in positive {
            if let Some((expected, value)) = value.and_then(|it| Some((not_positive(it)?, it))) {
                return out_of_range(name, expected, format!("{value:?}"));
            }
        }
        if self.weight_decay != 0.0 && not_positive(self.weight_decay).is_some() {
            let value = format!("{:?}", self.weight_decay);
            return out_of_range("weight-decay", "0, or between 1.2e-38 and 3.4e38", value);
        }
        if let Some(rate) = self.ema.filter(|rate| !(0.0..1.0).contains(rate)) {
            return out_of_range("ema", "at least 0 and below 1", rate.to_string());
        }
        Ok(())
    }

    /// Checks that the images of `train` can be augmented, and that `encoder` runs on them again in every epoch.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`] for a frozen encoder, [`TrainError::Data`] for images that are too small.
    pub fn check_augmentation(
        &self,
        train: &Split,
        encoder: EncoderKind,
    ) -> Result<(), TrainError> {
        if self.augment.is_none() {
            return Ok(());
        }
        if encoder == EncoderKind::Frozen {
            return Err(TrainError::OutOfRange {
                name: "augment",
                expected: "none where the encoder is frozen: it sees every image once".into(),
                value: self.augment.to_string(),
            });
        }
        let (_, height, width) = train.image_shape()?;
        Ok(self.augment.check(height, width)?)
    }

    /// Returns the number of steps of one pass over `images` images. A last batch of a single image is left out: it has no
    /// variance for a batch norm.
    pub fn steps_per_epoch(&self, images: usize) -> u32 {
        // `validate` refuses an empty batch.
        let batch = self.batch_size.max(1);
        let (full, rest) = (images / batch, images % batch);
        u32::try_from(full + usize::from(rest >= 2)).unwrap_or(u32::MAX)
    }

    /// Returns the learning rate at `position`: a linear warm-up, then a constant or a cosine decay to 0. It is never 0 before the
    /// end, so no step is wasted.
    pub(crate) fn rate_at(&self, Position { step, steps }: Position) -> f64 {
        let warmup_steps = u64::from(self.warmup_steps).min(steps / 6);
        if step < warmup_steps {
            return self.lr * (step + 1) as f64 / warmup_steps as f64;
        }
        match self.lr_decay {
            Decay::Constant => self.lr,
            Decay::Cosine => {
                let length = (steps - warmup_steps).max(1);
                let done = (step - warmup_steps).min(length) as f64 / length as f64;
                0.5 * self.lr * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_train() {
        let fine = TrainConfig::default();
        fine.validate(1000).unwrap();
        for broken in [
            TrainConfig { epochs: 0, ..fine },
            TrainConfig { batch_size: 0, ..fine },
            TrainConfig { batch_size: 1001, ..fine },
            TrainConfig { lr: f64::NAN, ..fine },
            TrainConfig { lr: 0.0, ..fine },
            TrainConfig { weight_decay: -1.0, ..fine },
            TrainConfig { readout_lr_scale: 0.0, ..fine },
            TrainConfig { ema: Some(1.0), ..fine },
            TrainConfig { ema: Some(f64::NAN), ..fine },
            TrainConfig { clip_gradients: Some(0.0), ..fine },
            TrainConfig { clip_gradients: Some(f64::INFINITY), ..fine },
        ] {
            assert!(broken.validate(1000).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn counts_the_last_batch_unless_it_is_one_image() {
        let config = TrainConfig::default();
        assert_eq!(config.steps_per_epoch(55_000), 430);
        assert_eq!(config.steps_per_epoch(256), 2);
        assert_eq!(config.steps_per_epoch(257), 2);
        assert_eq!(config.steps_per_epoch(258), 3);
    }
    #[test]
    fn the_rate_rises_to_the_peak_and_falls_to_almost_nothing() {
        let config = TrainConfig::default();
        let rate = |step| config.rate_at(Position { step, steps: 1290 });
        assert!((rate(0) - 1e-5).abs() < 1e-12);
        assert!((rate(199) - 2e-3).abs() < 1e-12);
        assert!((rate(200) - 2e-3).abs() < 1e-12);
        assert!((rate(745) - 1e-3).abs() < 1e-9, "half-way down");
        assert!(rate(1289) > 0.0 && rate(1289) < 1e-8);
        let constant = TrainConfig { lr_decay: Decay::Constant, ..config };
        assert_eq!(constant.rate_at(Position { step: 1289, steps: 1290 }), 2e-3);
    }

    /// A warm-up longer than the training must not divide by zero or go negative.
    #[test]
    fn a_warmup_may_be_longer_than_the_training() {
        let config = TrainConfig { lr: 1.0, ..TrainConfig::default() };
        for steps in [1, 5, 6, 100] {
            let rate = |step| config.rate_at(Position { step, steps });
            assert!((0..200).all(|step| (0.0..=1.0).contains(&rate(step))), "{steps}");
        }
    }
}

//! The setup of a training: its settings, with every choice made that does not depend on data.

use candle_core::Device;
use noprop_data::Augmentation;
use noprop_method::{
    EncoderKind, Integration, LossWeight, Method, MethodKind, MethodSettings, ParameterBuilder,
    Readout, Sampler, SamplerKind, ScheduleKind, Seed, Setting, Solver, Time,
};
use noprop_models::{Embedding, EmbeddingStart};
use noprop_train::{ClassWeights, Decay, OptimizerKind, TrainConfig};
use serde::Serialize;

use crate::choices::{Normalize, Order, Precision};
use crate::error::{Context, Error, Result};
use crate::format::{FIRST_FORMAT, FORMAT, usual_readout_lr_scale};
use crate::settings::{Init, Settings};
use crate::source::Source;

/// The settings of a training with every choice made that does not depend on data.
///
/// A setting at its usual value is left out of the files if runs are older than the choice, so that those can be resumed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Setup {
    /// The format, where settings mean another training than they did in the first one.
    #[serde(skip_serializing_if = "is_first_format")]
    pub(crate) format: u32,
    /// The images.
    pub dataset: Source,
    /// Side in pixels that a folder's pictures are scaled to; without it they must be of one size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// The share of a folder's pictures that are for testing, where it is not divided into train and test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<f64>,
    /// `true` leaves a folder's files out that are not pictures, instead of refusing them.
    #[serde(skip_serializing_if = "is_default")]
    pub skip_bad: bool,
    /// The normalisation of every image.
    #[serde(skip_serializing_if = "is_default")]
    pub normalize: Normalize,
    /// Training images held out to choose the epoch.
    pub validation: usize,
    /// The variant of NoProp.
    pub method: MethodKind,
    /// T in discrete time, else the solver's steps.
    pub steps: usize,
    /// The solver of continuous time; without it the method's usual one.
    pub solver: Option<Solver>,
    /// The solver's steps where held-out images choose the epoch, if fewer than `steps` are enough for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_steps: Option<usize>,
    /// B, the number of blocks that share time between them, where it is continuous.
    #[serde(skip_serializing_if = "is_one")]
    pub intervals: usize,
    /// The noise schedule of discrete time.
    pub schedule: ScheduleKind,
    /// The weight of the denoising term.
    pub eta: f64,
    /// σ of the path in flow matching (Eq. 10).
    #[serde(skip_serializing_if = "is_default")]
    pub path_noise: f64,
    /// The weight of each block's error.
    pub loss_weight: LossWeight,
    /// The image encoder.
    pub encoder: EncoderKind,
    /// The share of activations that training drops in an image branch.
    pub dropout: f64,
    /// Rings of zeros around the input of each convolution of an image branch.
    #[serde(skip_serializing_if = "is_default")]
    pub padding: usize,
    /// The class embeddings.
    pub embedding: Embedding,
    /// The start of class embeddings, where they are trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_start: Option<EmbeddingStart>,
    /// The step from the last embedding to a class.
    #[serde(skip_serializing_if = "is_default")]
    pub readout: Readout,
    /// The length of every class embedding. Without it each has the length of its class's prototype if
    /// [`Self::start_has_length_of_prototypes`], and in flow matching the data decide.
    pub embedding_scale: Option<f64>,
    /// Passes over the training images.
    pub epochs: u32,
    /// Images a step.
    pub batch_size: usize,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// The peak learning rate.
    pub lr: f64,
    /// The decay of the learning rate.
    pub lr_decay: Decay,
    /// Steps until the learning rate has its peak.
    pub warmup_steps: u32,
    /// The weight decay.
    pub weight_decay: f64,
    /// The readout's learning rate as a multiple of the others'. `config.toml` always has it; the weights file leaves the usual one out.
    #[serde(skip_serializing_if = "is_usual_readout_lr_scale")]
    pub readout_lr_scale: f64,
    /// The blocks that learn from a mini-batch.
    #[serde(skip_serializing_if = "is_default")]
    pub order: Order,
    /// The random changes of training images.
    #[serde(skip_serializing_if = "is_default", serialize_with = "as_text")]
    pub augment: Augmentation,
    /// The weights of the training images.
    #[serde(skip_serializing_if = "is_default")]
    pub class_weights: ClassWeights,
    /// The seed of everything random.
    pub seed: u64,
    /// The precision of the factors of products.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// The run that the first weights come from, if they are not random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_first_format(format: &u32) -> bool {
    *format == FIRST_FORMAT
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_one(intervals: &usize) -> bool {
    *intervals == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_usual_readout_lr_scale(scale: &f64) -> bool {
    *scale == usual_readout_lr_scale()
}

fn as_text<S: serde::Serializer>(augment: &Augmentation, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(augment)
}

impl Setup {
    /// Completes `settings` with what runs from before there was a choice have.
    ///
    /// # Errors
    /// [`Error::Refused`] if a setting is missing that has no such value.
    pub fn new(settings: Settings) -> Result<Self> {
        fn given<T>(key: &str, value: Option<T>) -> Result<T> {
            value.with_context(|| format!("missing field `{key}`"))
        }
        let s = settings;
        Ok(Self {
            format: s.format.unwrap_or(FIRST_FORMAT),
            dataset: given("dataset", s.dataset)?,
            image_size: s.image_size,
            split: s.split,
            skip_bad: s.skip_bad.unwrap_or_default(),
            normalize: s.normalize.unwrap_or_default(),
            validation: given("validation", s.validation)?,
            method: given("method", s.method)?,
            steps: given("steps", s.steps)?,
            solver: s.solver,
            validation_steps: s.validation_steps,
            intervals: s.intervals.unwrap_or(1),
            schedule: given("schedule", s.schedule)?,
            eta: given("eta", s.eta)?,
            path_noise: s.path_noise.unwrap_or_default(),
            loss_weight: s.loss_weight.unwrap_or(LossWeight::Uniform),
            encoder: given("encoder", s.encoder)?,
            dropout: given("dropout", s.dropout)?,
            padding: s.padding.unwrap_or_default(),
            embedding: s.embedding.unwrap_or_default(),
            embedding_start: s.embedding_start,
            readout: s.readout.unwrap_or_default(),
            embedding_scale: s.embedding_scale,
            epochs: given("epochs", s.epochs)?,
            batch_size: given("batch-size", s.batch_size)?,
            optimizer: given("optimizer", s.optimizer)?,
            lr: given("lr", s.lr)?,
            lr_decay: given("lr-decay", s.lr_decay)?,
            warmup_steps: given("warmup-steps", s.warmup_steps)?,
            weight_decay: given("weight-decay", s.weight_decay)?,
            readout_lr_scale: s.readout_lr_scale.unwrap_or_else(usual_readout_lr_scale),
            order: s.order.unwrap_or_default(),
            augment: s.augment.unwrap_or_default(),
            class_weights: s.class_weights.unwrap_or_default(),
            seed: given("seed", s.seed)?,
            precision: s.precision.unwrap_or_default(),
            init: s.init,
        })
    }

    /// The format in which the settings of a new training have their present meaning.
    pub(crate) fn present_format(&self) -> u32 {
        let weighted = self.loss_weight != LossWeight::Uniform;
        let has_kl = self.embedding.is_trained() && self.schedule == ScheduleKind::Notebook;
        let changed = self.method == MethodKind::DT && (weighted || has_kl);
        let continuous = self.method.time == Time::Continuous;
        if continuous || changed { FORMAT } else { FIRST_FORMAT }
    }

    /// The settings of the trainer.
    pub fn train(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer,
            lr: self.lr,
            lr_decay: self.lr_decay,
            warmup_steps: self.warmup_steps,
            weight_decay: self.weight_decay,
            readout_lr_scale: self.readout_lr_scale,
            order: self.order.into(),
            augment: self.augment,
            class_weights: self.class_weights,
        }
    }

    /// The method, which trains and classifies.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting belongs to other methods; [`Error::Method`] if one is outside its range.
    pub fn build_method(&self) -> Result<Box<dyn Method>> {
        let unless = |setting: Setting| !self.method.has(setting);
        let continuous = self.method.time == Time::Continuous;
        let with = |setting: Setting| MethodKind::names(|method| method.has(setting));
        let solving = || MethodKind::names(|method| method.time == Time::Continuous);
        let of_others = [
            (
                "order",
                self.order != Order::Batch && unless(Setting::Order),
                format!(
                    "paper is for {}: Algorithm 1 takes its blocks in turn",
                    with(Setting::Order)
                ),
            ),
            (
                "path-noise",
                self.path_noise != 0.0 && unless(Setting::PathNoise),
                format!("is for {}", with(Setting::PathNoise)),
            ),
            (
                "validation-steps",
                self.validation_steps.is_some() && !continuous,
                format!("is for {}: the others have no solver", solving()),
            ),
            (
                "solver",
                self.solver.is_some() && self.method == MethodKind::DT,
                format!("is for {}", solving()),
            ),
            (
                "intervals",
                self.intervals != 1 && unless(Setting::Intervals),
                format!("is for {}", with(Setting::Intervals)),
            ),
            (
                "readout",
                self.readout != Readout::Softmax && unless(Setting::Readout),
                format!("{} is for {}", self.readout, with(Setting::Readout)),
            ),
        ];
        if let Some((key, _, reason)) = of_others.into_iter().find(|(_, idle, _)| *idle) {
            return Err(Error::setting(key, reason));
        }
        Ok(self.method.build(&MethodSettings {
            steps: self.steps,
            solver: self.solver,
            intervals: self.intervals,
            schedule: self.schedule,
            eta: self.eta,
            loss_weight: self.loss_weight,
            readout: self.readout,
            path_noise: self.path_noise,
            seed: Seed(self.seed),
        })?)
    }

    /// The solver of a classification where time is continuous, and its steps: those given, else those of the settings.
    fn integration(&self, solver: Option<Solver>, steps: Option<usize>) -> Result<Integration> {
        Ok(self.method.integration(solver.or(self.solver), steps.unwrap_or(self.steps))?)
    }

    /// The integration of a trained run with another solver or number of steps; `None` where time is discrete.
    ///
    /// # Errors
    /// [`Error::Setting`] if time is discrete and one of them is given.
    pub(crate) fn integration_of(
        &self,
        solver: Option<Solver>,
        steps: Option<usize>,
    ) -> Result<Option<Integration>> {
        if self.method.time == Time::Continuous {
            return self.integration(solver, steps).map(Some);
        }
        match (steps, solver) {
            (None, None) => Ok(None),
            (given, _) => Err(Error::setting(
                if given.is_some() { "steps" } else { "solver" },
                format!(
                    "is for {}; this run is {}",
                    MethodKind::names(|method| method.time == Time::Continuous),
                    self.method
                ),
            )),
        }
    }

    /// Returns whether class embeddings of an image's size start elsewhere than at images and have no length of their own: each then has
    /// that of its class's prototype, so that starts can be compared.
    pub fn start_has_length_of_prototypes(&self) -> bool {
        self.embedding == Embedding::Prototype
            && self.embedding_start.is_some_and(|start| start != EmbeddingStart::Prototype)
            && self.embedding_scale.is_none()
    }

    /// Initial parameters on `device`.
    pub fn fresh(&self, device: &Device) -> ParameterBuilder {
        ParameterBuilder::seeded(Seed(self.seed), device)
    }

    /// The sampler of the test at the end of a training.
    pub fn sampler(&self) -> Sampler {
        Sampler { seed: Seed(self.seed), ..Sampler::once(SamplerKind::Mean) }
    }

    /// The sampler of held-out images after every epoch.
    ///
    /// # Errors
    /// [`Error::Refused`] if the number of steps is outside its range.
    pub fn validation_sampler(&self) -> Result<Sampler> {
        let integration = self
            .validation_steps
            .filter(|&steps| steps < self.steps)
            .map(|steps| self.integration(None, Some(steps)))
            .transpose()?;
        Ok(Sampler { integration, ..self.sampler() })
    }

    /// The differences from pixels of 0 to 1 as they are in the files, from images that all count alike, and from the paper's
    /// convolutions, in words.
    pub(crate) fn treatment(&self) -> Option<String> {
        let mut words = Vec::new();
        match self.normalize {
            Normalize::None => {}
            Normalize::Channel => words.push("normalised by channel".to_owned()),
        }
        if !self.augment.is_none() {
            words.push(format!("changed by {}", self.augment));
        }
        if self.class_weights == ClassWeights::Balanced {
            words.push("classes balanced".to_owned());
        }
        if self.padding > 0 {
            words.push(format!("padding {}", self.padding));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

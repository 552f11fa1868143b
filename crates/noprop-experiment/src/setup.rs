//! The calls that a setup answers: the objective, the samplers and the trainer's settings.

use candle_core::Device;
use noprop_method::{
    BlockLossKind, Integration, LossWeight, Method, MethodKind, MethodSettings, ParameterBuilder,
    Readout, Sampler, SamplerKind, ScheduleKind, Seed, Setting, Solver, Time,
};
use noprop_models::{Backbone, Embedding, EmbeddingStart};
use noprop_train::{ClassWeights, Order, TrainConfig};

use crate::choices::Normalize;
use crate::error::{Error, Result};
use crate::format::{FIRST_FORMAT, FORMAT};
use crate::settings::Setup;

impl Setup {
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
            order: self.order,
            augment: self.augment,
            class_weights: self.class_weights,
            ema: self.ema,
            clip_gradients: self.clip_gradients,
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
                "block-loss",
                self.block_loss != BlockLossKind::Squared && unless(Setting::BlockLoss),
                format!(
                    "{} is for {}, whose blocks guess class probabilities",
                    self.block_loss,
                    with(Setting::BlockLoss)
                ),
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
            block_loss: self.block_loss,
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

    /// The image encoder in words: its kind, and its layers if they are not the paper's.
    pub fn encoder_words(&self) -> String {
        match self.network {
            Backbone::Paper => self.encoder.to_string(),
            network => format!("{} {network}", self.encoder),
        }
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

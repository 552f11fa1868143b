//! The setup of a training: its settings, with every choice made that does not depend on data.

use std::num::NonZeroU32;

use candle_core::Device;
use noprop_data::Augmentation;
use noprop_method::{
    Adjoint, Backprop, ContinuousTime, DiscreteTime, EncoderKind, FlowMatching, Integration,
    LearnedSchedule, LossWeight, MethodError, ParameterBuilder, Partition, Readout, Sampler,
    SamplerKind, Schedule, ScheduleKind, Seed, Solver,
};
use noprop_models::{Embedding, EmbeddingStart};
use noprop_train::{ClassWeights, Decay, OptimizerKind, TrainConfig};
use serde::Serialize;

use crate::choices::{Normalize, Order, Precision};
use crate::error::{Context, Error, Result};
use crate::format::{FIRST_FORMAT, FORMAT, usual_readout_lr_scale};
use crate::method::Method;
use crate::settings::{Init, Settings};
use crate::source::Source;

/// The most steps of a solver.
const MAX_SOLVER_STEPS: usize = 1000;

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
    pub method: Method,
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
        match self.method {
            Method::Ct | Method::Fm | Method::Adjoint => FORMAT,
            Method::Dt if weighted || has_kl => FORMAT,
            Method::Dt | Method::Backprop => FIRST_FORMAT,
        }
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

    /// The losses of training and the way to classify.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting belongs to other methods; [`Error::Method`] if one is outside its range.
    pub fn objective(&self) -> Result<Box<dyn noprop_method::Method>> {
        let of_others = [
            (
                "order",
                self.order != Order::Batch && self.method != Method::Dt,
                "paper is for the method dt: Algorithm 1 takes its blocks in turn",
            ),
            (
                "path-noise",
                self.path_noise != 0.0 && self.method != Method::Fm,
                "is for the method fm",
            ),
            (
                "validation-steps",
                self.validation_steps.is_some() && !self.method.is_continuous(),
                "is for the methods ct, fm and adjoint: the others have no solver",
            ),
            (
                "solver",
                self.solver.is_some() && self.method == Method::Dt,
                "is for the methods ct, fm and adjoint",
            ),
            (
                "intervals",
                self.intervals != 1 && !matches!(self.method, Method::Ct | Method::Fm),
                "is for the methods ct and fm",
            ),
        ];
        if let Some((key, _, reason)) = of_others.into_iter().find(|(_, idle, _)| *idle) {
            return Err(Error::setting(key, reason));
        }
        Ok(match self.method {
            Method::Dt => Box::new(self.discrete_time()?),
            Method::Ct => Box::new(self.continuous_time()?),
            Method::Fm => Box::new(self.flow_matching()?),
            Method::Backprop => Box::new(Backprop::new(self.steps)),
            Method::Adjoint => Box::new(Adjoint::new(self.integration(None, None)?.try_into()?)),
        })
    }

    /// The objective, if the method is dt.
    pub(crate) fn discrete_time(&self) -> Result<DiscreteTime> {
        let schedule = Schedule::new(self.schedule, self.steps).map_err(MethodError::from)?;
        Ok(DiscreteTime::new(schedule, self.eta, self.loss_weight)?.readout(self.readout))
    }

    /// The objective, if the method is ct.
    pub(crate) fn continuous_time(&self) -> Result<ContinuousTime> {
        let whole = ContinuousTime::new(self.eta, self.loss_weight, self.integration(None, None)?)?;
        // The schedule that training starts from is a function of the seed, and so the intervals are as well.
        let divided =
            whole.divided(self.intervals, &LearnedSchedule::new(&self.fresh(&Device::Cpu))?)?;
        Ok(divided.readout(self.readout))
    }

    fn flow_matching(&self) -> Result<FlowMatching> {
        let whole = FlowMatching::new(self.loss_weight, self.integration(None, None)?.try_into()?);
        Ok(whole.path_noise(self.path_noise)?.divided(self.intervals)?)
    }

    /// The division of time among blocks, where it is continuous.
    pub(crate) fn partition(&self) -> Result<Option<Partition>> {
        Ok(match self.method {
            Method::Dt | Method::Backprop => None,
            Method::Ct => Some(self.continuous_time()?.partition().clone()),
            Method::Fm => Some(self.flow_matching()?.partition().clone()),
            Method::Adjoint => Some(Partition::whole()),
        })
    }

    /// The solver of a classification where time is continuous, and its steps: those given, else those of the settings.
    fn integration(&self, solver: Option<Solver>, steps: Option<usize>) -> Result<Integration> {
        let steps = steps.unwrap_or(self.steps);
        let within = u32::try_from(steps).ok().filter(|_| steps <= MAX_SOLVER_STEPS);
        let steps = within.and_then(NonZeroU32::new).with_context(|| {
            format!("steps must be between 1 and {MAX_SOLVER_STEPS}, got {steps}")
        })?;
        let usual = match self.method {
            Method::Ct => Solver::Posterior,
            Method::Dt | Method::Fm | Method::Backprop | Method::Adjoint => Solver::EULER,
        };
        Ok(Integration { solver: solver.or(self.solver).unwrap_or(usual), steps })
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
        if self.method.is_continuous() {
            return self.integration(solver, steps).map(Some);
        }
        match (steps, solver) {
            (None, None) => Ok(None),
            (given, _) => Err(Error::setting(
                if given.is_some() { "steps" } else { "solver" },
                format!("is for the methods ct, fm and adjoint; this run is {}", self.method),
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

//! The resolved settings of a run: `config.toml`, enough to repeat it.
//!
//! A preset, a config file and flags name a setting alike; `resolve.rs` puts them together.

use std::io::Read;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use noprop_data::Augmentation;
use noprop_method::{
    Adjoint, Backprop, ContinuousTime, DiscreteTime, EncoderKind, FlowMatching, Integration,
    LearnedSchedule, LossWeight, Objective, ParameterBuilder, Partition, Readout, Sampler,
    SamplerKind, Schedule, ScheduleKind, Seed, Solver,
};
use noprop_models::{Embedding, EmbeddingStart, ImageShape, Network, NetworkConfig, Variant};
use noprop_train::{ClassWeights, Decay, OptimizerKind, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::format;
use crate::images::{Images, Normalize};
use crate::init::Init;
use crate::source::Source;

/// A config file is a page of text.
const MAX_BYTES: u64 = 1 << 20;

/// The variant of NoProp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Discrete time: T blocks, one noise level each
    Dt,
    /// Continuous time: one block for all noise levels, and a noise schedule that is learned
    Ct,
    /// Flow matching: one block that learns the way from noise to label
    Fm,
    /// The same blocks trained end to end, for comparison
    Backprop,
    /// A neural ODE: the way of fm, trained end to end by the adjoint method, for comparison
    Adjoint,
}

impl Method {
    /// Settings that go on top of a preset that was made for discrete time.
    pub fn defaults(self) -> &'static str {
        match self {
            Self::Dt => "",
            Self::Backprop => include_str!("../presets/method-backprop.toml"),
            Self::Ct => include_str!("../presets/method-ct.toml"),
            Self::Fm => include_str!("../presets/method-fm.toml"),
            Self::Adjoint => include_str!("../presets/method-adjoint.toml"),
        }
    }

    /// Returns whether its time is continuous.
    pub fn is_continuous(self) -> bool {
        matches!(self, Self::Ct | Self::Fm | Self::Adjoint)
    }

    /// As it is written in files and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dt => "dt",
            Self::Ct => "ct",
            Self::Fm => "fm",
            Self::Backprop => "backprop",
            Self::Adjoint => "adjoint",
        }
    }
}

/// Which blocks learn from which mini-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// All blocks from every mini-batch
    #[default]
    Batch,
    /// Algorithm 1: a pass over the images for each block in every epoch
    Paper,
}

impl From<Order> for noprop_train::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Batch => Self::Batch,
            Order::Paper => Self::Paper,
        }
    }
}

/// What the factors of products are rounded to: of dense layers, and on GPUs of convolutions too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Factors as they are
    #[default]
    F32,
    /// Factors rounded to bf16, sums and parameters f32: faster on GPUs, and where the processor has AVX-512 BF16
    Bf16,
    /// On CUDA factors rounded to TF32, f32 with 11 bits; anywhere else as f32
    Tf32,
}

impl From<Precision> for noprop_kernels::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::Tf32 => Self::Tf32,
        }
    }
}

/// The most blocks of a chain, and the most steps of a solver: settings come from strangers' files too.
const MAX_STEPS: usize = 1000;

/// Everything that a run's results depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunConfig {
    /// The format, where settings mean another training than they did in the first one.
    #[serde(default = "format::first", skip_serializing_if = "format::is_first")]
    pub format: u32,
    pub dataset: Source,
    /// Side in pixels that a folder's pictures are scaled to; without it they must be of one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// The share of a folder's pictures that are for testing, where it is not divided into train and test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<f64>,
    /// Whether a folder's files that are no pictures are left out instead of refused.
    #[serde(default, skip_serializing_if = "is_off")]
    pub skip_bad: bool,
    /// What is done to every image before a network sees it.
    #[serde(default, skip_serializing_if = "Normalize::is_none")]
    pub normalize: Normalize,
    /// Training images held out to choose the epoch.
    pub validation: usize,
    pub method: Method,
    /// T in discrete time, else the solver's steps.
    pub steps: usize,
    /// How continuous time is integrated.
    pub solver: Option<Solver>,
    /// The solver's steps where held-out images choose the epoch, if fewer than `steps` are enough for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_steps: Option<usize>,
    /// B, the number of blocks that share time between them, where it is continuous. One is left out of the file, so that
    /// runs from before there were more can be resumed.
    #[serde(default = "one_block", skip_serializing_if = "is_one_block")]
    pub intervals: usize,
    pub schedule: ScheduleKind,
    pub eta: f64,
    /// σ of the path in flow matching (Eq. 10). The paper gives no value; without one it is 0.
    #[serde(default, skip_serializing_if = "is_none")]
    pub path_noise: f64,
    /// Without it, what suits the encoder; a resolved config always has it.
    pub loss_weight: Option<LossWeight>,
    pub encoder: EncoderKind,
    pub dropout: f64,
    /// Rings of zeros round what each convolution of an image branch sees.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub padding: usize,
    #[serde(default)]
    pub embedding: Embedding,
    /// Without it, what suits the embedding; a resolved config has it wherever embeddings are trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_start: Option<EmbeddingStart>,
    /// The usual one is left out of the file, so that runs from before there was a choice can be resumed.
    #[serde(default, skip_serializing_if = "is_usual_readout")]
    pub readout: Readout,
    /// The length of every class embedding. Without it, what suits the method; a config with images has it, unless each embedding has the
    /// length of its prototype.
    pub embedding_scale: Option<f64>,
    pub epochs: u32,
    pub batch_size: usize,
    pub optimizer: OptimizerKind,
    pub lr: f64,
    pub lr_decay: Decay,
    pub warmup_steps: u32,
    pub weight_decay: f64,
    /// The readout's learning rate as a multiple of the others'. `config.toml` always has it. The weights file leaves the usual one out,
    /// so that runs from before there was a choice can be resumed.
    #[serde(default = "usual_readout_lr_scale", skip_serializing_if = "is_usual_readout_lr_scale")]
    pub readout_lr_scale: f64,
    /// The usual one is left out of the file, so that runs from before there was a choice can be resumed.
    #[serde(default, skip_serializing_if = "is_usual_order")]
    pub order: Order,
    /// How training images are changed at random.
    #[serde(default, skip_serializing_if = "is_unchanged", with = "as_text")]
    pub augment: Augmentation,
    /// The usual ones are left out of the file, so that runs from before there was a choice can be resumed.
    #[serde(default, skip_serializing_if = "is_usual_class_weights")]
    pub class_weights: ClassWeights,
    pub seed: u64,
    /// The usual one is left out of the file, so that runs from before there was a choice can be resumed.
    #[serde(default, skip_serializing_if = "is_usual_precision")]
    pub precision: Precision,
    /// The run that the first weights come from, if they are not random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// What the network was built for; written with the run.
    pub images: Option<Images>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_none(amount: &f64) -> bool {
    *amount == 0.0
}

pub fn usual_readout_lr_scale() -> f64 {
    TrainConfig::default().readout_lr_scale
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_usual_readout_lr_scale(scale: &f64) -> bool {
    *scale == usual_readout_lr_scale()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_usual_order(order: &Order) -> bool {
    *order == Order::default()
}

fn one_block() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_one_block(intervals: &usize) -> bool {
    *intervals == one_block()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_unchanged(augment: &Augmentation) -> bool {
    augment.is_none()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_off(flag: &bool) -> bool {
    !flag
}

fn is_usual_readout(readout: &Readout) -> bool {
    *readout == Readout::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_usual_class_weights(weights: &ClassWeights) -> bool {
    *weights == ClassWeights::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_usual_precision(precision: &Precision) -> bool {
    *precision == Precision::default()
}

impl RunConfig {
    pub fn from_table(table: toml::Table) -> Result<Self> {
        Ok(table.try_into()?)
    }

    /// The settings on one line: what a resume compares and the weights file carries.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    pub fn to_toml(&self) -> Result<String> {
        let context = "cannot write the settings as TOML";
        let mut table = toml::Table::try_from(self).context(context)?;
        table.insert("readout-lr-scale".into(), self.readout_lr_scale.into());
        toml::to_string_pretty(&table).context(context)
    }

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

    pub fn objective(&self) -> Result<Box<dyn Objective>> {
        ensure!(
            self.order == Order::Batch || self.method == Method::Dt,
            "--order paper is for the method dt: Algorithm 1 takes its blocks in turn"
        );
        ensure!(
            self.path_noise == 0.0 || self.method == Method::Fm,
            "--path-noise is for the method fm"
        );
        ensure!(
            self.validation_steps.is_none() || self.method.is_continuous(),
            "--validation-steps is for the methods ct, fm and adjoint: the others have no solver"
        );
        Ok(match self.method {
            Method::Dt => Box::new(self.discrete_time()?),
            Method::Ct => Box::new(self.continuous_time()?),
            Method::Fm => Box::new(self.flow_matching()?),
            Method::Backprop => {
                self.refuse_intervals()?;
                Box::new(Backprop)
            }
            Method::Adjoint => {
                self.refuse_intervals()?;
                Box::new(Adjoint::new(self.integration(None, None)?)?)
            }
        })
    }

    fn refuse_intervals(&self) -> Result<()> {
        ensure!(self.intervals == 1, "--intervals is for the methods ct and fm");
        Ok(())
    }

    /// The objective, if `method` is dt.
    pub fn discrete_time(&self) -> Result<DiscreteTime> {
        ensure!(self.solver.is_none(), "--solver is for the methods ct, fm and adjoint");
        self.refuse_intervals()?;
        ensure!(
            (1..=MAX_STEPS).contains(&self.steps),
            "steps must be between 1 and {MAX_STEPS}, got {}",
            self.steps
        );
        let schedule = Schedule::new(self.schedule, self.steps)?;
        Ok(DiscreteTime::new(schedule, self.eta, self.weight())?.readout(self.readout))
    }

    /// The objective, if `method` is ct.
    pub fn continuous_time(&self) -> Result<ContinuousTime> {
        let whole = ContinuousTime::new(self.eta, self.weight(), self.integration(None, None)?)?;
        // The schedule that training starts from is a function of the seed, and so the intervals are as well.
        let divided =
            whole.divided(self.intervals, &LearnedSchedule::new(&self.fresh(&Device::Cpu))?)?;
        Ok(divided.readout(self.readout))
    }

    fn flow_matching(&self) -> Result<FlowMatching> {
        let whole = FlowMatching::new(self.weight(), self.integration(None, None)?)?;
        Ok(whole.path_noise(self.path_noise)?.divided(self.intervals)?)
    }

    /// How time is divided among blocks, where it is continuous.
    pub fn partition(&self) -> Result<Option<Partition>> {
        Ok(match self.method {
            Method::Dt | Method::Backprop => None,
            Method::Ct => Some(self.continuous_time()?.partition().clone()),
            Method::Fm => Some(self.flow_matching()?.partition().clone()),
            Method::Adjoint => Some(Partition::whole()),
        })
    }

    fn weight(&self) -> LossWeight {
        self.loss_weight.unwrap_or(LossWeight::Uniform)
    }

    /// How images are classified where time is continuous, unless flags say otherwise.
    pub fn integration(&self, solver: Option<Solver>, steps: Option<usize>) -> Result<Integration> {
        let steps = steps.unwrap_or(self.steps);
        let within = u32::try_from(steps).ok().filter(|_| steps <= MAX_STEPS);
        let steps = within
            .and_then(NonZeroU32::new)
            .with_context(|| format!("steps must be between 1 and {MAX_STEPS}, got {steps}"))?;
        let usual = match self.method {
            Method::Ct => Solver::Posterior,
            Method::Dt | Method::Fm | Method::Backprop | Method::Adjoint => Solver::Euler,
        };
        Ok(Integration { solver: solver.or(self.solver).unwrap_or(usual), steps })
    }

    /// The integration that flags ask of a trained run; none where time is discrete, and then the flags are refused.
    pub fn integration_of(
        &self,
        solver: Option<Solver>,
        steps: Option<usize>,
    ) -> Result<Option<Integration>> {
        match self.method {
            Method::Dt | Method::Backprop => {
                ensure!(
                    steps.is_none() && solver.is_none(),
                    "--steps and --solver are for the methods ct, fm and adjoint; this run is {}",
                    self.method.name()
                );
                Ok(None)
            }
            Method::Ct | Method::Fm | Method::Adjoint => Ok(Some(self.integration(solver, steps)?)),
        }
    }

    /// Builds the network from fresh or stored parameters.
    pub fn network(&self, source: ParameterBuilder) -> Result<Network> {
        Ok(Network::new(&self.network_config()?, source)?)
    }

    /// The settings of the network.
    pub fn network_config(&self) -> Result<NetworkConfig> {
        let images = self.images()?;
        let shape =
            ImageShape { channels: images.channels, height: images.height, width: images.width };
        let (variant, blocks) = match self.method {
            Method::Dt => (Variant::DiscreteTime, self.steps),
            Method::Ct => (Variant::ContinuousTime, self.intervals),
            Method::Fm => (Variant::FlowMatching, self.intervals),
            Method::Backprop => (Variant::Backprop, self.steps),
            Method::Adjoint => (Variant::Adjoint, 1),
        };
        let mut config = NetworkConfig::new(shape, images.class_names.len(), blocks)?
            .encoder(self.encoder)
            .variant(variant)
            .embedding(self.embedding)
            .readout(self.readout)
            .precision(self.precision.into())
            .embedding_scale(self.embedding_scale.unwrap_or(1.0))?
            .dropout(self.dropout)?
            .padding(self.padding)?;
        if let Some(start) = self.embedding_start {
            config = config.embedding_start(start);
        }
        Ok(config)
    }

    /// Returns whether class embeddings of an image's size start elsewhere than at images and have no length of their own: each then has
    /// that of its class's prototype, so that starts can be compared.
    pub fn start_has_length_of_prototypes(&self) -> bool {
        self.embedding == Embedding::Prototype
            && self.embedding_start != Some(EmbeddingStart::Prototype)
            && self.embedding_start.is_some()
            && self.embedding_scale.is_none()
    }

    /// Initial parameters on `device`.
    pub fn fresh(&self, device: &Device) -> ParameterBuilder {
        ParameterBuilder::seeded(Seed(self.seed), device)
    }

    /// How images are classified at the end of a training.
    pub fn sampler(&self) -> Sampler {
        Sampler { seed: Seed(self.seed), ..Sampler::once(SamplerKind::Mean) }
    }

    /// How held-out images are classified after every epoch.
    pub fn validation_sampler(&self) -> Result<Sampler> {
        let integration = self
            .validation_steps
            .filter(|&steps| steps < self.steps)
            .map(|steps| self.integration(None, Some(steps)))
            .transpose()?;
        Ok(Sampler { integration, ..self.sampler() })
    }
}

/// In files a value is written as in flags.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

pub fn at(path: &Path) -> String {
    format!("{} is no valid config", path.display())
}

pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = file
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if read as u64 == MAX_BYTES {
        bail!("{} is no config: it is larger than {MAX_BYTES} bytes", path.display());
    }
    Ok(text)
}

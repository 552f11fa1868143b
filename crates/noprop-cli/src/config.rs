//! The resolved settings of a run: `config.toml`, enough to repeat it.
//!
//! Flags beat the config file, which beats the preset. All three name a setting alike.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use noprop_data::{Dataset, DatasetName};
use noprop_method::{
    DiscreteTime, EncoderKind, LossWeight, ParameterBuilder, Sampler, SamplerKind, Schedule,
    ScheduleKind, Seed,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{Decay, OptimizerKind, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::args::Train;
use crate::preset::Preset;

/// A config file is a page of text.
const MAX_BYTES: u64 = 1 << 20;
const MAX_CLASS_NAME: usize = 200;

/// The variant of NoProp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Discrete time: T blocks, one noise level each
    Dt,
}

/// Everything that a run's results depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunConfig {
    #[serde(with = "by_name")]
    pub dataset: DatasetName,
    /// Training images held out to choose the epoch.
    pub validation: usize,
    pub method: Method,
    pub steps: usize,
    pub schedule: ScheduleKind,
    pub eta: f64,
    /// Without it, what suits the encoder; a resolved config always has it.
    pub loss_weight: Option<LossWeight>,
    pub encoder: EncoderKind,
    pub dropout: f64,
    pub epochs: u32,
    pub batch_size: usize,
    pub optimizer: OptimizerKind,
    pub lr: f64,
    pub lr_decay: Decay,
    pub warmup_steps: u32,
    pub weight_decay: f64,
    pub seed: u64,
    /// What the network was built for; written with the run.
    pub images: Option<Images>,
}

/// A data set stands in a file under the name that `--dataset` takes.
mod by_name {
    use noprop_data::DatasetName;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(name: &DatasetName, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(name)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DatasetName, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The images that a network takes and the classes that it tells apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Images {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub class_names: Vec<String>,
    /// SHA-256 over the uncompressed data files.
    pub sha256: String,
}

impl RunConfig {
    /// Preset, config file and flags, in rising order of precedence.
    pub fn resolve(preset: Preset, flags: &Train) -> Result<Self> {
        let mut table: toml::Table = toml::from_str(preset.text())
            .with_context(|| format!("preset {preset} cannot be read"))?;
        if let Some(path) = &flags.config {
            let text = read(path)?;
            let file: toml::Table = toml::from_str(&text).with_context(|| at(path))?;
            table.extend(file);
            // Here a wrong key or type can only come from the file.
            Self::from_table(table.clone()).with_context(|| at(path))?;
        }
        let mut config = Self::from_table(table)?.with_flags(flags);
        // The SNR weights span 0.01 to 3,200: a shared encoder would be trained for the last block alone.
        config.loss_weight.get_or_insert(match config.encoder {
            EncoderKind::Shared => LossWeight::Uniform,
            EncoderKind::PerBlock | EncoderKind::Frozen => LossWeight::Snr,
        });
        config.images = None;
        Ok(config)
    }

    /// The config of a run.
    pub fn of_run(path: &Path) -> Result<Self> {
        let table = toml::from_str(&read(path)?).with_context(|| at(path))?;
        Self::from_table(table).with_context(|| at(path))
    }

    fn from_table(table: toml::Table) -> Result<Self> {
        Ok(table.try_into()?)
    }

    fn with_flags(mut self, flags: &Train) -> Self {
        fn set<T: Copy>(slot: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *slot = value;
            }
        }
        set(&mut self.dataset, flags.dataset);
        set(&mut self.validation, flags.validation);
        set(&mut self.method, flags.method);
        set(&mut self.encoder, flags.encoder);
        set(&mut self.steps, flags.steps);
        set(&mut self.schedule, flags.schedule);
        set(&mut self.eta, flags.eta);
        set(&mut self.dropout, flags.dropout);
        set(&mut self.epochs, flags.epochs);
        set(&mut self.batch_size, flags.batch_size);
        set(&mut self.lr, flags.lr);
        set(&mut self.seed, flags.seed);
        if flags.loss_weight.is_some() {
            self.loss_weight = flags.loss_weight;
        }
        self
    }

    /// The settings on one line: what a resume compares and the weights file carries.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("cannot write the settings as TOML")
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
        }
    }

    pub fn objective(&self) -> Result<DiscreteTime> {
        let schedule = Schedule::new(self.schedule, self.steps)?;
        let weight = self.loss_weight.unwrap_or(LossWeight::Uniform);
        Ok(DiscreteTime::new(schedule, self.eta, weight)?)
    }

    /// What the network is built for.
    pub fn images(&self) -> Result<&Images> {
        let images = self.images.as_ref().context(
            "config.toml lacks its [images] table, so it does not say what the network was built for",
        )?;
        ensure!(
            images.class_names.iter().all(|name| name.len() <= MAX_CLASS_NAME),
            "config.toml: a class name is longer than {MAX_CLASS_NAME} bytes"
        );
        Ok(images)
    }

    /// Builds the network from fresh or stored parameters.
    pub fn network(&self, source: ParameterBuilder) -> Result<Network> {
        let images = self.images()?;
        let shape =
            ImageShape { channels: images.channels, height: images.height, width: images.width };
        let config = NetworkConfig::new(shape, images.class_names.len(), self.steps)?
            .encoder(self.encoder)
            .dropout(self.dropout)?;
        Ok(Network::new(&config, source)?)
    }

    pub fn fresh(&self) -> ParameterBuilder {
        ParameterBuilder::seeded(Seed(self.seed), &Device::Cpu)
    }

    /// How validation and test images are classified.
    pub fn sampler(&self) -> Sampler {
        Sampler { seed: Seed(self.seed), ..Sampler::once(SamplerKind::Mean) }
    }
}

fn at(path: &Path) -> String {
    format!("{} is no valid config", path.display())
}

fn read(path: &Path) -> Result<String> {
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

impl Images {
    /// What `data` holds.
    pub fn of(data: &Dataset) -> Result<Self> {
        let (channels, height, width) = data.train.image_shape()?;
        Ok(Self {
            channels,
            height,
            width,
            class_names: data.class_names.clone(),
            sha256: data.sha256.clone(),
        })
    }
}

//! The resolved settings of a run: `config.toml`, enough to repeat it.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use noprop_data::Dataset;
use noprop_method::{
    DiscreteTime, EncoderKind, LossWeight, ParameterBuilder, Sampler, SamplerKind, Schedule,
    ScheduleKind, Seed,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{Decay, OptimizerKind, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::args::{DatasetName, Train};

/// A config file is a page of text.
const MAX_BYTES: u64 = 1 << 20;

/// Everything that a run's results depend on. Keys are the flags' names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunConfig {
    pub dataset: String,
    pub validation: usize,
    pub steps: usize,
    pub schedule: ScheduleKind,
    pub eta: f64,
    pub loss_weight: LossWeight,
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
}

impl RunConfig {
    /// What a data set is trained with unless something else is said.
    pub fn defaults(dataset: DatasetName) -> Self {
        let train = TrainConfig::default();
        let (name, validation, epochs) = match dataset {
            DatasetName::Mnist => ("mnist", 5000, 3),
            DatasetName::MnistSample => ("mnist-sample", 500, 15),
        };
        Self {
            dataset: name.into(),
            validation,
            steps: 10,
            schedule: ScheduleKind::Cosine,
            eta: 0.1,
            loss_weight: LossWeight::Uniform,
            encoder: EncoderKind::Shared,
            dropout: 0.2,
            epochs,
            batch_size: train.batch_size,
            optimizer: train.optimizer,
            lr: train.lr,
            lr_decay: train.lr_decay,
            warmup_steps: train.warmup_steps,
            weight_decay: train.weight_decay,
            seed: 0,
        }
    }

    /// Flags beat what is there.
    pub fn with_flags(mut self, flags: &Train) -> Self {
        fn set<T: Copy>(slot: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *slot = value;
            }
        }
        set(&mut self.encoder, flags.encoder);
        set(&mut self.steps, flags.steps);
        set(&mut self.schedule, flags.schedule);
        set(&mut self.epochs, flags.epochs);
        set(&mut self.batch_size, flags.batch_size);
        set(&mut self.lr, flags.lr);
        set(&mut self.seed, flags.seed);
        // Weights that span 0.02 to 6,400 would train a shared encoder for the last block alone.
        if flags.encoder == Some(EncoderKind::PerBlock) {
            self.loss_weight = LossWeight::Snr;
        }
        set(&mut self.loss_weight, flags.loss_weight);
        self
    }

    pub fn read(path: &Path) -> Result<Self> {
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no valid config", path.display()))
    }

    /// The settings on one line: what a resume compares and the weights file carries.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    pub fn dataset_name(&self) -> Result<DatasetName> {
        match self.dataset.as_str() {
            "mnist" => Ok(DatasetName::Mnist),
            "mnist-sample" => Ok(DatasetName::MnistSample),
            other => bail!("unknown dataset `{other}`: choose one of mnist, mnist-sample"),
        }
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
        Ok(DiscreteTime::new(schedule, self.eta, self.loss_weight)?)
    }

    /// Builds the network for the images of `data` from fresh or stored parameters.
    pub fn network(&self, data: &Dataset, source: ParameterBuilder) -> Result<Network> {
        let (_, channels, height, width) = data.train.images.dims4()?;
        let image = ImageShape {
            channels,
            height,
            width,
        };
        let config = NetworkConfig::new(image, data.classes, self.steps)?
            .encoder(self.encoder)
            .dropout(self.dropout)?;
        Ok(Network::new(&config, source)?)
    }

    pub fn fresh(&self) -> ParameterBuilder {
        ParameterBuilder::seeded(Seed(self.seed), &Device::Cpu)
    }

    /// How validation and test images are classified.
    pub fn sampler(&self) -> Sampler {
        Sampler {
            seed: Seed(self.seed),
            ..Sampler::once(SamplerKind::Mean)
        }
    }
}

/// Loads a data set from `data_dir`.
pub fn load(name: DatasetName, data_dir: &Path) -> Result<Dataset> {
    match name {
        DatasetName::MnistSample => Ok(Dataset::mnist_sample()?),
        DatasetName::Mnist => Ok(Dataset::mnist(&data_dir.join("mnist"))?),
    }
}

/// MNIST if it is there, else the bundled sample.
pub fn find(data_dir: &Path) -> DatasetName {
    let folder = data_dir.join("mnist");
    let file = folder.join("train-images-idx3-ubyte");
    if file.exists() || file.with_extension("gz").exists() {
        DatasetName::Mnist
    } else {
        DatasetName::MnistSample
    }
}

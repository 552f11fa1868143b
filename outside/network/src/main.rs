//! Trains a plain candle-nn network, once with variables from a seed and once with those of a `VarMap`.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, VarMap, linear};
use noprop_data::Dataset;
use noprop_method::{
    BlockInput, Denoiser, DiscreteTime, LossWeight, ParameterBuilder, Parameters, Sampler, SamplerKind, Schedule,
    ScheduleKind, Seed,
};
use noprop_train::{Silent, TrainConfig, Trainer};

const STEPS: usize = 3;

struct Net {
    blocks: Vec<[Linear; 2]>,
    readout: Linear,
    classes: Tensor,
    parameters: Parameters,
}

impl Net {
    fn new(vb: VarBuilder<'_>, parameters: impl FnOnce() -> Result<Parameters>) -> Result<Self> {
        let block = |t| {
            let vb = vb.pp("block").pp(t);
            Ok([linear(784 + 10, 64, vb.pp("fc1"))?, linear(64, 10, vb.pp("fc2"))?])
        };
        Ok(Self {
            blocks: (1..=STEPS).map(block).collect::<Result<_>>()?,
            readout: linear(10, 10, vb.pp("readout"))?,
            classes: Tensor::eye(10, DType::F32, &Device::Cpu)?,
            parameters: parameters()?,
        })
    }

    fn seeded(seed: u64) -> Result<Self> {
        let source = ParameterBuilder::seeded(Seed(seed), &Device::Cpu);
        Self::new(source.var_builder(), || Ok(source.finish()?))
    }

    fn of_map(map: &VarMap) -> Result<Self> {
        let vb = VarBuilder::from_varmap(map, DType::F32, &Device::Cpu);
        Self::new(vb, || Ok(Parameters::of_var_map(map)?))
    }
}

impl Denoiser for Net {
    fn blocks(&self) -> usize {
        STEPS
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn class_embeddings(&self) -> &Tensor {
        &self.classes
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

/// Trains for an epoch and returns the test accuracy.
fn train(net: &Net) -> std::result::Result<f64, Box<dyn std::error::Error>> {
    let data = Dataset::mnist_sample()?;
    let method = DiscreteTime::new(Schedule::new(ScheduleKind::Cosine, STEPS)?, 0.1, LossWeight::Snr)?;
    let config = TrainConfig { epochs: 1, batch_size: 32, ..TrainConfig::default() };
    let mut trainer = Trainer::new(net, method, &data.train, config, Seed(1))?;
    trainer.run(&mut Silent)?;
    Ok(trainer.evaluate(&data.test, &Sampler::once(SamplerKind::Mean))?.accuracy())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    println!("seeded variables: {:.1} %", 100.0 * train(&Net::seeded(1)?)?);
    let map = VarMap::new();
    println!("variables of a map: {:.1} %", 100.0 * train(&Net::of_map(&map)?)?);
    map.save(std::env::temp_dir().join("outside-network.safetensors"))?;
    Ok(())
}

#[test]
fn both_learn() {
    let seeded = train(&Net::seeded(1).unwrap()).unwrap();
    assert_eq!(seeded, train(&Net::seeded(1).unwrap()).unwrap(), "a seed repeats it");
    let mapped = train(&Net::of_map(&VarMap::new()).unwrap()).unwrap();
    assert!(seeded > 0.6 && mapped > 0.6, "{seeded} {mapped}");
}

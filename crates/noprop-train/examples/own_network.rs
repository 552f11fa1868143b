//! Trains a network of one's own, two dense layers a block, on the bundled sample: `cargo run --example own_network`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module};
use noprop_data::Dataset;
use noprop_method::{BlockInput, Denoiser, DiscreteTime, Init, LossWeight, ParameterBuilder};
use noprop_method::{Parameters, Part, Sampler, SamplerKind, Schedule, ScheduleKind, Seed};
use noprop_train::{TrainConfig, Trainer, evaluate};

const STEPS: usize = 4;

struct Dense {
    blocks: Vec<[Linear; 2]>,
    readout: Linear,
    one_hot: Tensor,
    parameters: Parameters,
}

#[rustfmt::skip]
impl Denoiser for Dense {
    fn blocks(&self) -> usize { STEPS }
    fn parameters(&self) -> &Parameters { &self.parameters }
    fn class_embeddings(&self) -> &Tensor { &self.one_hot }
    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
        let [fc1, fc2] = &self.blocks[input.block - 1];
        let seen = Tensor::cat(&[&input.features.flatten_from(1)?, input.z], 1)?;
        fc2.forward(&fc1.forward(&seen)?.relu()?)
    }
    fn readout(&self, z: &Tensor) -> Result<Tensor> { self.readout.forward(z) }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let from = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
    let layer = |part, name, i, o, init| {
        Ok::<_, candle_core::Error>(Linear::new(from.trainable(part, name, (o, i), init)?, None))
    };
    let block = |t| {
        let fc1 = layer(Part::Block(t), "fc1", 784 + 10, 128, Init::FanIn(794))?;
        Ok([fc1, layer(Part::Block(t), "fc2", 128, 10, Init::FanIn(128))?])
    };
    let blocks = (1..=STEPS).map(block).collect::<Result<_>>()?;
    let readout = layer(Part::Readout, "fc", 10, 10, Init::Constant(0.0))?;
    let one_hot = Tensor::eye(10, DType::F32, &Device::Cpu)?;
    let network = Dense { blocks, readout, one_hot, parameters: from.finish()? };
    let schedule = Schedule::new(ScheduleKind::Cosine, STEPS)?;
    let objective = DiscreteTime::new(schedule, 0.1, LossWeight::Snr)?;
    let data = Dataset::mnist_sample()?;
    let config = TrainConfig { epochs: 10, ..TrainConfig::default() };
    let mut trainer = Trainer::new(&network, &objective, &data.train, config, Seed(1))?;
    for unit in 0..trainer.units().len() {
        while !trainer.is_done(unit) {
            trainer.step_unit(unit)?;
        }
    }
    let test = evaluate(&network, &objective, &data.test, &Sampler::once(SamplerKind::Mean))?;
    println!("test accuracy {:.1} %, by block {:?}", 100.0 * test.accuracy(), test.per_block);
    Ok(())
}

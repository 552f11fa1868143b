//! Trains a network of one's own, two dense layers a block, on the bundled sample: `cargo run --example own_network`.

use candle_core::{DType, Device, Result, Tensor};
use noprop_data::Dataset;
use noprop_method::{BlockInput, Denoiser, DiscreteTime, Init, LossWeight, ParameterBuilder};
use noprop_method::{Parameters, Part, Sampler, SamplerKind, Schedule, ScheduleKind, Seed};
use noprop_train::{TrainConfig, Trainer, evaluate};

const STEPS: usize = 4;

struct Dense {
    blocks: Vec<(Tensor, Tensor)>,
    readout: Tensor,
    one_hot: Tensor,
    parameters: Parameters,
}

impl Denoiser for Dense {
    fn blocks(&self) -> usize {
        STEPS
    }
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
    fn class_embeddings(&self) -> &Tensor {
        &self.one_hot
    }
    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
        let (w1, w2) = &self.blocks[input.block - 1];
        let seen = Tensor::cat(&[&input.features.flatten_from(1)?, input.z], 1)?;
        seen.matmul(w1)?.relu()?.matmul(w2)
    }
    fn readout(&self, z: &Tensor) -> Result<Tensor> {
        z.matmul(&self.readout)
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let from = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
    let weight = |t, name, i, o| from.trainable(Part::Block(t), name, (i, o), Init::FanIn(i));
    let blocks = (1..=STEPS).map(|t| Ok((weight(t, "w1", 794, 128)?, weight(t, "w2", 128, 10)?)));
    let blocks = blocks.collect::<Result<_>>()?;
    let readout = from.trainable(Part::Readout, "w", (10, 10), Init::Constant(0.0))?;
    let one_hot = Tensor::eye(10, DType::F32, &Device::Cpu)?;
    let network = Dense { blocks, readout, one_hot, parameters: from.finish()? };
    let schedule = Schedule::new(ScheduleKind::Cosine, STEPS)?;
    let objective = DiscreteTime::new(schedule, 0.1, LossWeight::Snr)?;
    let (data, config) =
        (Dataset::mnist_sample()?, TrainConfig { epochs: 10, ..Default::default() });
    let mut trainer = Trainer::new(&network, &objective, &data.train, config, Seed(1))?;
    for unit in 0..trainer.units().len() {
        while !trainer.is_done(unit) {
            trainer.advance(unit)?;
        }
    }
    let test = evaluate(&network, &objective, &data.test, &Sampler::once(SamplerKind::Mean))?;
    println!("test accuracy {:.1} %, by block {:?}", 100.0 * test.accuracy(), test.per_block);
    Ok(())
}

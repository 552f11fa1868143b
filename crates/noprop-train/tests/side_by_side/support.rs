//! A small training of any method, on any device.

use std::num::NonZeroU32;

use candle_core::Device;
use noprop_data::{Augmentation, Dataset, Split};
use noprop_method::{
    Adjoint, Backprop, ContinuousTime, DiscreteTime, FlowMatching, Integration, LossWeight,
    Objective, ParameterBuilder, Schedule, ScheduleKind, Seed, Solver,
};
use noprop_models::{ImageShape, Network, NetworkConfig, Variant};
use noprop_train::{Decay, OptimizerKind, TrainConfig, Trainer};

pub const CPU: Device = Device::Cpu;
const BLOCKS: usize = 3;
pub const CONFIG: TrainConfig = TrainConfig {
    epochs: 8,
    batch_size: 8,
    optimizer: OptimizerKind::Adamw,
    lr: 1e-3,
    lr_decay: Decay::Cosine,
    warmup_steps: 20,
    weight_decay: 1e-3,
    augment: Augmentation::NONE,
};

pub fn images(device: &Device) -> Split {
    let rows: Vec<u32> = (0..24).map(|i| i * 160).collect();
    let split = Dataset::mnist_sample().unwrap().train.select(&rows).unwrap();
    split.to_device(device).unwrap()
}

pub fn config(variant: Variant) -> NetworkConfig {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let blocks = match variant {
        Variant::DiscreteTime | Variant::Backprop => BLOCKS,
        Variant::ContinuousTime | Variant::FlowMatching | Variant::Adjoint => 1,
    };
    NetworkConfig::new(image, 10, blocks).unwrap().variant(variant)
}

pub fn network(config: &NetworkConfig, device: &Device) -> Network {
    let network = Network::new(config, ParameterBuilder::seeded(Seed(1), device)).unwrap();
    if network.first_embeddings().is_some() {
        let starts = images(device).range(0..10).unwrap().flatten_from(1).unwrap();
        network.start_embeddings_from(&starts).unwrap();
    }
    network
}

pub fn objective(variant: Variant) -> Box<dyn Objective> {
    let steps = NonZeroU32::new(5).unwrap();
    let by = |solver| Integration { solver, steps };
    let weight = LossWeight::MinSnr(5.0);
    match variant {
        Variant::DiscreteTime => {
            let schedule = Schedule::new(ScheduleKind::Cosine, BLOCKS).unwrap();
            Box::new(DiscreteTime::new(schedule, 0.1, LossWeight::Uniform).unwrap())
        }
        Variant::ContinuousTime => {
            Box::new(ContinuousTime::new(1.0, weight, by(Solver::Posterior)).unwrap())
        }
        Variant::FlowMatching => Box::new(FlowMatching::new(weight, by(Solver::Euler)).unwrap()),
        Variant::Backprop => Box::new(Backprop),
        Variant::Adjoint => Box::new(Adjoint::new(by(Solver::Euler)).unwrap()),
    }
}

/// The losses of the next steps by part, in the order of the parts' names.
pub fn losses_by_part(trainer: &mut Trainer<'_>, steps: u32) -> Vec<Vec<(String, f32)>> {
    let reports = trainer.advance_all(steps).unwrap();
    let of_step = |reports: &Vec<_>| {
        let parts = reports.iter().flat_map(|report: &noprop_train::StepReport| &report.losses);
        let mut losses: Vec<_> = parts.map(|loss| (loss.part.to_string(), loss.loss)).collect();
        losses.sort_by(|a, b| a.0.cmp(&b.0));
        losses
    };
    reports.iter().map(of_step).collect()
}

//! A small training of any method, on any device.

use std::num::NonZeroU32;

use candle_core::Device;
use noprop_data::{Augmentation, Split};
use noprop_method::{
    Adjoint, Backprop, ContinuousTime, DiscreteTime, EncoderKind, FlowMatching, Integration,
    LossWeight, Needs, Objective, ParameterBuilder, Readout, Sampler, SamplerKind, Schedule,
    ScheduleKind, Seed, Solver,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{
    ClassWeights, Decay, Existing, Grouping, OptimizerKind, Order, Outcome, RunDirectory,
    StepReport, TrainConfig, Trainer, evaluate,
};

use crate::parts_of_a_run::{few_images, go_on};

pub const CPU: Device = Device::Cpu;
const BLOCKS: usize = 3;
/// Of [`images`] in batches of [`CONFIG`].
pub const STEPS_PER_EPOCH: u32 = 3;
pub const CONFIG: TrainConfig = TrainConfig {
    epochs: 8,
    batch_size: 8,
    optimizer: OptimizerKind::Adamw,
    lr: 1e-3,
    lr_decay: Decay::Cosine,
    warmup_steps: 20,
    weight_decay: 1e-3,
    readout_lr_scale: 10.0,
    order: Order::Batch,
    augment: Augmentation::NONE,
    class_weights: ClassWeights::Uniform,
};

/// The methods.
#[derive(Debug, Clone, Copy)]
pub enum Variant {
    DiscreteTime,
    ContinuousTime,
    FlowMatching,
    Backprop,
    Adjoint,
}

pub fn images(device: &Device) -> Split {
    few_images().to_device(device).unwrap()
}

pub fn config(variant: Variant) -> NetworkConfig {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let needs = match variant {
        Variant::DiscreteTime => Needs::discrete_time(BLOCKS, Readout::Softmax),
        Variant::ContinuousTime => Needs::continuous_time(1, Readout::Softmax),
        Variant::FlowMatching => Needs::flow_matching(1),
        Variant::Backprop => Needs::backprop(BLOCKS),
        Variant::Adjoint => Needs::adjoint(),
    };
    NetworkConfig::new(image, 10, needs).unwrap()
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
    let weight = LossWeight::Clipped(5.0);
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
        let parts = reports.iter().flat_map(|report: &StepReport| &report.losses);
        let mut losses: Vec<_> = parts.map(|loss| (loss.part.to_string(), loss.loss)).collect();
        losses.sort_by(|a, b| a.0.cmp(&b.0));
        losses
    };
    reports.iter().map(of_step).collect()
}

/// An empty run, in a folder that goes with the first of the two.
pub fn new_run() -> (tempfile::TempDir, RunDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = RunDirectory::create(&path, Existing::Refuse, "a = 1\n").unwrap();
    (folder, run)
}

/// Trains from the run's state, or from the beginning, until the observer has seen `stop` steps.
pub fn take_part(run: &RunDirectory, device: &Device, grouping: Grouping, stop: u32) -> Outcome {
    let (variant, encoder) = (Variant::DiscreteTime, EncoderKind::PerBlock);
    let images = images(device);
    let network = network(&config(variant).encoder(encoder), device);
    let objective = objective(variant);
    let config = TrainConfig { epochs: 4, ..CONFIG };
    let mut trainer = Trainer::new(&network, &*objective, &images, config, Seed(1))
        .unwrap()
        .grouping(grouping)
        .unwrap();
    let outcome = go_on(&mut trainer, run, &images, stop);
    let sampler = Sampler::once(SamplerKind::Mean);
    let found = evaluate(&network, &*objective, &images, &sampler).unwrap();
    assert_eq!(found.total, images.len());
    outcome
}

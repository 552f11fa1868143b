//! A training on a GPU follows the CPU's, step by step, for every method; and its state goes on on a CPU. Without a GPU these tests say
//! that they were skipped.

#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "says what was skipped")]

use std::num::NonZeroU32;

use candle_core::Device;
use noprop_data::{Augmentation, Dataset, Split};
use noprop_method::{
    Adjoint, Backprop, ContinuousTime, DiscreteTime, EncoderKind, FlowMatching, Integration,
    LossWeight, Objective, ParameterBuilder, Sampler, SamplerKind, Schedule, ScheduleKind, Seed,
    Solver,
};
use noprop_models::{ImageShape, Network, NetworkConfig, Variant};
use noprop_train::{
    Control, Decay, Existing, Fitting, Grouping, Observer, OptimizerKind, Outcome, Progress,
    RunDirectory, StepReport, TrainConfig, Trainer, evaluate, fit,
};

const BLOCKS: usize = 3;
/// Rounding of f32, grown over 20 steps.
const TOLERANCE: f32 = 1e-3;
const CONFIG: TrainConfig = TrainConfig {
    epochs: 8,
    batch_size: 8,
    optimizer: OptimizerKind::Adamw,
    lr: 1e-3,
    lr_decay: Decay::Cosine,
    warmup_steps: 20,
    weight_decay: 1e-3,
    augment: Augmentation::NONE,
};

fn gpu() -> Option<Device> {
    match noprop_kernels::cuda_device(0) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("skipped, for there is no GPU: {error}");
            None
        }
    }
}

fn images(device: &Device) -> Split {
    let rows: Vec<u32> = (0..24).map(|i| i * 160).collect();
    let split = Dataset::mnist_sample().unwrap().train.select(&rows).unwrap();
    split.to_device(device).unwrap()
}

fn network(variant: Variant, encoder: EncoderKind, device: &Device) -> Network {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let blocks = match variant {
        Variant::DiscreteTime | Variant::Backprop => BLOCKS,
        Variant::ContinuousTime | Variant::FlowMatching | Variant::Adjoint => 1,
    };
    let config = NetworkConfig::new(image, 10, blocks).unwrap().encoder(encoder).variant(variant);
    Network::new(&config, ParameterBuilder::seeded(Seed(1), device)).unwrap()
}

fn objective(variant: Variant) -> Box<dyn Objective> {
    let schedule = || Schedule::new(ScheduleKind::Cosine, BLOCKS).unwrap();
    let steps = NonZeroU32::new(5).unwrap();
    let euler = Integration { solver: Solver::Euler, steps };
    let weight = LossWeight::MinSnr(5.0);
    match variant {
        Variant::DiscreteTime => {
            Box::new(DiscreteTime::new(schedule(), 0.1, LossWeight::Uniform).unwrap())
        }
        Variant::ContinuousTime => {
            let posterior = Integration { solver: Solver::Posterior, steps };
            Box::new(ContinuousTime::new(1.0, weight, posterior).unwrap())
        }
        Variant::FlowMatching => Box::new(FlowMatching::new(weight, euler).unwrap()),
        Variant::Backprop => Box::new(Backprop),
        Variant::Adjoint => Box::new(Adjoint::new(euler).unwrap()),
    }
}

/// Losses of every step, part by part in the order of their names.
fn losses(
    variant: Variant,
    encoder: EncoderKind,
    device: &Device,
    grouping: Grouping,
) -> Vec<Vec<f32>> {
    let (images, network, objective) =
        (images(device), network(variant, encoder, device), objective(variant));
    let mut trainer =
        Trainer::new(&network, &*objective, &images, CONFIG, Seed(1)).unwrap().grouping(grouping);
    let mut losses = Vec::new();
    for _ in 0..4 {
        for reports in trainer.advance_all(5).unwrap() {
            let parts = reports.iter().flat_map(|report| &report.losses);
            let mut step: Vec<_> = parts.map(|loss| (loss.part.to_string(), loss.loss)).collect();
            step.sort_by(|a, b| a.0.cmp(&b.0));
            losses.push(step.into_iter().map(|(_, loss)| loss).collect());
        }
    }
    losses
}

#[test]
fn every_method_follows_the_cpu_over_20_steps() {
    let Some(gpu) = gpu() else { return };
    let (shared, per_block) = (EncoderKind::Shared, EncoderKind::PerBlock);
    for (variant, encoder, grouping) in [
        (Variant::DiscreteTime, per_block, Grouping::SideBySide),
        (Variant::DiscreteTime, shared, Grouping::SideBySide),
        (Variant::DiscreteTime, EncoderKind::Frozen, Grouping::SideBySide),
        (Variant::DiscreteTime, per_block, Grouping::OneByOne),
        (Variant::ContinuousTime, shared, Grouping::SideBySide),
        (Variant::FlowMatching, shared, Grouping::SideBySide),
        (Variant::Backprop, shared, Grouping::SideBySide),
        (Variant::Adjoint, shared, Grouping::SideBySide),
    ] {
        let expected = losses(variant, encoder, &Device::Cpu, Grouping::OneByOne);
        let found = losses(variant, encoder, &gpu, grouping);
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            for (found, expected) in found.iter().zip(expected) {
                let error = (found - expected).abs() / expected.abs().max(1.0);
                let step = step + 1;
                assert!(
                    error < TOLERANCE,
                    "{variant:?} {encoder:?} {grouping:?}: step {step} has loss {found}, on the CPU {expected}"
                );
            }
        }
    }
}

struct StopAfter(u32);

impl Observer for StopAfter {
    fn step(&mut self, _: &[StepReport]) -> Control {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { Control::Stop } else { Control::Continue }
    }
}

fn take_part(run: &RunDirectory, device: &Device, stop: u32) -> Outcome {
    let (variant, encoder) = (Variant::DiscreteTime, EncoderKind::PerBlock);
    let (images, network, objective) =
        (images(device), network(variant, encoder, device), objective(variant));
    let config = TrainConfig { epochs: 4, ..CONFIG };
    let mut trainer = Trainer::new(&network, &*objective, &images, config, Seed(1))
        .unwrap()
        .grouping(if device.is_cpu() { Grouping::OneByOne } else { Grouping::SideBySide });
    let progress = match Progress::read(run, "c") {
        Ok(progress) => {
            progress.restore(run, &mut trainer).unwrap();
            progress
        }
        Err(_) => Progress::start("c"),
    };
    let sampler = Sampler::once(SamplerKind::Mean);
    let fitting = Fitting { run, validation: &images, sampler, metadata: "{}" };
    let outcome = fit(&mut trainer, &fitting, progress, &mut StopAfter(stop)).unwrap();
    let found = evaluate(&network, &*objective, &images, &sampler).unwrap();
    assert_eq!(found.total, images.len());
    outcome
}

/// A state is the same files wherever it was made: begun on a GPU, gone on with on a CPU, and finished on the GPU.
#[test]
fn a_state_goes_from_one_device_to_the_other() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let run =
        RunDirectory::create(&folder.path().join("run"), Existing::Refuse, "a = 1\n").unwrap();
    let steps = 3;
    assert!(matches!(
        take_part(&run, &gpu, steps + 1),
        Outcome::Stopped { .. } | Outcome::Finished(_)
    ));
    assert!(matches!(
        take_part(&run, &Device::Cpu, 1),
        Outcome::Stopped { .. } | Outcome::Finished(_)
    ));
    assert!(matches!(take_part(&run, &gpu, u32::MAX), Outcome::Finished(_)));
}

//! A small training of any method, on any device.

use candle_core::Device;
use noprop_data::Split;
use noprop_method::{EncoderKind, MethodKind, Sampler, SamplerKind, Seed};
use noprop_train::{Engine, Outcome, RunDirectory, StepReport, TrainConfig, Trainer};

use crate::case::{Case, CaseTrainer, ONEHOT, case};
use crate::support::{self, few_images, go_on};

/// The number of steps in an epoch over [`few_images`] in batches of [`CONFIG`].
pub const STEPS_PER_EPOCH: u32 = 3;
pub const CONFIG: TrainConfig =
    TrainConfig { epochs: 8, lr: 1e-3, warmup_steps: 20, ..support::CONFIG };

pub fn images(device: &Device) -> Split {
    few_images().to_device(device).unwrap()
}

/// Returns a trainer of `case` on `device`.
pub fn trainer(case: Case, device: &Device, config: TrainConfig) -> CaseTrainer {
    let network = case.network_on(device);
    Trainer::new(network, case.objective(), &images(device), config, Seed(1)).unwrap()
}

/// Makes the next `steps` steps and returns their losses by part, in the order of the parts' names.
pub fn losses_by_part(trainer: &mut CaseTrainer, steps: u32) -> Vec<Vec<(String, f64)>> {
    let reports = trainer.steps(steps).unwrap();
    let of_step = |reports: &Vec<_>| {
        let parts = reports.iter().flat_map(|report: &StepReport| &report.losses);
        let mut losses: Vec<_> = parts.map(|loss| (loss.part.to_string(), loss.loss)).collect();
        losses.sort_by(|a, b| a.0.cmp(&b.0));
        losses
    };
    reports.iter().map(of_step).collect()
}

/// Checks that two trainings had the same losses, up to a share of `tolerance`. `name` names the first training.
pub fn assert_close(
    name: &str,
    found: &[Vec<(String, f64)>],
    expected: &[Vec<(String, f64)>],
    tolerance: f64,
) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (step, (found, expected)) in (1..).zip(found.iter().zip(expected)) {
        assert_eq!(found.len(), expected.len(), "{name}: {found:?} {expected:?}");
        for ((part, found), (_, expected)) in found.iter().zip(expected) {
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(
                error < tolerance,
                "{name}: step {step} has {part} loss {found}, expected {expected}"
            );
        }
    }
}

/// Trains from the run's saved state if it has one, otherwise from the beginning, and stops after `stop` steps.
pub fn take_part(run: &RunDirectory, device: &Device, engine: Engine, stop: u32) -> Outcome {
    let case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
    let mut trainer = trainer(case, device, TrainConfig { epochs: 4, ..CONFIG }).engine(engine);
    let images = images(device);
    let outcome = go_on(&mut trainer, run, &images, stop);
    let found = trainer.evaluate(&images, &Sampler::once(SamplerKind::Mean)).unwrap();
    assert_eq!(found.total, images.len());
    outcome
}

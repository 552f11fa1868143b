//! A small training of any method, on any device.

use candle_core::Device;
use noprop_data::Split;
use noprop_method::{
    EncoderKind, LossWeight, Method, MethodKind, MethodSettings, ParameterBuilder, Sampler,
    SamplerKind, Seed, Time,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{
    Engine, Existing, Outcome, RunDirectory, StepReport, TrainConfig, Trainer, evaluate,
};

use crate::support::{self, METHOD, few_images, go_on};

pub const CPU: Device = Device::Cpu;
/// The number of steps in an epoch over [`images`] in batches of [`CONFIG`].
pub const STEPS_PER_EPOCH: u32 = 3;
pub const CONFIG: TrainConfig =
    TrainConfig { epochs: 8, lr: 1e-3, warmup_steps: 20, ..support::CONFIG };

pub fn images(device: &Device) -> Split {
    few_images().to_device(device).unwrap()
}

pub fn config(kind: MethodKind) -> NetworkConfig {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    NetworkConfig::new(image, 10, objective(kind).needs()).unwrap()
}

pub fn network(config: &NetworkConfig, device: &Device) -> Network {
    let network = Network::new(config, ParameterBuilder::seeded(Seed(1), device)).unwrap();
    if network.first_embeddings().is_some() {
        let starts = images(device).range(0..10).unwrap().flatten_from(1).unwrap();
        network.start_embeddings_from(&starts).unwrap();
    }
    network
}

pub fn objective(kind: MethodKind) -> Box<dyn Method> {
    let settings = match kind.time {
        Time::Discrete => METHOD,
        Time::Continuous => {
            MethodSettings { steps: 5, eta: 1.0, loss_weight: LossWeight::Clipped(5.0), ..METHOD }
        }
    };
    kind.build(&settings).unwrap()
}

/// Makes the next `steps` steps and returns their losses by part, in the order of the parts' names.
pub fn losses_by_part(
    trainer: &mut Trainer<&Network, &dyn Method>,
    steps: u32,
) -> Vec<Vec<(String, f64)>> {
    let reports = trainer.steps(steps).unwrap();
    let of_step = |reports: &Vec<_>| {
        let parts = reports.iter().flat_map(|report: &StepReport| &report.losses);
        let mut losses: Vec<_> = parts.map(|loss| (loss.part.to_string(), loss.loss)).collect();
        losses.sort_by(|a, b| a.0.cmp(&b.0));
        losses
    };
    reports.iter().map(of_step).collect()
}

/// Returns an empty run, with the temporary folder that holds it. Dropping the folder removes the run.
pub fn new_run() -> (tempfile::TempDir, RunDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = RunDirectory::create(&path, Existing::Refuse, "a = 1\n").unwrap();
    (folder, run)
}

/// Trains from the run's saved state if it has one, otherwise from the beginning, and stops after `stop` steps.
pub fn take_part(run: &RunDirectory, device: &Device, grouping: Engine, stop: u32) -> Outcome {
    let (kind, encoder) = (MethodKind::DT, EncoderKind::PerBlock);
    let images = images(device);
    let network = network(&config(kind).encoder(encoder), device);
    let objective = objective(kind);
    let config = TrainConfig { epochs: 4, ..CONFIG };
    let mut trainer =
        Trainer::new(&network, &*objective, &images, config, Seed(1)).unwrap().engine(grouping);
    let outcome = go_on(&mut trainer, run, &images, stop);
    let sampler = Sampler::once(SamplerKind::Mean);
    let found = evaluate(&network, &*objective, &images, &sampler).unwrap();
    assert_eq!(found.total, images.len());
    outcome
}

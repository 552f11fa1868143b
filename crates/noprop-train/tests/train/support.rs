//! The common code of the tests: a few images, settings, runs, an observer that stops, and a training that resumes from a run's
//! state.

use std::path::Path;
use std::time::Duration;

use candle_core::{Device, Tensor};
use noprop_data::{Augmentation, Dataset, Split};
use noprop_method::{Blockwise, Denoiser, Losses, Method, Sampler, SamplerKind};
use noprop_train::{
    ClassWeights, Control, Decay, Existing, Fitting, Observer, OptimizerKind, Order, Outcome,
    Progress, RunDirectory, StepReport, TrainConfig, TrainError, Trainer, fit,
};

pub const CPU: Device = Device::Cpu;

/// Returns 24 images of all classes.
pub fn few_images() -> Split {
    let rows: Vec<u32> = (0..24).map(|i| i * 160).collect();
    Dataset::mnist_sample().unwrap().train.select(&rows).unwrap()
}

/// The settings of a short training with three steps in an epoch.
pub const CONFIG: TrainConfig = TrainConfig {
    epochs: 2,
    batch_size: 8,
    optimizer: OptimizerKind::Adamw,
    lr: 2e-3,
    lr_decay: Decay::Cosine,
    warmup_steps: 200,
    weight_decay: 1e-3,
    readout_lr_scale: 10.0,
    order: Order::Batch,
    augment: Augmentation::NONE,
    class_weights: ClassWeights::Uniform,
    ema: None,
    clip_gradients: None,
};

/// Returns the bits of all parameters by name.
pub fn bits(network: &dyn Denoiser) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: Tensor| {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let tensors = network.parameters().tensors();
    tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

/// Creates an empty run.
pub fn new_run(path: &Path) -> RunDirectory {
    RunDirectory::create(path, Existing::Refuse, "", &[]).unwrap()
}

/// Returns the bytes of the weights of the best epoch.
pub fn model(run: &RunDirectory) -> Vec<u8> {
    std::fs::read(run.model()).unwrap()
}

/// Returns the losses of a method that has one for each block.
pub fn blockwise(method: &dyn Method) -> &dyn Blockwise {
    match method.losses() {
        Losses::Blockwise(method) => method,
        Losses::EndToEnd(_) => unreachable!("this method has one loss"),
    }
}

/// An observer that stops after a number of steps.
pub struct StopAfter(pub u32);

impl Observer for StopAfter {
    fn step(&mut self, _: &[StepReport]) -> Control {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { Control::Stop } else { Control::Continue }
    }
}

/// Trains from the run's saved state if it has one, otherwise from the beginning, and stops after `stop` steps.
pub fn go_on<N: Denoiser, M: Method>(
    trainer: &mut Trainer<N, M>,
    run: &RunDirectory,
    images: &Split,
    stop: u32,
) -> Outcome {
    go_on_saving(trainer, run, images, Duration::MAX, &mut StopAfter(stop)).unwrap()
}

/// Trains from the run's saved state if it has one, otherwise from the beginning, and saves within epochs.
pub fn go_on_saving<N: Denoiser, M: Method>(
    trainer: &mut Trainer<N, M>,
    run: &RunDirectory,
    images: &Split,
    save_every: Duration,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let progress = match Progress::read(run, "c") {
        Ok(progress) => {
            progress.restore(run, trainer).unwrap();
            progress
        }
        Err(_) => Progress::start("c"),
    };
    let sampler = Sampler::once(SamplerKind::Mean);
    let fitting =
        Fitting { run, validation: images, sampler, metadata: "{}", patience: None, save_every };
    fit(trainer, &fitting, progress, observer)
}

//! A training in parts: some images, and a trainer that goes on from a run's state until it is asked to stop.

use std::time::Duration;

use noprop_data::{Dataset, Split};
use noprop_method::{Sampler, SamplerKind};
use noprop_train::{
    Control, Fitting, Observer, Outcome, Progress, RunDirectory, StepReport, TrainError, Trainer,
    fit,
};

/// 24 images of all classes.
pub fn few_images() -> Split {
    let rows: Vec<u32> = (0..24).map(|i| i * 160).collect();
    Dataset::mnist_sample().unwrap().train.select(&rows).unwrap()
}

/// Asks to stop after a number of steps.
struct StopAfter(u32);

impl Observer for StopAfter {
    fn step(&mut self, _: &[StepReport]) -> Control {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { Control::Stop } else { Control::Continue }
    }
}

/// Trains from the run's state if it has one, else from the beginning, and asks to stop after `stop` steps.
pub fn go_on(trainer: &mut Trainer<'_>, run: &RunDirectory, images: &Split, stop: u32) -> Outcome {
    go_on_saving(trainer, run, images, Duration::MAX, &mut StopAfter(stop)).unwrap()
}

/// Trains from the run's state if it has one, else from the beginning, and saves within epochs.
pub fn go_on_saving(
    trainer: &mut Trainer<'_>,
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
    let fitting = Fitting { run, validation: images, sampler, metadata: "{}", save_every };
    fit(trainer, &fitting, progress, observer)
}

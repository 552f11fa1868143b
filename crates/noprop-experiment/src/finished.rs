//! The end of a training: the test, its record and the model card.

use std::time::Instant;

use noprop_data::Notice;
use noprop_train::{
    Evaluation, Event, FitReport, MetricsLog, PeakMemory, Progress, RunDirectory, evaluate,
};

use crate::error::{Context, Result};
use crate::history::History;
use crate::model_card;
use crate::task::Task;
use crate::trained::Trained;

/// Remarks on the data that a model card holds.
const REMARKS: usize = 20;

/// A finished training. Its test is recorded, and its model card is written; [`Self::draw`] draws its figures.
pub struct Finished {
    /// The run, with the weights of its best epoch.
    pub trained: Trained,
    /// The epoch that was kept, and the training time.
    pub fit: FitReport,
    /// The accuracy on the images trained on.
    pub training: Evaluation,
    /// The accuracy on the test images.
    pub test: Evaluation,
    /// The most memory that training used, if this process trained.
    pub peak: PeakMemory,
    #[cfg(feature = "figures")]
    images: noprop_data::Split,
}

impl Finished {
    /// Tests the weights that validation chose. This is the only place where a training reads the test images, once.
    pub(crate) fn new(
        task: &Task,
        run: &RunDirectory,
        fit: FitReport,
        peak: PeakMemory,
    ) -> Result<Self> {
        let trained = Trained::open(run.path(), &task.device)?;
        let setup = &task.experiment.setup;
        let sampler = setup.sampler();
        let of = |images, sampler| evaluate(&trained.network, &*trained.method, images, &sampler);
        // First, so that nothing comes between the test and its record. The training images are many, so no more steps of a solver are
        // spent on them than choose the epoch.
        let started = Instant::now();
        let training = of(&task.train, setup.validation_sampler()?)?;
        let images = task.test.as_ref().context("there are no images to test on")?;
        let test = of(images, sampler)?;
        let logged = MetricsLog::open(&run.metrics(), u64::MAX)?.append(&Event::Test {
            best_epoch: fit.best.epoch,
            sampler: sampler.kind.to_string(),
            accuracy: test.accuracy(),
            correct: test.correct as u64,
            total: test.total as u64,
            per_block: test.per_block.clone(),
            training_accuracy: Some(training.accuracy()),
            classification_seconds: Some(started.elapsed().as_secs_f64()),
            seconds: fit.seconds,
            peak_memory_bytes: peak.process,
            peak_device_bytes: peak.device,
        })?;
        // A training that goes on from here must not forget that the test images were read.
        Progress::keep_log(run, logged)?;
        let history = History::of(&MetricsLog::read(&run.metrics())?);
        let told = task.notices.iter().filter(|notice| !matches!(notice, Notice::Litter { .. }));
        let told = told.take(REMARKS).map(ToString::to_string).chain(task.faults.iter().cloned());
        let card = model_card::text(&model_card::Card {
            experiment: &task.experiment,
            fit: &fit,
            training: &training,
            test: &test,
            history: &history,
            warnings: &told.collect::<Vec<_>>(),
        })?;
        run.write("README.md", card.as_bytes())?;
        Ok(Self {
            trained,
            fit,
            training,
            test,
            peak,
            #[cfg(feature = "figures")]
            images: images.clone(),
        })
    }

    /// Draws the figures of the run into its folder `figures`, and returns their paths.
    ///
    /// # Errors
    /// If one cannot be drawn or written. The training is done and saved nevertheless.
    #[cfg(feature = "figures")]
    pub fn draw(&self) -> Result<Vec<std::path::PathBuf>> {
        crate::figures::draw(&self.trained, &self.images, &self.test)
    }
}

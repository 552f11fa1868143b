//! A training that advances by slices of time, so that a page can be told of it in between.

use std::time::Duration;

use noprop_experiment::watch::{Pause, State, Training, settings};
use noprop_experiment::{DatasetName, Settings, Source, Stepwise};
use web_time::Instant;

use crate::error::{Error, Result};

/// A training on the bundled sample that advances by slices of time.
pub struct Sliced {
    training: Stepwise,
    watched: Training,
    /// The end of the last slice.
    since: Instant,
}

/// A page that lets a training rest this long has stopped it.
const REST: Duration = Duration::from_secs(2);

impl Sliced {
    /// Begins a training. `asked` is a JSON object with settings as `config.toml` has them; `batch_size` is `batch-size`.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn start(asked: &str) -> Result<Self> {
        let training = Stepwise::new(of_sample(asked)?)?;
        let mut watched = Training::of(None, &training.experiment().setup, Vec::new());
        training.remarks().iter().for_each(|remark| watched.remark(remark));
        watched.begin(training.length());
        Ok(Self { training, watched, since: Instant::now() })
    }

    /// Trains for about `slice`, and at least one step unless that is zero.
    ///
    /// # Errors
    /// If the training fails. It is over then.
    pub fn advance(&mut self, slice: Duration) -> Result<()> {
        let began = Instant::now();
        if began - self.since > REST {
            self.watched.rested();
        }
        let trained = self.train(began, slice);
        match &trained {
            Ok(()) => self.watched.measure(),
            Err(error) => {
                self.watched.error = Some(error.to_string());
                self.watched.end(State::Failed);
            }
        }
        self.since = Instant::now();
        trained
    }

    /// Makes steps until the training is over, or `slice` since `began`.
    fn train(&mut self, began: Instant, slice: Duration) -> Result<()> {
        let mut goes_on = !slice.is_zero();
        while goes_on && self.watched.state == State::Running {
            let done = self.training.step(self.watched.paused())?;
            self.watched.step(&done.reports);
            if let Some(epoch) = done.epoch {
                self.watched.epoch(&epoch);
            }
            if self.training.is_done() {
                self.watched.test_accuracy = Some(self.training.test()?.accuracy());
                self.watched.end(State::Finished);
            }
            goes_on = began.elapsed() < slice;
        }
        Ok(())
    }

    /// The training as a page shows it.
    pub fn watched(&self) -> &Training {
        &self.watched
    }

    /// Pauses block `block`, counted from 1, or lets it go on. A block that is paused makes no turn in the steps from now on.
    ///
    /// # Errors
    /// If it cannot be paused.
    pub fn pause(&mut self, block: usize, pause: Pause) -> Result<()> {
        self.watched.pause(block, pause).map_err(Error::Refused)
    }

    /// The bytes of `model.safetensors`: the weights of the best epoch so far.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn weights(&self) -> Result<Vec<u8>> {
        Ok(self.training.weights()?)
    }
}

/// Reads settings. The data are the bundled sample.
fn of_sample(json: &str) -> Result<Settings> {
    let settings = settings(json.as_bytes())?;
    let sample = Source::Known(DatasetName::MnistSample);
    match settings.dataset {
        Some(other) if other != sample => Err(Error::Refused(format!(
            "a page in a browser has the data set {sample} alone, and not {other}"
        ))),
        _ => Ok(Settings { dataset: Some(sample), ..settings }),
    }
}

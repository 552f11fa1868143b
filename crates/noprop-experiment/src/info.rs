//! The description of a run.

use std::path::{Path, PathBuf};

use candle_core::Device;
use noprop_method::{Denoiser, Part};
use noprop_train::Event;

use crate::error::Result;
use crate::experiment::Experiment;
use crate::trained::Trained;

/// A run, without its weights.
#[derive(Debug)]
pub struct Info {
    /// The run directory.
    pub run: PathBuf,
    /// The settings and the images.
    pub experiment: Experiment,
    /// The number of parameters of each part.
    pub parts: Vec<(Part, usize)>,
    /// The test at the end of training, if it came to its end.
    pub tested: Option<Tested>,
}

/// The test of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tested {
    /// On the test images, 0..=1.
    pub accuracy: f64,
    /// On the images trained on, 0..=1; the first versions did not record it.
    pub training_accuracy: Option<f64>,
    /// The epoch of the weights.
    pub best_epoch: u32,
    /// Training time in seconds.
    pub seconds: f64,
}

impl Tested {
    /// Returns the test at the end of the training of a run, if it came to its end.
    ///
    /// # Errors
    /// If the log of the training cannot be read.
    pub fn of(trained: &Trained) -> Result<Option<Self>> {
        // A run that a program trained in memory has no log.
        Ok(match Event::final_test(&trained.run.events()?) {
            Some(&Event::Test { accuracy, training_accuracy, best_epoch, seconds, .. }) => {
                Some(Self { accuracy, training_accuracy, best_epoch, seconds })
            }
            _ => None,
        })
    }
}

impl Info {
    /// Describes the run in `path`.
    ///
    /// # Errors
    /// If the run cannot be opened.
    pub fn of(path: &Path) -> Result<Self> {
        let trained = Trained::open(path, &Device::Cpu)?;
        let parameters = trained.network.parameters();
        let parts =
            parameters.parts().into_iter().map(|part| (part, parameters.count(part))).collect();
        let tested = Tested::of(&trained)?;
        let run = trained.run.path().into();
        Ok(Self { run, experiment: trained.experiment, parts, tested })
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.parts.iter().map(|(_, count)| count).sum()
    }
}

//! The reports of a training, after each step, after each epoch and at the end.

use serde::{Deserialize, Serialize};

use crate::loss::{Loss, StepReport};

/// The epoch whose weights are kept, chosen on held-out training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The number of validation images classified correctly.
    pub correct: usize,
    /// The number of validation images.
    pub total: usize,
}

impl Best {
    /// Returns the validation accuracy, 0..=1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }

    /// Returns the better of this epoch and an earlier one. If they are equal, it is the later: it was trained longer, at a
    /// lower rate.
    #[must_use]
    pub fn or_better(self, earlier: Option<Self>) -> Self {
        earlier.filter(|earlier| earlier.correct > self.correct).unwrap_or(self)
    }
}

/// The answer of an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Make the next step.
    Continue,
    /// Save and stop: the run can be resumed.
    Stop,
}

/// An observer of a training. It may stop the training.
pub trait Observer {
    /// Called after each step, with the reports of all units.
    fn step(&mut self, reports: &[StepReport]) -> Control {
        let _ = reports;
        Control::Continue
    }

    /// Returns the blocks that make no turn in the next steps, counted from 1, in rising order. Their parameters and moments stay as
    /// they are, and they have no loss; parameters that blocks share learn from the others. It is asked between steps, and of a
    /// training of one process with a loss for each block alone. Such a training cannot be repeated from its settings, so a run
    /// records it.
    fn paused(&mut self) -> Vec<usize> {
        Vec::new()
    }

    /// Called after each epoch.
    fn epoch(&mut self, report: &EpochReport) -> Control {
        let _ = report;
        Control::Continue
    }
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// The outcome of an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochReport {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The mean losses by block, then that of the readout.
    pub losses: Vec<Loss>,
    /// The outcome on held-out training images; `None` if the training has none.
    pub validation: Option<Validation>,
    /// The number of training images per second.
    pub images_per_second: f64,
    /// The training time of the epoch in seconds.
    pub seconds: f64,
}

/// The outcome of an epoch on held-out training images.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// The accuracy, 0..=1.
    pub accuracy: f64,
    /// The accuracy after each block, 0..=1.
    pub per_block: Vec<f64>,
    /// The best epoch so far.
    pub best: Best,
}

/// The outcome of a training.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All epochs are done, or the training has ended early. The weights of the best epoch are in the run's `model.safetensors`.
    Finished(FitReport),
    /// The training was stopped on request. The run can be resumed.
    Stopped {
        /// The number of epochs done.
        epoch: u32,
        /// The number of steps done in the current epoch.
        step: u32,
    },
    /// This process has trained its share of a training over several processes. It did not validate, and did not choose
    /// weights.
    Trained,
}

/// The report of a finished training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitReport {
    /// The epoch whose weights were kept.
    pub best: Best,
    /// The number of epochs done: fewer than the training was to have, if it ended early.
    pub epochs: u32,
    /// The training time in seconds, with validation, without the time between a stop and a resume.
    pub seconds: f64,
}

//! Reports of a training: to its observer after each step and epoch, and at its end.

use serde::{Deserialize, Serialize};

use crate::loss::{Loss, StepReport};

/// The epoch whose weights are kept, chosen on held-out training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: u32,
    /// Validation images classified correctly.
    pub correct: usize,
    /// Validation images.
    pub total: usize,
}

impl Best {
    /// Validation accuracy, 0..=1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }

    /// The better one of this epoch and an earlier one. Of two equals the later: it was trained for longer, at a lower rate.
    pub(crate) fn or_better(self, earlier: Option<Self>) -> Self {
        earlier.filter(|earlier| earlier.correct > self.correct).unwrap_or(self)
    }
}

/// The answer of an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Make the next step.
    Continue,
    /// Save and stop: the run can be resumed.
    Stop,
}

/// An observer of a training, which may stop it.
pub trait Observer {
    /// Called after each step, with the reports of all units.
    fn step(&mut self, reports: &[StepReport]) -> Control {
        let _ = reports;
        Control::Continue
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
    /// The mean losses, by block, then of the readout.
    pub losses: Vec<Loss>,
    /// The outcome on held-out training images; `None` where a training has none.
    pub validation: Option<Validation>,
    /// Training images a second.
    pub images_per_second: f64,
    /// The training time of the epoch in seconds.
    pub seconds: f64,
}

/// The outcome of an epoch on held-out training images.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// The accuracy, 0..=1.
    pub accuracy: f64,
    /// The accuracy after each block.
    pub per_block: Vec<f64>,
    /// The best epoch so far.
    pub best: Best,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All epochs are done; the best one's weights are in the run's `model.safetensors`.
    Finished(FitReport),
    /// Stopped on request; the run can be resumed.
    Stopped {
        /// Epochs done.
        epoch: u32,
        /// Steps of the current epoch done.
        step: u32,
    },
    /// This process has done its part of a training in which others have one too: it validated nothing, and chose no weights.
    Trained,
}

/// A finished training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitReport {
    /// The epoch whose weights were kept.
    pub best: Best,
    /// Training time in seconds, validation included, stops left out.
    pub seconds: f64,
}

impl Control {
    /// Stops if either does.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::Stop { self } else { other }
    }
}

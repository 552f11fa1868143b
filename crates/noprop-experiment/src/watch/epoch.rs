//! An epoch of a training, as pages are told of it: of a log, or of a training that runs here.

use noprop_method::Part;
use noprop_train::{EpochReport, Event, Loss};
use serde::Serialize;

/// The outcome of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: u32,
    /// The accuracy on held-out images, 0..=1.
    pub validation: Option<f64>,
    /// The mean errors of the parts.
    pub losses: Vec<PartLoss>,
    /// Training time without validation.
    pub seconds: f64,
    /// Training images a second.
    pub images_per_second: f64,
}

/// The mean error of a part in an epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartLoss {
    /// The part; `block.1` in JSON.
    pub part: Part,
    /// Its mean error.
    pub error: f64,
}

impl Epoch {
    /// The epochs in the log of a run, in their order.
    pub fn of_log(events: &[Event]) -> Vec<Self> {
        let of = |event: &Event| match event {
            Event::Epoch {
                epoch, seconds, images_per_second, losses, validation_accuracy, ..
            } => Some(Self {
                epoch: *epoch,
                validation: Some(*validation_accuracy),
                losses: of_parts(losses),
                seconds: *seconds,
                images_per_second: *images_per_second,
            }),
            _ => None,
        };
        events.iter().filter_map(of).collect()
    }
}

impl From<&EpochReport> for Epoch {
    fn from(report: &EpochReport) -> Self {
        Self {
            epoch: report.epoch,
            validation: report.validation.as_ref().map(|validation| validation.accuracy),
            losses: of_parts(&report.losses),
            seconds: report.seconds,
            images_per_second: report.images_per_second,
        }
    }
}

fn of_parts(losses: &[Loss]) -> Vec<PartLoss> {
    let of = |loss: &Loss| PartLoss { part: loss.part, error: loss.error };
    losses.iter().map(of).collect()
}

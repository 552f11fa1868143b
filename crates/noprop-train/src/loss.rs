//! The losses of training steps, from the step to the record of the run.
//!
//! A loss stays on its device until it is read. On a GPU each read stalls the queue, so all losses of an epoch are read at
//! once.

use std::collections::BTreeMap;

use candle_core::Tensor;
use noprop_method::{BlockLoss, Part};
use serde::{Deserialize, Serialize};

use crate::error::{Checkpoint, TrainError};

/// The loss of one part of the network, in one step or as the mean over an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The part: a block or the readout.
    pub part: Part,
    /// The value that was minimised.
    pub loss: f64,
    /// The mean ‖û − u_y‖² of a block, in which all images count 1. It can be compared between blocks, and between trainings
    /// with different class weights. The readout and a whole chain have no such measure: here they repeat their loss.
    pub error: f64,
}

/// The report of one step of one unit.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The step of the epoch, counted from 1.
    pub step: u32,
    /// The learning rate.
    pub lr: f64,
    /// The number of images in the batch.
    pub images: usize,
    /// The losses of the unit's blocks, or of the readout.
    pub losses: Vec<Loss>,
}

/// The losses of some parts in one step, on the device where they were computed.
pub(crate) struct DeviceLosses {
    parts: Vec<Part>,
    /// The parts' losses, then their errors: `[2 parts]`.
    values: Tensor,
}

impl DeviceLosses {
    /// Returns the losses of `parts`. `values` holds their losses, then their errors.
    pub fn new(parts: Vec<Part>, values: Tensor) -> Self {
        Self { parts, values }
    }

    /// Returns the loss of one part.
    pub fn of(part: Part, loss: &BlockLoss) -> Result<Self, TrainError> {
        let values = Tensor::stack(&[loss.loss.detach(), loss.error.detach()], 0)?;
        Ok(Self::new(vec![part], values))
    }

    /// Reads the numbers: losses, then errors.
    pub fn values(&self) -> Result<Vec<f32>, TrainError> {
        Ok(self.values.to_vec1()?)
    }

    /// Checks that no loss is NaN or infinite. `epoch` and `step` count from 1.
    ///
    /// # Errors
    /// [`TrainError::Diverged`].
    pub fn check(&self, epoch: u32, step: u32) -> Result<(), TrainError> {
        finite(&named(&self.parts, &self.values()?), epoch, step)
    }
}

/// The report of a step, with losses that have not been read yet.
pub(crate) type UnreadStep = (StepReport, Vec<DeviceLosses>);

/// Reads the losses of `steps` in one transfer, and returns their reports.
///
/// # Errors
/// [`TrainError::Diverged`] for the first loss that is NaN or infinite.
pub(crate) fn read(steps: Vec<UnreadStep>) -> Result<Vec<StepReport>, TrainError> {
    let all: Vec<&Tensor> =
        steps.iter().flat_map(|(_, losses)| losses).map(|losses| &losses.values).collect();
    let values = match all.is_empty() {
        true => Vec::new(),
        false => Tensor::cat(&all, 0)?.to_vec1::<f32>()?,
    };
    let mut rest = values.as_slice();
    let mut reports = Vec::with_capacity(steps.len());
    for (mut report, losses) in steps {
        for unread in losses {
            let (values, after) = rest.split_at(2 * unread.parts.len());
            rest = after;
            report.losses.extend(named(&unread.parts, values));
        }
        finite(&report.losses, report.epoch, report.step)?;
        reports.push(report);
    }
    Ok(reports)
}

fn named(parts: &[Part], values: &[f32]) -> Vec<Loss> {
    let (losses, errors) = values.split_at(values.len() / 2);
    let loss =
        |(&part, (&loss, &error))| Loss { part, loss: f64::from(loss), error: f64::from(error) };
    parts.iter().zip(losses.iter().zip(errors)).map(loss).collect()
}

fn finite(losses: &[Loss], epoch: u32, step: u32) -> Result<(), TrainError> {
    match losses.iter().find(|loss| !loss.loss.is_finite()) {
        None => Ok(()),
        Some(&Loss { part, loss, .. }) => {
            let (loss, checkpoint) = (Some(loss), Checkpoint::None);
            Err(TrainError::Diverged { part, epoch, step, loss, checkpoint })
        }
    }
}

/// The sums of losses and errors over the steps of an epoch, and the number of steps, by part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSums(BTreeMap<Part, (f64, f64, u32)>);

impl LossSums {
    /// Adds the losses of one step.
    pub fn add(&mut self, report: &StepReport) {
        for loss in &report.losses {
            let sum = self.0.entry(loss.part).or_default();
            sum.0 += loss.loss;
            sum.1 += loss.error;
            sum.2 += 1;
        }
    }

    /// Returns the means, in the order of blocks, the readout last.
    pub fn means(&self) -> Vec<Loss> {
        let mean = |(&part, &(loss, error, count)): (&Part, &(f64, f64, u32))| {
            let count = f64::from(count);
            Loss { part, loss: loss / count, error: error / count }
        };
        self.0.iter().map(mean).collect()
    }
}

//! What steps were losses. Losses stay where they were computed until they are read: on a GPU a read waits for all that was
//! asked of it, so there it is done once for many steps.

use candle_core::{Device, Tensor};
use noprop_method::{BlockLoss, Draws, Part};

use crate::TrainError;

/// The loss of one part of the network in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartLoss {
    /// A block or the readout.
    pub part: Part,
    /// What was minimised.
    pub loss: f32,
    /// Mean ‖û − u_y‖² of a block, where all images count alike: comparable between blocks, and between trainings with other class
    /// weights. The readout and a whole chain have no such measure beside their loss, and repeat it here.
    pub error: f32,
}

/// What one step of one unit did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Epoch, counted from 1.
    pub epoch: u32,
    /// Step of the epoch, counted from 1.
    pub step: u32,
    /// The learning rate.
    pub lr: f64,
    /// Images in the batch.
    pub images: usize,
    /// The losses of the unit's blocks, or of the readout.
    pub losses: Vec<PartLoss>,
}

/// When losses are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reading {
    /// Before the parameters they belong to change: a loss that is no number leaves these as they were.
    #[default]
    AtOnce,
    /// When all steps of a call were made.
    Later,
}

/// The losses of some parts in one step, not yet read.
pub(crate) struct UnreadLosses {
    parts: Vec<Part>,
    /// The parts' losses, then their errors: `[2 parts]`.
    values: Tensor,
}

impl UnreadLosses {
    /// `values` are the losses of `parts`, then their errors.
    pub fn new(parts: Vec<Part>, values: Tensor) -> Self {
        Self { parts, values }
    }

    /// The loss of one part, which is checked if it is to be read at once.
    pub fn of(
        part: Part,
        loss: &BlockLoss,
        reading: Reading,
        draws: Draws,
    ) -> Result<Self, TrainError> {
        let values = Tensor::stack(&[loss.loss.detach(), loss.error.detach()], 0)?;
        let losses = Self::new(vec![part], values);
        if reading == Reading::AtOnce {
            finite(&losses.read()?, (draws.epoch() + 1, draws.step() + 1))?;
        }
        Ok(losses)
    }

    /// What another process read.
    pub fn told(part: Part, loss: f32, error: f32) -> Result<Self, TrainError> {
        Ok(Self::new(vec![part], Tensor::new(&[loss, error], &Device::Cpu)?))
    }

    /// The numbers.
    pub fn read(&self) -> Result<Vec<PartLoss>, TrainError> {
        Ok(self.numbered(&self.values.to_vec1()?))
    }

    fn numbered(&self, values: &[f32]) -> Vec<PartLoss> {
        let (losses, errors) = values.split_at(values.len() / 2);
        let values = losses.iter().zip(errors);
        let parts = self.parts.iter().zip(values);
        parts.map(|(&part, (&loss, &error))| PartLoss { part, loss, error }).collect()
    }
}

/// A step that was made, and its losses.
pub(crate) type UnreadStep = (StepReport, Vec<UnreadLosses>);

/// The reports of `steps` with their losses, all of which are read in one go.
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
            report.losses.extend(unread.numbered(values));
        }
        finite(&report.losses, (report.epoch, report.step))?;
        reports.push(report);
    }
    Ok(reports)
}

/// Refuses a loss that is no number. Epoch and step count from 1.
fn finite(losses: &[PartLoss], (epoch, step): (u32, u32)) -> Result<(), TrainError> {
    match losses.iter().find(|loss| !loss.loss.is_finite()) {
        None => Ok(()),
        Some(wrong) => Err(TrainError::Diverged {
            part: wrong.part.to_string(),
            epoch,
            step,
            value: wrong.loss,
            checkpoint: "nothing was saved yet".into(),
        }),
    }
}

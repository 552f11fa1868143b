//! The gradients of parameters that several losses reach: one contribution for each loss, added in block order.

use candle_core::{Device, Shape, Tensor};
use noprop_method::Part;

use crate::loss::DeviceLosses;
use crate::unit_state::PartState;
use crate::{RanksError, TrainError};

/// The value of a loss, and its gradients outside the part that it belongs to.
pub(crate) struct Contribution {
    pub losses: DeviceLosses,
    /// The gradients of every shared part, one for each parameter; `None` for a parameter that the loss does not reach.
    pub direct: Vec<Vec<Option<Tensor>>>,
    /// The gradient at the features of a shared encoder.
    pub at_features: Option<Tensor>,
}

impl Contribution {
    /// Appends the numbers that [`SharedSum::add_message`] reads: loss, error, then for each gradient a 1 and its values, or a
    /// 0 if there is none.
    pub fn write(&self, message: &mut Vec<f32>) -> Result<(), TrainError> {
        message.extend(self.losses.values()?);
        for gradient in self.direct.iter().flatten().chain([&self.at_features]) {
            let Some(gradient) = gradient else {
                message.push(0.0);
                continue;
            };
            message.push(1.0);
            message.extend(gradient.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }
}

/// The sum of contributions, added in the order in which they are given. It must be the order of blocks, or bits differ.
pub(crate) struct SharedSum {
    pub losses: Vec<DeviceLosses>,
    pub direct: Vec<Vec<Option<Tensor>>>,
    pub at_features: Option<Tensor>,
    /// The shapes of the gradients in `direct`.
    shapes: Vec<Vec<(Shape, Device)>>,
    features: Option<(Shape, Device)>,
}

impl SharedSum {
    /// Returns an empty sum. `features` is the output of the shared encoder for the batch, if there is a shared encoder.
    pub fn new(shared: &[PartState], features: Option<&Tensor>) -> Self {
        let like = |tensor: &Tensor| (tensor.shape().clone(), tensor.device().clone());
        let shapes: Vec<Vec<_>> = shared
            .iter()
            .map(|part| part.trained.iter().map(|parameter| like(&parameter.var)).collect())
            .collect();
        Self {
            losses: Vec::new(),
            direct: shapes.iter().map(|part| vec![None; part.len()]).collect(),
            at_features: None,
            shapes,
            features: features.map(like),
        }
    }

    pub fn add(&mut self, contribution: Contribution) -> Result<(), TrainError> {
        self.losses.push(contribution.losses);
        self.at_features = add(self.at_features.take(), contribution.at_features)?;
        self.add_direct(contribution.direct)
    }

    /// Adds gradients of the shared parts to the sum.
    pub fn add_direct(&mut self, more: Vec<Vec<Option<Tensor>>>) -> Result<(), TrainError> {
        for (sum, more) in self.direct.iter_mut().zip(more) {
            let each = std::mem::take(sum).into_iter().zip(more);
            *sum = each.map(|(sum, more)| add(sum, more)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Adds the contributions of the `parts` of rank `rank`, read from its message.
    ///
    /// # Errors
    /// [`RanksError::Malformed`] for a message that [`Contribution::write`] does not write for these parts.
    pub fn add_message(
        &mut self,
        rank: usize,
        parts: impl Iterator<Item = Part>,
        message: &[f32],
    ) -> Result<(), TrainError> {
        let mut message = Message { rank, rest: message };
        for part in parts {
            let (loss, error) = (message.number()?, message.number()?);
            let mut direct = Vec::with_capacity(self.shapes.len());
            for part in &self.shapes {
                let gradients = part.iter().map(|like| message.gradient(like));
                direct.push(gradients.collect::<Result<_, TrainError>>()?);
            }
            let at_features = match &self.features {
                Some(like) => message.gradient(like)?,
                None => {
                    message.number()?;
                    None
                }
            };
            let values = Tensor::new(&[loss, error], &Device::Cpu)?;
            let losses = DeviceLosses::new(vec![part], values);
            self.add(Contribution { losses, direct, at_features })?;
        }
        match message.rest {
            [] => Ok(()),
            _ => {
                Err(RanksError::Malformed { rank, reason: "more than belongs to its blocks" }
                    .into())
            }
        }
    }
}

/// The unread rest of a rank's message.
struct Message<'a> {
    rank: usize,
    rest: &'a [f32],
}

impl<'a> Message<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [f32], RanksError> {
        let (rank, reason) = (self.rank, "less than belongs to its blocks");
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(RanksError::Malformed { rank, reason })?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<f32, RanksError> {
        Ok(self.take(1)?.iter().sum())
    }

    fn gradient(
        &mut self,
        (shape, device): &(Shape, Device),
    ) -> Result<Option<Tensor>, TrainError> {
        if self.number()? == 0.0 {
            return Ok(None);
        }
        let values = self.take(shape.elem_count())?;
        Ok(Some(Tensor::from_slice(values, shape.clone(), device)?))
    }
}

/// Returns a + b; a missing one counts as 0.
fn add(a: Option<Tensor>, b: Option<Tensor>) -> Result<Option<Tensor>, TrainError> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some((a + b)?),
        (a, b) => a.or(b),
    })
}

//! What one loss gives to the parameters that several losses reach, and how it travels between processes.

use candle_core::{Device, Shape, Tensor};

use crate::losses::{PartLoss, UnreadLosses};
use crate::unit_state::{PartState, add};
use crate::{PeersError, TrainError};

/// A loss's value and its gradients outside its own part.
pub(crate) struct Contribution {
    pub loss: UnreadLosses,
    /// One for every shared part, a place a parameter.
    pub direct: Vec<Vec<Option<Tensor>>>,
    /// At the features of a shared encoder, where the gradient stops for now.
    pub at_features: Option<Tensor>,
}

impl Contribution {
    /// Appends the numbers that [`SharedSum::add_message`] reads: loss, error, then each gradient behind a 1, or a 0 where there is none.
    pub fn write(&self, message: &mut Vec<f32>) -> Result<(), TrainError> {
        for PartLoss { loss, error, .. } in self.loss.read()? {
            message.extend([loss, error]);
        }
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

/// Contributions, added in the order in which they are given: that must be the order of blocks, or bits differ.
pub(crate) struct SharedSum {
    pub losses: Vec<UnreadLosses>,
    pub direct: Vec<Vec<Option<Tensor>>>,
    pub at_features: Option<Tensor>,
    /// What a gradient is shaped like, as `direct` has them.
    shapes: Vec<Vec<(Shape, Device)>>,
    features: Option<(Shape, Device)>,
}

impl SharedSum {
    /// Nothing yet. `features` is what a shared encoder makes of the batch, if there is one.
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
        self.losses.push(contribution.loss);
        self.at_features = add(self.at_features.take(), contribution.at_features)?;
        for (sum, more) in self.direct.iter_mut().zip(contribution.direct) {
            *sum = add_each(std::mem::take(sum), more)?;
        }
        Ok(())
    }

    /// Adds what rank `rank` wrote of its `parts`.
    ///
    /// # Errors
    /// [`PeersError::Malformed`] for anything that [`Contribution::write`] does not write here.
    pub fn add_message(
        &mut self,
        rank: usize,
        parts: &[PartState],
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
            let loss = UnreadLosses::told(part.part, loss, error)?;
            self.add(Contribution { loss, direct, at_features })?;
        }
        match message.rest {
            [] => Ok(()),
            _ => {
                Err(PeersError::Malformed { rank, reason: "more than belongs to its blocks" }
                    .into())
            }
        }
    }
}

/// What is still to be read of a rank's message.
struct Message<'a> {
    rank: usize,
    rest: &'a [f32],
}

impl<'a> Message<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [f32], PeersError> {
        let (rank, reason) = (self.rank, "less than belongs to its blocks");
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(PeersError::Malformed { rank, reason })?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<f32, PeersError> {
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

pub(crate) fn add_each(
    sums: Vec<Option<Tensor>>,
    more: Vec<Option<Tensor>>,
) -> Result<Vec<Option<Tensor>>, TrainError> {
    sums.into_iter().zip(more).map(|(sum, more)| add(sum, more)).collect()
}

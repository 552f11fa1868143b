//! One training step of one unit: images → features → losses → gradients → update.
//!
//! A step does not depend on threads, ranks or devices: [`Turns`] carries out the turns of a unit's blocks.

use candle_core::{Tensor, Var};
use noprop_kernels::backward;
use noprop_method::{
    BlockLoss, Blockwise, Denoiser, Draws, EndToEnd, Losses, Method, MethodError, Part, Pass, Seed,
};

use crate::batches::Batch;
use crate::learning_rate::{Position, Rate};
use crate::loss::{DeviceLosses, StepReport, UnreadStep};
use crate::shared_sum::{Contribution, SharedSum};
use crate::unit_state::{PartState, UnitState};
use crate::{TrainConfig, TrainError, Unit};

/// The network and the method of a training.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a> {
    pub network: &'a dyn Denoiser,
    pub method: &'a dyn Method,
}

/// The settings that all steps have in common.
pub(crate) struct Plan {
    pub config: TrainConfig,
    pub seed: Seed,
    pub rate: Rate,
    /// The number of steps in one pass over the training images.
    pub steps_per_pass: u32,
    /// The number of passes in an epoch.
    pub passes: u32,
    pub inputs: Inputs,
}

/// The kind of inputs in a batch.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Inputs {
    /// Images. They go through the image branch in every step.
    Images,
    /// Features of a frozen encoder. They were computed once.
    Features,
}

impl Plan {
    /// Returns the number of steps in one epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.steps_per_pass * self.passes
    }

    /// Returns the number of steps in the whole training.
    pub fn total_steps(&self) -> u64 {
        u64::from(self.config.epochs) * u64::from(self.steps_per_epoch())
    }

    /// Returns the epoch, and the step of its pass, both from 0, of a unit that has made `position` steps.
    pub fn place(&self, position: u64) -> (u32, u32) {
        let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
        let epoch = position / u64::from(self.steps_per_epoch());
        (number(epoch), number(position % u64::from(self.steps_per_pass)))
    }

    /// Returns the pass of its epoch, from 0, of a unit that has made `position` steps.
    fn pass(&self, position: u64) -> u32 {
        let pass = position / u64::from(self.steps_per_pass) % u64::from(self.passes);
        u32::try_from(pass).unwrap_or(u32::MAX)
    }

    /// Returns the learning rate of a unit that has made `position` steps.
    pub fn lr(&self, position: u64) -> f64 {
        (self.rate)(Position { step: position, steps: self.total_steps() })
    }

    /// Returns the number of a step in its epoch, from 1, over all passes.
    fn step_of_epoch(&self, batch: &Batch, pass: u32) -> u32 {
        pass * self.steps_per_pass + batch.step + 1
    }

    /// Counts a step that `state` has made with `batch`, here or on another rank. Returns its report, without losses.
    pub fn count(&self, state: &mut UnitState, batch: &Batch) -> Result<StepReport, TrainError> {
        let lr = self.lr(state.position);
        let step = self.step_of_epoch(batch, self.pass(state.position));
        state.position += 1;
        let (epoch, images) = (batch.epoch + 1, batch.labels.dim(0)?);
        Ok(StepReport { epoch, step, lr, images, losses: Vec::new() })
    }
}

/// A function that makes the turn of one part in a step, and returns its contribution.
pub(crate) type Turn<'a> = dyn Fn(&mut PartState) -> Result<Contribution, TrainError> + Sync + 'a;

/// Carries out the turns of a step.
pub(crate) trait Turns: Sync {
    /// Makes the turns of `parts`, which belong to one step of `unit`, and adds their contributions to `sum` in their order.
    fn turns(
        &self,
        unit: Unit,
        parts: Vec<&mut PartState>,
        turn: &Turn<'_>,
        sum: SharedSum,
    ) -> Result<SharedSum, TrainError>;

    /// Returns whether losses are read after many steps instead of within each step.
    fn reads_late(&self) -> bool;
}

/// A step of one unit that has not been made yet.
pub(crate) struct Step<'a> {
    pub model: Model<'a>,
    pub plan: &'a Plan,
    pub engine: &'a dyn Turns,
    pub batch: &'a Batch,
    /// The blocks that make no turn.
    pub paused: &'a [usize],
}

impl Step<'_> {
    /// Makes the step: updates the unit's parameters and returns its losses.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] for a loss that is NaN or infinite, if losses are read within the step. The part that the loss
    /// belongs to is then as before the step.
    pub fn make(&self, state: &mut UnitState) -> Result<UnreadStep, TrainError> {
        let pass = self.plan.pass(state.position);
        let draws = self.plan.seed.at(self.batch.epoch, self.batch.step).in_pass(pass);
        let lr = self.plan.lr(state.position);
        let losses = match self.model.method.losses() {
            Losses::Blockwise(method) => self.blockwise(method, state, pass, draws, lr)?,
            Losses::EndToEnd(method) => self.end_to_end(method, state, draws, lr)?,
        };
        Ok((self.plan.count(state, self.batch)?, losses))
    }

    /// Makes a step of blocks that each have a loss, and of the parameters that several losses reach: a shared encoder, class
    /// embeddings, a noise schedule.
    ///
    /// All blocks read the same shared parameters. A block is updated as soon as its backward pass is done, so memory does not
    /// grow with the number of blocks. The contributions of the losses to the shared parameters are added in block order, and
    /// the shared parameters take one step at the end. The gradients for a shared encoder stop at the features, are added
    /// there, and go through the encoder once.
    ///
    /// In [`Unit::InTurn`] one block and the readout have a turn in each step. Algorithm 1 draws t, and a block's loss is 1/T
    /// of an expectation over t. The loss of the block in its turn replaces the T losses, so it is multiplied by T.
    fn blockwise(
        &self,
        method: &dyn Blockwise,
        state: &mut UnitState,
        pass: u32,
        draws: Draws,
        lr: f64,
    ) -> Result<Vec<DeviceLosses>, TrainError> {
        let (network, unit) = (self.model.network, state.unit);
        let (shared, own) = state.split();
        let is_paused =
            |part: &&mut PartState| matches!(part.part, Part::Block(t) if self.paused.contains(&t));
        let turns = own.iter_mut().filter(|part| unit.has_turn(part.part, pass));
        let (missed, turns): (Vec<_>, Vec<_>) = turns.partition(is_paused);
        missed.into_iter().for_each(|part| part.missed += 1);
        // If no block learns, the encoder does not see the images: its running statistics would move.
        let is_seen =
            self.paused.is_empty() || turns.iter().any(|part| matches!(part.part, Part::Block(_)));

        // Images → features, if the blocks share an encoder. `leaf` is a copy cut from the encoder's graph.
        let encoded = match is_seen && shared.iter().any(|part| part.part == Part::Encoder) {
            true => Some(self.features(Part::Encoder, draws)?),
            false => None,
        };
        let leaf = match &encoded {
            Some(encoded) => Some(Var::from_tensor(&encoded.detach())?),
            None => None,
        };

        // Features → loss → gradients → update, for each block and the readout.
        let turn = |part: &mut PartState| {
            let loss = match (part.part, &leaf) {
                (Part::Block(t), Some(leaf)) => self.block_loss(method, t, leaf, draws)?,
                (Part::Block(t), None) => {
                    let encoder = network.encoder_part(t);
                    self.block_loss(method, t, &self.features(encoder, draws)?, draws)?
                }
                _ => {
                    let readout = method.readout_loss().ok_or(TrainError::NoReadoutLoss)?;
                    BlockLoss::plain(readout.loss(network, self.batch.targets(), draws)?)
                }
            };
            let losses = self.graded(part.part, &loss, pass)?;
            let gradients = match unit.weight_of_turn(part.part) {
                None => backward(&loss.loss)?,
                Some(weight) => backward(&(loss.loss * weight)?)?,
            };
            part.update(&gradients, lr)?;
            Ok(Contribution {
                losses,
                direct: shared.iter().map(|part| part.gradients(&gradients)).collect(),
                at_features: leaf.as_ref().and_then(|leaf| gradients.get(leaf).cloned()),
            })
        };
        let sum = SharedSum::new(shared, leaf.as_deref());
        let mut sum = self.engine.turns(unit, turns, &turn, sum)?;

        // Gradients at the features → gradients of the encoder. With g = dL/df held constant, the gradient of Σ f·g is the
        // encoder's gradient of L.
        if let (Some(gradient), Some(encoded)) = (sum.at_features.take(), encoded) {
            let gradients = backward(&(encoded * gradient.detach())?.sum_all()?)?;
            sum.add_direct(shared.iter().map(|part| part.gradients(&gradients)).collect())?;
        }
        // One update of the shared parts.
        for (part, gradients) in shared.iter_mut().zip(sum.direct) {
            // Where the blocks that train it are paused it learns nothing. The readout's loss alone reaches only a part of a schedule.
            if !self.paused.is_empty() && gradients.iter().any(Option::is_none) {
                part.missed += 1;
            } else {
                part.update_with(gradients, lr)?;
            }
        }
        Ok(sum.losses)
    }

    /// Makes a step of the whole chain: the method propagates the gradient at the end of the chain to all parts.
    fn end_to_end(
        &self,
        method: &dyn EndToEnd,
        state: &mut UnitState,
        draws: Draws,
        lr: f64,
    ) -> Result<Vec<DeviceLosses>, TrainError> {
        let network = self.model.network;
        let shared = match network.encoder_part(1) {
            Part::Encoder => Some(self.features(Part::Encoder, draws)?),
            _ => None,
        };
        let features = |block: usize| match &shared {
            Some(features) => Ok(features.clone()),
            None => {
                let part = network.encoder_part(block);
                let pass = Pass::Train(draws.dropout(part));
                Ok::<_, MethodError>(network.encode(part, &self.batch.inputs, pass)?)
            }
        };
        let done = method.end_to_end(network, &features, self.batch.targets(), draws)?;
        let losses = self.graded(Part::Readout, &BlockLoss::plain(done.loss), 0)?;
        for part in &mut state.parts {
            part.update(&done.gradients, lr)?;
        }
        Ok(vec![losses])
    }

    /// Returns the output of the image branch of `part` for the batch.
    pub fn features(&self, part: Part, draws: Draws) -> Result<Tensor, TrainError> {
        match self.plan.inputs {
            Inputs::Features => Ok(self.batch.inputs.clone()),
            Inputs::Images => {
                let pass = Pass::Train(draws.dropout(part));
                Ok(self.model.network.encode(part, &self.batch.inputs, pass)?)
            }
        }
    }

    fn block_loss(
        &self,
        method: &dyn Blockwise,
        block: usize,
        features: &Tensor,
        draws: Draws,
    ) -> Result<BlockLoss, TrainError> {
        Ok(method.block_loss(self.model.network, block, features, self.batch.targets(), draws)?)
    }

    /// Returns the losses to report. They are checked here, before the part changes, unless the engine reads them later.
    fn graded(&self, part: Part, loss: &BlockLoss, pass: u32) -> Result<DeviceLosses, TrainError> {
        let losses = DeviceLosses::of(part, loss)?;
        if !self.engine.reads_late() {
            losses.check(self.batch.epoch + 1, self.plan.step_of_epoch(self.batch, pass))?;
        }
        Ok(losses)
    }
}

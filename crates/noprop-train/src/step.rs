//! One step of one unit: loss, gradients, update.

use candle_core::{Device, Tensor, Var};
use noprop_kernels::threads::{self, Workers};
use noprop_method::{BlockLoss, Denoiser, Draws, Objective, Part, Pass, Seed};

use crate::batches::Batch;
use crate::contribution::{Contribution, SharedSum, add_each};
use crate::losses::{PartLoss, Reading, StepReport, UnreadLosses, UnreadStep, read};
use crate::peers::share;
use crate::unit_state::{PartState, UnitState};
use crate::{Grouping, LearningRate, Peers, TrainConfig, TrainError, Unit};

/// What the units have in common and none of them changes.
pub(crate) struct Task<'a> {
    pub network: &'a dyn Denoiser,
    pub objective: &'a dyn Objective,
    pub config: TrainConfig,
    pub seed: Seed,
    pub rate: LearningRate,
    /// Steps of one pass over the training images.
    pub steps_per_pass: u32,
    /// Passes of an epoch.
    pub passes: u32,
    /// Whether batches hold features instead of images.
    pub encoded: Encoded,
    pub workers: Workers,
    pub peers: &'a dyn Peers,
    pub reading: Reading,
}

/// Who runs the image branch.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Encoded {
    /// Every step.
    EachStep,
    /// Nobody: it is frozen, and its output was computed once.
    Once,
}

/// A unit, and the batches of its next steps.
pub(crate) type Job<'a> = (&'a mut UnitState, Vec<Batch>);

impl Task<'_> {
    /// The next steps of a unit.
    pub fn advance_by(&self, (unit, batches): Job<'_>) -> Result<Vec<StepReport>, TrainError> {
        read(batches.iter().map(|batch| self.advance(unit, batch)).collect::<Result<_, _>>()?)
    }

    /// When losses are read where blocks are trained in this grouping. A GPU would wait for the host at every read; other processes
    /// wait for the numbers.
    pub fn reading_of(&self, grouping: Grouping) -> Reading {
        let late = grouping == Grouping::SideBySide || !self.device().is_cpu();
        if late && self.peers.is_alone() { Reading::Later } else { Reading::AtOnce }
    }

    /// Where the network is.
    pub fn device(&self) -> &Device {
        self.network.class_embeddings().device()
    }

    pub fn steps_per_epoch(&self) -> u32 {
        self.steps_per_pass * self.passes
    }

    /// Epoch and step of its pass, both from 0, of a unit that has made `position` steps.
    pub fn place(&self, position: u64) -> (u32, u32) {
        let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
        let epoch = position / u64::from(self.steps_per_epoch());
        (number(epoch), number(position % u64::from(self.steps_per_pass)))
    }

    /// The pass of its epoch, from 0, of a unit that has made `position` steps.
    fn pass(&self, position: u64) -> u32 {
        let pass = position / u64::from(self.steps_per_pass) % u64::from(self.passes);
        u32::try_from(pass).unwrap_or(u32::MAX)
    }

    /// The next step of a unit.
    pub fn advance(&self, state: &mut UnitState, batch: &Batch) -> Result<UnreadStep, TrainError> {
        let draws = self.seed.at(batch.epoch, batch.step);
        let lr = self.rate.at(state.position);
        let losses = match state.unit {
            Unit::SharedEncoder { .. } | Unit::Joint { .. } | Unit::InTurn { .. } => {
                self.joint(state, batch, draws.in_pass(self.pass(state.position)), lr)?
            }
            Unit::EndToEnd { .. } => vec![self.end_to_end(&mut state.parts, batch, draws, lr)?],
            Unit::Block(_) | Unit::Readout => state
                .parts
                .iter_mut()
                .map(|part| {
                    let features = self.own_features(part.part, batch, draws)?;
                    let (loss, graded) = self.loss(part.part, features.as_ref(), batch, draws)?;
                    part.step(&loss.loss.backward()?, lr)?;
                    Ok(graded)
                })
                .collect::<Result<_, TrainError>>()?,
        };
        Ok((self.report(state, batch, Vec::new())?, losses))
    }

    /// Counts a step that was made, here or elsewhere.
    pub fn report(
        &self,
        state: &mut UnitState,
        batch: &Batch,
        losses: Vec<PartLoss>,
    ) -> Result<StepReport, TrainError> {
        let lr = self.rate.at(state.position);
        state.position += 1;
        let step = self.pass(state.position - 1) * self.steps_per_pass + batch.step + 1;
        let epoch = batch.epoch + 1;
        Ok(StepReport { epoch, step, lr, images: batch.labels.dim(0)?, losses })
    }

    /// The features that a part's own image branch makes, if it looks at images.
    fn own_features(
        &self,
        part: Part,
        batch: &Batch,
        draws: Draws,
    ) -> Result<Option<Tensor>, TrainError> {
        match part {
            Part::Block(t) => {
                Ok(Some(self.features(batch, self.network.encoder_part(t), draws)?))
            }
            Part::Encoder | Part::Embedding | Part::Schedule | Part::Readout => Ok(None),
        }
    }

    /// The loss of a block, or of the readout.
    fn loss(
        &self,
        part: Part,
        features: Option<&Tensor>,
        batch: &Batch,
        draws: Draws,
    ) -> Result<(BlockLoss, UnreadLosses), TrainError> {
        let loss = match (part, features) {
            (Part::Block(t), Some(features)) => {
                self.objective.block_loss(self.network, t, features, batch.targets(), draws)?
            }
            _ => {
                let loss = self.objective.readout_loss(self.network, batch.targets(), draws)?;
                BlockLoss { error: loss.detach(), loss }
            }
        };
        let graded = UnreadLosses::of(part, &loss, self.reading, draws)?;
        Ok((loss, graded))
    }

    /// One step of blocks that share an encoder, class embeddings or a noise schedule: the parts that several losses reach stand
    /// before the blocks. All blocks read the same shared parameters; what each loss contributes to them is added in block
    /// order, and they take one step at the end. Gradients of a shared encoder stop at the features, are added there, and go through it once.
    /// A block is done when its turn is over, its update included, so memory does not grow with the number of blocks.
    ///
    /// Of several processes each has the turns of its share; what they contribute goes to all, and every one takes the shared
    /// parts' step.
    ///
    /// In [`Unit::InTurn`] one block and the readout have a turn in each step. Algorithm 1 draws t, so the block's loss, a T-th of an
    /// expectation over t, then stands for T of them.
    fn joint(
        &self,
        state: &mut UnitState,
        batch: &Batch,
        draws: Draws,
        lr: f64,
    ) -> Result<Vec<UnreadLosses>, TrainError> {
        let (first, unit) = (state.own().start, state.unit);
        let in_turn = match unit {
            Unit::InTurn { .. } => Some(Part::Block(self.pass(state.position) as usize + 1)),
            _ => None,
        };
        let (shared, own) = state.parts.split_at_mut(first);
        let encoded = match shared.iter().any(|state| state.part == Part::Encoder) {
            true => Some(self.features(batch, Part::Encoder, draws)?),
            false => None,
        };
        let leaf = match &encoded {
            Some(encoded) => Some(Var::from_tensor(&encoded.detach())?),
            None => None,
        };
        let turn = |state: &mut PartState| {
            let features = match &leaf {
                Some(leaf) => Some(leaf.as_tensor().clone()),
                None => self.own_features(state.part, batch, draws)?,
            };
            let (loss, graded) = self.loss(state.part, features.as_ref(), batch, draws)?;
            let share = if in_turn == Some(state.part) { f64::from(unit.passes()) } else { 1.0 };
            let pass = match share {
                1.0 => loss.loss.backward()?,
                share => (loss.loss * share)?.backward()?,
            };
            state.step(&pass, lr)?;
            let at_features = leaf.as_ref().and_then(|leaf| pass.get(leaf).cloned());
            let direct = shared.iter().map(|state| state.gradients(&pass)).collect();
            Ok::<_, TrainError>(Contribution { loss: graded, direct, at_features })
        };
        let count = own.len();
        let (rank, ranks) =
            if unit.has_shares() { (self.peers.rank(), self.peers.size()) } else { (0, 1) };
        let mut sum = SharedSum::new(shared, leaf.as_deref());
        let mut message = Vec::new();
        let mut failed = None;
        // Taken as they come, so that no more than a few blocks' gradients are held at a time.
        let mut take = |contribution: Contribution| match ranks {
            1 => sum.add(contribution),
            _ => contribution.write(&mut message),
        };
        let has_turn = |state: &&mut PartState| {
            in_turn.is_none_or(|block| state.part == block || state.part == Part::Readout)
        };
        let mine = own[share(count, rank, ranks)].iter_mut().filter(has_turn).collect();
        threads::fold_side_by_side(self.workers, mine, turn, |done| {
            if failed.is_none() {
                failed = done.and_then(&mut take).err();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if ranks > 1 {
            for (rank, message) in self.peers.gather(message)?.iter().enumerate() {
                sum.add_message(rank, &own[share(count, rank, ranks)], message)?;
            }
        }
        let SharedSum { losses, direct: mut gradients, at_features, .. } = sum;
        if let (Some(gradient), Some(encoded)) = (at_features, encoded) {
            // The gradient of Σ f·g with g held constant is the encoder's gradient for dL/df = g.
            let pass = (encoded * gradient.detach())?.sum_all()?.backward()?;
            for (sum, state) in gradients.iter_mut().zip(&*shared) {
                *sum = add_each(std::mem::take(sum), state.gradients(&pass))?;
            }
        }
        for (state, gradients) in shared.iter_mut().zip(gradients) {
            state.step_with(gradients, lr)?;
        }
        Ok(losses)
    }

    /// One step of the whole chain, for comparison: the method brings the gradient of its end to all parts.
    fn end_to_end(
        &self,
        parts: &mut [PartState],
        batch: &Batch,
        draws: Draws,
        lr: f64,
    ) -> Result<UnreadLosses, TrainError> {
        let network = self.network;
        let shared = match network.encoder_part(1) {
            Part::Encoder => Some(self.features(batch, Part::Encoder, draws)?),
            _ => None,
        };
        let features = |block: usize| match &shared {
            Some(features) => Ok(features.clone()),
            None => {
                let part = network.encoder_part(block);
                Ok(network.encode(part, &batch.inputs, Pass::Train(draws.dropout(part)))?)
            }
        };
        let done = self.objective.end_to_end(network, &features, batch.targets(), draws)?;
        let loss = BlockLoss { error: done.loss.clone(), loss: done.loss };
        let graded = UnreadLosses::of(Part::Readout, &loss, self.reading, draws)?;
        for part in parts {
            part.step(&done.gradients, lr)?;
        }
        Ok(graded)
    }

    /// What the encoder of `part` makes of the batch.
    pub fn features(&self, batch: &Batch, part: Part, draws: Draws) -> Result<Tensor, TrainError> {
        match self.encoded {
            Encoded::Once => Ok(batch.inputs.clone()),
            Encoded::EachStep => {
                let pass = Pass::Train(draws.dropout(part));
                Ok(self.network.encode(part, &batch.inputs, pass)?)
            }
        }
    }
}

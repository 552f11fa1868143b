//! One step of one unit: batch, loss, gradients, update.

use std::num::NonZeroUsize;

use candle_core::{Device, Tensor, Var};
use noprop_data::Split;
use noprop_kernels::keeping_copies;
use noprop_kernels::threads::{self, Workers};
use noprop_method::{BlockLoss, Denoiser, Draws, EncoderKind, Objective, Part, Pass, Seed};

use crate::batches::{Batch, Batches, frozen_features};
use crate::contribution::{Contribution, SharedSum, add_each};
use crate::losses::{PartLoss, Reading, StepReport, UnreadLosses, UnreadStep, read, read_one};
use crate::peers::share;
use crate::stacked::{Grouping, Stack};
use crate::unit_state::{PartState, UnitState};
use crate::{Alone, LearningRate, Peers, TrainConfig, TrainError, Unit};

/// Steps of a unit before the next unit's turn.
pub(crate) const STRIDE: u32 = 8;

/// Trains the units of a network. See the crate's documentation for what a unit is.
pub struct Trainer<'a> {
    pub(crate) task: Task<'a>,
    pub(crate) units: Vec<UnitState>,
    pub(crate) batches: Batches<'a>,
    pub(crate) grouping: Grouping,
    /// Copies of the blocks side by side, as long as they are what the blocks are.
    pub(crate) stack: Option<Stack<'a>>,
}

/// What the units have in common and none of them changes.
pub(crate) struct Task<'a> {
    pub(crate) network: &'a dyn Denoiser,
    pub(crate) objective: &'a dyn Objective,
    pub(crate) config: TrainConfig,
    pub(crate) seed: Seed,
    pub(crate) rate: LearningRate,
    steps_per_epoch: u32,
    /// Whether batches hold features instead of images.
    encoded: Encoded,
    pub(crate) workers: Workers,
    pub(crate) peers: &'a dyn Peers,
    pub(crate) reading: Reading,
}

/// Who runs the image branch.
#[derive(Clone, Copy, PartialEq)]
enum Encoded {
    /// Every step.
    EachStep,
    /// Nobody: it is frozen, and its output was computed once.
    Once,
}

impl<'a> Trainer<'a> {
    /// A trainer at the beginning of training. A frozen encoder sees all training images here, once.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`] for settings that do not fit the data; candle's for images that do not fit the network.
    pub fn new(
        network: &'a dyn Denoiser,
        objective: &'a dyn Objective,
        train: &'a Split,
        config: TrainConfig,
        seed: Seed,
    ) -> Result<Self, TrainError> {
        config.validate(train.len())?;
        config.check_augmentation(train, network.encoder())?;
        let units = Unit::of(network, objective)
            .into_iter()
            .map(|unit| UnitState::new(unit, network, &config))
            .collect::<Result<_, _>>()?;
        let features = match network.encoder() {
            EncoderKind::Frozen => Some(frozen_features(network, train)?),
            EncoderKind::PerBlock | EncoderKind::Shared => None,
        };
        let encoded = if features.is_some() { Encoded::Once } else { Encoded::EachStep };
        let task = Task {
            network,
            objective,
            config,
            seed,
            rate: config.learning_rate(train.len()),
            steps_per_epoch: config.steps_per_epoch(train.len()),
            encoded,
            workers: match network.class_embeddings().device() {
                Device::Cpu => Workers::Auto,
                // A GPU has one queue.
                Device::Cuda(_) | Device::Metal(_) => Workers::Exactly(NonZeroUsize::MIN),
            },
            peers: &Alone,
            reading: Reading::AtOnce,
        };
        let batches = Batches::new(train, features, &config, seed);
        let grouping = Grouping::OneByOne;
        Ok(Self { task, units, batches, grouping, stack: None })
    }

    /// The same trainer with so many blocks in training at a time; on a GPU, which has one queue, it stays one.
    #[must_use]
    pub fn block_workers(mut self, workers: Workers) -> Self {
        if self.task.network.class_embeddings().device().is_cpu() {
            self.task.workers = workers;
        }
        self
    }

    /// The same trainer as one of several that train together, each its share of the blocks. All need the same network, data
    /// and settings, and must be asked for the same steps. What is trained end to end has no shares: every process does it all.
    #[must_use]
    pub fn among(mut self, peers: &'a dyn Peers) -> Self {
        self.task.peers = peers;
        self
    }

    /// Those who train together.
    pub fn peers(&self) -> &'a dyn Peers {
        self.task.peers
    }

    /// The same trainer for some of its units: the others are somebody else's.
    #[must_use]
    pub fn only(mut self, units: &[Unit]) -> Self {
        self.units.retain(|state| units.contains(&state.unit));
        self
    }

    /// The units, in the order in which a step visits them.
    pub fn units(&self) -> Vec<Unit> {
        self.units.iter().map(|state| state.unit).collect()
    }

    /// The network in training.
    pub fn network(&self) -> &'a dyn Denoiser {
        self.task.network
    }

    /// The objective it is trained for.
    pub fn objective(&self) -> &'a dyn Objective {
        self.task.objective
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.task.steps_per_epoch
    }

    /// Training images that an epoch visits.
    pub fn images_per_epoch(&self) -> usize {
        let images = self.batches.images.len();
        (self.task.steps_per_epoch as usize * self.task.config.batch_size).min(images)
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.task.config
    }

    /// How many steps at a time [`Self::advance_all`] is best given: more than one only where no unit has to wait for another
    /// within a step, and never much of an epoch, since a training stops between two calls. Where losses are read
    /// late, as on a GPU, it is an epoch.
    pub fn stride(&self) -> u32 {
        if self.task.reading == Reading::Later {
            // Losses are read once an epoch, and blocks that were copied are written back.
            return self.task.steps_per_epoch;
        }
        if self.units.iter().any(UnitState::shares) {
            return 1;
        }
        STRIDE.min(self.task.steps_per_epoch / 4).max(1)
    }

    /// Whether unit number `unit` has made all its steps.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn is_done(&self, unit: usize) -> bool {
        self.units[unit].position >= self.task.rate.total_steps
    }

    /// Makes the next step of unit number `unit`, an index into [`Self::units`].
    ///
    /// What the step does depends on the unit, its position and the data, and on nothing that other units did.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if a loss is NaN or infinite (where losses are read at once, the part it belongs to is
    /// then as before the step),
    /// [`TrainError::MissingGradient`] if a trainable variable received none.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn advance(&mut self, unit: usize) -> Result<StepReport, TrainError> {
        self.forget_copies();
        let Self { task, units, batches, .. } = self;
        let unit = &mut units[unit];
        keeping_copies(task.device(), || {
            let batch = batches.at(task.place(unit.position))?;
            read_one(task.advance(unit, &batch)?)
        })
    }

    /// Makes the next `steps` steps of every unit, with several units at a time where that keeps all threads busy; the
    /// weights are those of one unit after the other. Returns the reports of each step, in the order of [`Self::units`].
    ///
    /// Several steps at once are faster where blocks share nothing: a block's weights and moments then stay in the cache.
    ///
    /// # Errors
    /// As for [`Self::advance`]; of several, that of the first unit, or of the first step where losses are read late.
    pub fn advance_all(&mut self, steps: u32) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let all: Vec<usize> = (0..self.units.len()).collect();
        self.advance_units(&all, steps)
    }

    /// [`Self::advance_all`] for the units with these numbers, in rising order; the others stay where they are.
    ///
    /// # Errors
    /// As for [`Self::advance_all`].
    pub fn advance_units(
        &mut self,
        chosen: &[usize],
        steps: u32,
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        // In one call all blocks make the same step.
        let first = self.units.first().map(|unit| unit.position);
        let side_by_side = self.grouping == Grouping::SideBySide
            && chosen.len() == self.units.len()
            && self.units.iter().all(|unit| Some(unit.position) == first);
        if !side_by_side {
            self.forget_copies();
        }
        match self.task.reading {
            Reading::Later => {
                let device = self.task.device().clone();
                let made = keeping_copies(&device, || match side_by_side {
                    true => self.advance_side_by_side(steps),
                    false => self.advance_in_step(chosen, steps),
                })?;
                let units = if side_by_side { 1 } else { chosen.len() };
                Ok(read(made)?.chunks(units.max(1)).map(<[_]>::to_vec).collect())
            }
            Reading::AtOnce => self.advance_by_unit(chosen, steps),
        }
    }

    /// The next `steps` steps of the `chosen` units, each step of all before the next of any: one batch at a time.
    fn advance_in_step(
        &mut self,
        chosen: &[usize],
        steps: u32,
    ) -> Result<Vec<UnreadStep>, TrainError> {
        let Self { task, units, batches, .. } = self;
        let mut made = Vec::with_capacity(steps as usize * chosen.len());
        for _ in 0..steps {
            for (_, unit) in
                units.iter_mut().enumerate().filter(|(number, _)| chosen.contains(number))
            {
                let batch = batches.at(task.place(unit.position))?;
                made.push(task.advance(unit, &batch)?);
            }
        }
        Ok(made)
    }

    /// The next `steps` steps of the `chosen` units, all of a unit before the next unit, several units at a time.
    fn advance_by_unit(
        &mut self,
        chosen: &[usize],
        steps: u32,
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let Self { task, units, batches, .. } = self;
        let jobs = units
            .iter_mut()
            .enumerate()
            .filter(|(number, _)| chosen.contains(number))
            .map(|(_, unit)| {
                let places = (0..steps.into()).map(|ahead| task.place(unit.position + ahead));
                let batches =
                    places.map(|place| batches.at(place)).collect::<Result<Vec<_>, _>>()?;
                Ok((unit, batches))
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        // A shared encoder's unit has blocks of its own to run side by side.
        let (alone, together) = jobs.into_iter().partition::<Vec<_>, _>(|(unit, _)| unit.shares());
        let alone = alone.into_iter().map(|job| task.advance_by(job));
        let mut done = alone.collect::<Result<Vec<_>, _>>()?;
        done.extend(task.advance_apart(together)?);
        let mut by_step = vec![Vec::with_capacity(done.len()); steps as usize];
        for (step, report) in done.into_iter().flat_map(|reports| reports.into_iter().enumerate()) {
            by_step[step].push(report);
        }
        Ok(by_step)
    }
}

/// A unit, and the batches of its next steps.
pub(crate) type Job<'a> = (&'a mut UnitState, Vec<Batch>);

impl Task<'_> {
    /// The next steps of a unit.
    pub(crate) fn advance_by(
        &self,
        (unit, batches): Job<'_>,
    ) -> Result<Vec<StepReport>, TrainError> {
        read(batches.iter().map(|batch| self.advance(unit, batch)).collect::<Result<_, _>>()?)
    }

    /// Where the network is.
    pub(crate) fn device(&self) -> &Device {
        self.network.class_embeddings().device()
    }

    /// Epoch and step, both from 0, of a unit that has made `position` steps.
    pub(crate) fn place(&self, position: u64) -> (u32, u32) {
        let steps = u64::from(self.steps_per_epoch);
        let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
        (number(position / steps), number(position % steps))
    }

    /// The next step of a unit.
    fn advance(&self, state: &mut UnitState, batch: &Batch) -> Result<UnreadStep, TrainError> {
        let draws = self.seed.at(batch.epoch, batch.step);
        let lr = self.rate.at(state.position);
        let losses = match state.unit {
            Unit::SharedEncoder { .. } | Unit::Joint { .. } => {
                self.joint(state, batch, draws, lr)?
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
    pub(crate) fn report(
        &self,
        state: &mut UnitState,
        batch: &Batch,
        losses: Vec<PartLoss>,
    ) -> Result<StepReport, TrainError> {
        let lr = self.rate.at(state.position);
        state.position += 1;
        let (epoch, step) = (batch.epoch + 1, batch.step + 1);
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
                self.objective.block_loss(self.network, t, features, &batch.labels, draws)?
            }
            _ => {
                let loss = self.objective.readout_loss(self.network, &batch.labels, draws)?;
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
    fn joint(
        &self,
        state: &mut UnitState,
        batch: &Batch,
        draws: Draws,
        lr: f64,
    ) -> Result<Vec<UnreadLosses>, TrainError> {
        let blocks = state.own().start;
        let (shared, own) = state.parts.split_at_mut(blocks);
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
            let pass = loss.loss.backward()?;
            state.step(&pass, lr)?;
            let at_features = leaf.as_ref().and_then(|leaf| pass.get(leaf).cloned());
            let direct = shared.iter().map(|state| state.gradients(&pass)).collect();
            Ok::<_, TrainError>(Contribution { loss: graded, direct, at_features })
        };
        let (count, ranks) = (own.len(), self.peers.size());
        let mut sum = SharedSum::new(shared, leaf.as_deref());
        let mut message = Vec::new();
        let mut failed = None;
        // Taken as they come, so that no more than a few blocks' gradients are held at a time.
        let mut take = |contribution: Contribution| match ranks {
            1 => sum.add(contribution),
            _ => contribution.write(&mut message),
        };
        let mine = own[share(count, self.peers.rank(), ranks)].iter_mut().collect();
        threads::fold_side_by_side(self.workers, mine, turn, |done| {
            if failed.is_none() {
                failed = done.and_then(&mut take).err();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if !self.peers.is_alone() {
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
        let done = self.objective.end_to_end(network, &features, &batch.labels, draws)?;
        let loss = BlockLoss { error: done.loss.clone(), loss: done.loss };
        let graded = UnreadLosses::of(Part::Readout, &loss, self.reading, draws)?;
        for part in parts {
            part.step(&done.gradients, lr)?;
        }
        Ok(graded)
    }

    /// What the encoder of `part` makes of the batch.
    pub(crate) fn features(
        &self,
        batch: &Batch,
        part: Part,
        draws: Draws,
    ) -> Result<Tensor, TrainError> {
        match self.encoded {
            Encoded::Once => Ok(batch.inputs.clone()),
            Encoded::EachStep => {
                let pass = Pass::Train(draws.dropout(part));
                Ok(self.network.encode(part, &batch.inputs, pass)?)
            }
        }
    }
}

//! Who makes the next steps, in which order: units, one by one, several at a time, or all in one call.

use std::num::NonZeroUsize;

use candle_core::Device;
use noprop_data::Split;
use noprop_kernels::keeping_copies;
use noprop_kernels::threads::Workers;
use noprop_method::{Denoiser, EncoderKind, Objective, Seed};

use crate::batches::{Batches, frozen_features};
use crate::losses::{Reading, StepReport, UnreadStep, read};
use crate::stacked::{Grouping, Stack};
use crate::step::{Encoded, Task};
use crate::unit_state::UnitState;
use crate::{Alone, Peers, TrainConfig, TrainError, Unit};

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

impl<'a> Trainer<'a> {
    /// A trainer at the beginning of training. A frozen encoder sees all training images here, once.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`] or [`TrainError::NoImagesOfClass`] for settings that do not fit the data; candle's for images that do not fit the network.
    pub fn new(
        network: &'a dyn Denoiser,
        objective: &'a dyn Objective,
        train: &'a Split,
        config: TrainConfig,
        seed: Seed,
    ) -> Result<Self, TrainError> {
        config.validate(train.len())?;
        config.check_augmentation(train, network.encoder())?;
        let units = Unit::of(network, objective, config.order);
        let passes = units.iter().map(|unit| unit.passes()).max().unwrap_or(1);
        let steps_per_pass = config.steps_per_epoch(train.len());
        let units = units
            .into_iter()
            .map(|unit| UnitState::new(unit, network, &config))
            .collect::<Result<_, _>>()?;
        let features = match network.encoder() {
            EncoderKind::Frozen => Some(frozen_features(network, train)?),
            EncoderKind::PerBlock | EncoderKind::Shared => None,
        };
        let encoded = if features.is_some() { Encoded::Once } else { Encoded::EachStep };
        let mut task = Task {
            network,
            objective,
            config,
            seed,
            rate: config.learning_rate(steps_per_pass * passes),
            steps_per_pass,
            passes,
            encoded,
            workers: match network.class_embeddings().device() {
                Device::Cpu => Workers::Auto,
                // A GPU has one queue.
                Device::Cuda(_) | Device::Metal(_) => Workers::Exactly(NonZeroUsize::MIN),
            },
            peers: &Alone,
            reading: Reading::AtOnce,
        };
        let classes = network.class_embeddings().dim(0)?;
        let class_weights = config.class_weights.of(train, classes)?;
        let batches = Batches::new(train, features, class_weights, &config, seed);
        let grouping = Grouping::OneByOne;
        task.reading = task.reading_of(grouping);
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
        self.task.reading = self.task.reading_of(self.grouping);
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
        self.task.steps_per_epoch()
    }

    /// Training images that an epoch visits.
    pub fn images_per_epoch(&self) -> usize {
        let images = self.batches.images.len();
        let pass = (self.task.steps_per_pass as usize * self.task.config.batch_size).min(images);
        pass * self.task.passes as usize
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
            return self.task.steps_per_epoch();
        }
        if self.units.iter().any(UnitState::shares) {
            return 1;
        }
        STRIDE.min(self.task.steps_per_epoch() / 4).max(1)
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
        Ok(self.advance_units(&[unit], 1)?.swap_remove(0).swap_remove(0))
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

//! The trainer: a network, a method and data, and the steps that train the network.

use std::sync::Arc;

use noprop_data::Split;
use noprop_method::{Denoiser, EncoderKind, Method, Sampler, Seed};

use crate::batches::{Batches, frozen_features};
use crate::engine::State;
use crate::epochs;
use crate::keeper::Unkept;
use crate::learning_rate::Position;
use crate::loss::{Loss, StepReport};
use crate::report::{Control, EpochReport, Observer};
use crate::step::{Inputs, Model, Plan};
use crate::unit_state::{UnitState, averaged};
use crate::{Engine, Evaluation, TrainConfig, TrainError, Unit, evaluate};

/// Trains the units of a network. The crate's documentation explains units.
///
/// A trainer owns its network and method, or holds references or `Arc`s to them. It can be a field of a struct, and can be sent
/// to another thread.
pub struct Trainer<N, M> {
    network: N,
    method: M,
    pub(crate) state: State,
}

impl<N: Denoiser, M: Method> Trainer<N, M> {
    /// Returns a trainer at the beginning of training, with the engine that suits the network's device. A frozen encoder runs
    /// on all training images here, once.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`] or [`TrainError::NoImagesOfClass`] for settings that do not fit the data;
    /// [`TrainError::Tensor`] for images that do not fit the network.
    pub fn new(
        network: N,
        method: M,
        train: &Split,
        config: TrainConfig,
        seed: Seed,
    ) -> Result<Self, TrainError> {
        config.validate(train.len())?;
        config.check_augmentation(train, network.encoder())?;
        let units = Unit::of(&network, &method, config.order);
        let passes = units.iter().map(|unit| unit.passes()).max().unwrap_or(1);
        let steps_per_pass = config.steps_per_epoch(train.len());
        let units = units
            .into_iter()
            .map(|unit| UnitState::new(unit, &network, &config))
            .collect::<Result<_, _>>()?;
        let features = match network.encoder() {
            EncoderKind::Frozen => Some(frozen_features(&network, train)?),
            EncoderKind::PerBlock | EncoderKind::Shared => None,
        };
        let inputs = if features.is_some() { Inputs::Features } else { Inputs::Images };
        let rate = Arc::new(move |position| config.rate_at(position));
        let plan = Plan { config, seed, rate, steps_per_pass, passes, inputs };
        let classes = network.class_embeddings().dim(0)?;
        let class_weights = config.class_weights.of(train, classes)?;
        let batches = Batches::new(train.clone(), features, class_weights, &config, seed);
        let engine = Engine::of(network.class_embeddings().device());
        let state = State { plan, units, batches, engine, stack: None };
        Ok(Self { network, method, state })
    }

    /// Returns the trainer with another engine. The weights do not depend on it, except for rounding where blocks are batched.
    ///
    /// Of several ranks each trains its share of the blocks. All need the same network, data and settings, and must make the same
    /// calls. A network that is trained end to end has no shares: every rank does it all. Rank 0 has the whole network at the end of an
    /// epoch, and the other ranks never have: elsewhere [`Self::network`] and [`Self::evaluate`] see blocks that other ranks train as
    /// they were before training.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.state.engine = engine.on(self.network.class_embeddings().device());
        self.state.forget_stack();
        self
    }

    /// Returns the trainer for only the given units. The other units are trained elsewhere.
    #[must_use]
    pub fn only(mut self, units: &[Unit]) -> Self {
        self.state.units.retain(|state| units.contains(&state.unit));
        self.state.forget_stack();
        self
    }

    /// Returns the trainer with another learning rate, a function of the step. It replaces the warm-up and the decay of the
    /// settings.
    #[must_use]
    pub fn rate(mut self, rate: impl Fn(Position) -> f64 + Send + Sync + 'static) -> Self {
        self.state.plan.rate = Arc::new(rate);
        self
    }

    /// Returns the units, in the order in which a step visits them.
    pub fn units(&self) -> Vec<Unit> {
        self.state.units.iter().map(|state| state.unit).collect()
    }

    /// Returns the network in training.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// Ends the training and returns its network.
    pub fn into_network(self) -> N {
        self.network
    }

    /// Returns the number of steps in one epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.state.plan.steps_per_epoch()
    }

    /// Returns whether unit number `unit` has made all its steps.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn is_done(&self, unit: usize) -> bool {
        self.state.units[unit].position >= self.state.plan.total_steps()
    }

    /// Makes the next step of every unit, and returns their reports.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if a loss is NaN or infinite (if losses are read within the step, the part that the loss
    /// belongs to is then as before the step); [`TrainError::MissingGradient`] if a trainable variable received no gradient.
    pub fn step(&mut self) -> Result<Vec<StepReport>, TrainError> {
        Ok(self.steps(1)?.swap_remove(0))
    }

    /// Makes the next `count` steps of every unit, and returns the reports of each step. If blocks share nothing, several steps
    /// in one call are faster: a block's weights and moments then stay in the cache.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn steps(&mut self, count: u32) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let all: Vec<usize> = (0..self.state.units.len()).collect();
        let (model, state) = self.parts();
        // The caller may have changed the network since the last call.
        state.forget_stack();
        state.steps(model, &all, count, &[])
    }

    /// As [`Self::step`], but the blocks `paused`, which count from 1, make no turn: their parameters and moments stay as they are, and
    /// they have no loss. Parameters that blocks share learn from the others. A method with one loss for the whole chain has no turns of
    /// blocks, and takes no notice.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn step_without(&mut self, paused: &[usize]) -> Result<Vec<StepReport>, TrainError> {
        let all: Vec<usize> = (0..self.state.units.len()).collect();
        let (model, state) = self.parts();
        state.forget_stack();
        Ok(state.steps(model, &all, 1, paused)?.swap_remove(0))
    }

    /// Makes the next step of unit number `unit`, an index into [`Self::units`]. The step depends only on the unit, its
    /// position and the data, not on the other units.
    ///
    /// # Errors
    /// As for [`Self::step`].
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn step_unit(&mut self, unit: usize) -> Result<StepReport, TrainError> {
        let (model, state) = self.parts();
        state.forget_stack();
        Ok(state.steps(model, &[unit], 1, &[])?.swap_remove(0).swap_remove(0))
    }

    /// Trains to the end of the epoch that the units are in, and returns the mean losses of the steps that this took: an empty list
    /// once the training is done.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn epoch(&mut self) -> Result<Vec<Loss>, TrainError> {
        let mut first = FirstEpoch::default();
        self.run(&mut first)?;
        Ok(first.0)
    }

    /// Trains to the end, or until `observer` stops it, and returns which of the two: [`Control::Stop`] if there are steps left. Nothing
    /// is written: for a run with validation and checkpoints, see [`crate::fit()`].
    ///
    /// In the first report after a call that begins within an epoch, losses are those of the steps of this call.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Control, TrainError> {
        let (model, state) = self.parts();
        state.forget_stack();
        match epochs::train(model, state, &mut Unkept::default(), observer)? {
            None => Ok(Control::Continue),
            Some(_) => Ok(Control::Stop),
        }
    }

    /// Calls `see` with the network and the method while the network has the weights that a run validates and keeps: the averages, if
    /// [`TrainConfig::ema`] asks for them, and otherwise the weights in training. [`Self::network`] and [`Self::into_network`] always
    /// return the latter.
    ///
    /// # Errors
    /// Those of `see`, and candle's.
    pub fn averaged<T>(
        &mut self,
        see: impl FnOnce(&N, &M) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let Self { network, method, state } = self;
        averaged(&mut state.units, || see(network, method))
    }

    /// Checks that all weights and their moments are numbers, after `step` steps of epoch `epoch`, which count from 1. A step checks only its
    /// losses, before its update.
    ///
    /// # Errors
    /// [`TrainError::Diverged`].
    pub fn check_finite(&self, epoch: u32, step: u32) -> Result<(), TrainError> {
        epochs::check_finite(&self.network, &self.state.units, (epoch, step))
    }

    /// Classifies every image of `split` with the weights in training, and counts the correct predictions.
    ///
    /// # Errors
    /// As for [`evaluate()`].
    pub fn evaluate(&self, split: &Split, sampler: &Sampler) -> Result<Evaluation, TrainError> {
        evaluate(&self.network, &self.method, split, sampler)
    }

    pub(crate) fn parts(&mut self) -> (Model<'_>, &mut State) {
        (Model { network: &self.network, method: &self.method }, &mut self.state)
    }
}

/// An observer that stops after one epoch and keeps its mean losses.
#[derive(Default)]
struct FirstEpoch(Vec<Loss>);

impl Observer for FirstEpoch {
    fn epoch(&mut self, report: &EpochReport) -> Control {
        self.0.clone_from(&report.losses);
        Control::Stop
    }
}

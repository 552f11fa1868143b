//! The state of a training: its units, their batches, and the engine that makes their steps.

use crate::TrainError;
use crate::batches::Batches;
use crate::engine::{Engine, Stack, Steps};
use crate::loss::StepReport;
use crate::step::{Model, Plan};
use crate::unit_state::UnitState;

/// The state of a training, without its network and its method.
pub(crate) struct State {
    pub plan: Plan,
    pub units: Vec<UnitState>,
    pub batches: Batches,
    pub engine: Engine,
    pub stack: Option<Stack>,
}

impl State {
    /// Makes the next `count` steps of the units with the numbers `chosen`, in rising order. Returns the reports of each step.
    pub fn steps(
        &mut self,
        model: Model<'_>,
        chosen: &[usize],
        count: u32,
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let Self { plan, units, batches, engine, stack } = self;
        Steps { model, plan, engine, units, batches, stack }.make(chosen, count)
    }

    /// Returns the best number of steps for one call of [`Self::steps`].
    pub fn stride(&self) -> u32 {
        self.engine.stride(&self.units, self.plan.steps_per_epoch())
    }

    /// Drops the stacked copy of the blocks. Call it when the blocks change outside of [`Self::steps`].
    pub fn forget_stack(&mut self) {
        self.stack = None;
    }

    /// Returns the number of training images that an epoch visits.
    pub fn images_per_epoch(&self) -> usize {
        let images = self.batches.images.len();
        let pass = (self.plan.steps_per_pass as usize * self.plan.config.batch_size).min(images);
        pass * self.plan.passes as usize
    }

    /// Returns the next turn: that of the units that have made the fewest steps, until they reach the others. Returns `None`
    /// when all are done.
    pub fn next_turn(&self) -> Option<Turn> {
        let (steps, total) = (u64::from(self.plan.steps_per_epoch()), self.plan.total_steps());
        let positions = || self.units.iter().map(|unit| unit.position);
        let front = positions().filter(|&position| position < total).min()?;
        let units = (0..self.units.len()).filter(|&unit| self.units[unit].position == front);
        let others = positions().filter(|&position| position > front).min().unwrap_or(total);
        let end = others.min(front + steps - front % steps);
        let steps = u64::from(self.stride()).min(end - front);
        let position = front + steps;
        Some(Turn { units: units.collect(), position, steps: u32::try_from(steps).unwrap_or(1) })
    }
}

/// The next steps of some units, which all move from one position to another within an epoch.
pub(crate) struct Turn {
    /// The numbers of the units.
    pub units: Vec<usize>,
    /// The number of steps that each has made at the end of the turn.
    pub position: u64,
    /// The number of steps in the turn.
    pub steps: u32,
}

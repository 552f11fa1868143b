//! The state of a training: its units, their batches, and the engine that makes their steps.

use crate::TrainError;
use crate::batches::Batches;
use crate::engine::{Engine, Stack, Steps};
use crate::loss::StepReport;
use crate::step::{Model, Plan};
use crate::unit_state::UnitState;

/// What a training has besides its network and its method.
pub(crate) struct State {
    pub plan: Plan,
    pub units: Vec<UnitState>,
    pub batches: Batches,
    pub engine: Engine,
    pub stack: Option<Stack>,
}

impl State {
    /// Makes the next `count` steps of the units number `chosen`, in rising order. Returns the reports of each step.
    pub fn steps(
        &mut self,
        model: Model<'_>,
        chosen: &[usize],
        count: u32,
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let Self { plan, units, batches, engine, stack } = self;
        Steps { model, plan, engine, units, batches, stack }.make(chosen, count)
    }

    /// The number of steps that one call of [`Self::steps`] is best given.
    pub fn stride(&self) -> u32 {
        self.engine.stride(&self.units, self.plan.steps_per_epoch())
    }

    /// Forgets the stacked copy of the blocks, which are about to change.
    pub fn forget_stack(&mut self) {
        self.stack = None;
    }

    /// Training images that an epoch visits.
    pub fn images_per_epoch(&self) -> usize {
        let images = self.batches.images.len();
        let pass = (self.plan.steps_per_pass as usize * self.plan.config.batch_size).min(images);
        pass * self.plan.passes as usize
    }

    /// The turn of the units that are furthest behind, until all go on together; `None` when all are done.
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

/// The next steps of some units, all from one position to another within an epoch.
pub(crate) struct Turn {
    /// The numbers of the units.
    pub units: Vec<usize>,
    /// Steps that they have made at the end of the turn.
    pub position: u64,
    /// Steps of the turn.
    pub steps: u32,
}

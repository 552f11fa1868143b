//! The state of a training, and the engine: the way in which its steps are carried out, which is one value, chosen once.
//!
//! | file | subject |
//! | --- | --- |
//! | `threads.rs` | blocks on the threads of one process |
//! | `batched.rs` | all blocks in one call, for GPUs |
//! | `ranks.rs` | blocks over several processes |
//!
//! Threads and ranks give the same bits, and batched blocks differ only in rounding.

mod batched;
mod ranks;
mod threads;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use candle_core::Device;
use noprop_kernels::keeping_copies;
use noprop_kernels::threads::{Workers, side_by_side};

pub(crate) use batched::Stack;
pub(crate) use ranks::collect;
pub use ranks::{OneRank, Ranks, Traffic};

use crate::batches::{Batch, Batches, STRIDE};
use crate::loss::{StepReport, UnreadStep, read};
use crate::shared_sum::SharedSum;
use crate::step::{Model, Plan, Step, Turn, Turns};
use crate::unit_state::{PartState, UnitState};
use crate::{TrainError, Unit};

/// The way in which steps are carried out.
#[derive(Clone)]
pub enum Engine {
    /// Blocks run on threads of this process: for a CPU.
    Threads(Workers),
    /// One block after the other runs on one queue, and losses are read after many steps: for a GPU.
    Queue,
    /// All blocks run in one call, and losses are read after many steps: for a GPU, where a kernel launch costs more than its
    /// work. Blocks run one after the other if the network or the method has no batched form, or if not all of them are
    /// trained.
    Batched,
    /// Blocks are spread over several processes.
    Ranks {
        /// The connection of this process to all ranks.
        ranks: Arc<dyn Ranks>,
        /// The threads of this process.
        workers: Workers,
    },
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads(workers) => write!(f, "Threads({workers:?})"),
            Self::Queue => f.write_str("Queue"),
            Self::Batched => f.write_str("Batched"),
            Self::Ranks { ranks, workers } => {
                write!(f, "Ranks({} of {}, {workers:?})", ranks.rank(), ranks.size())
            }
        }
    }
}

/// A unit, and the batches of its next steps.
type Job<'a> = (&'a mut UnitState, Vec<Batch>);

impl Engine {
    /// Returns the engine that suits `device`: threads on a CPU, batched blocks on a GPU.
    pub fn of(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Threads(Workers::Auto),
            Device::Cuda(_) | Device::Metal(_) => Self::Batched,
        }
    }

    /// Returns the same engine for a network on `device`. A GPU has one queue, so its blocks do not train at the same time on
    /// threads.
    pub(crate) fn on(self, device: &Device) -> Self {
        match (self, device) {
            (engine, Device::Cpu) => engine,
            (Self::Threads(_), _) => Self::Queue,
            (Self::Ranks { ranks, .. }, _) => {
                Self::Ranks { ranks, workers: Workers::Exactly(NonZeroUsize::MIN) }
            }
            (engine @ (Self::Queue | Self::Batched), _) => engine,
        }
    }

    /// Returns the ranks that train the network: several, or only this one.
    pub(crate) fn ranks(&self) -> &dyn Ranks {
        match self {
            Self::Ranks { ranks, .. } => &**ranks,
            Self::Threads(_) | Self::Queue | Self::Batched => &OneRank,
        }
    }

    fn workers(&self) -> Workers {
        match self {
            Self::Threads(workers) | Self::Ranks { workers, .. } => *workers,
            Self::Queue | Self::Batched => Workers::Exactly(NonZeroUsize::MIN),
        }
    }
}

impl Turns for Engine {
    fn turns(
        &self,
        unit: Unit,
        parts: Vec<&mut PartState>,
        turn: &Turn<'_>,
        mut sum: SharedSum,
    ) -> Result<SharedSum, TrainError> {
        match self {
            Self::Ranks { ranks, workers } if unit.has_shares() && !ranks.is_single() => {
                ranks::turns(&**ranks, *workers, parts, turn, sum)
            }
            _ => {
                threads::turns(self.workers(), parts, turn, |more| sum.add(more))?;
                Ok(sum)
            }
        }
    }

    fn reads_late(&self) -> bool {
        matches!(self, Self::Queue | Self::Batched)
    }
}

/// The state of a training, without its network and its method.
pub(crate) struct State {
    pub plan: Plan,
    pub units: Vec<UnitState>,
    pub batches: Batches,
    pub engine: Engine,
    /// The blocks stacked into one [T, …] copy; `None` once a block has been trained without it and the copy is stale.
    pub stack: Option<Stack>,
}

/// The next steps of some units, which all move from one position to another within an epoch.
pub(crate) struct NextTurn {
    /// The numbers of the units.
    pub units: Vec<usize>,
    /// The number of steps that each has made at the end of the turn.
    pub position: u64,
    /// The number of steps in the turn.
    pub steps: u32,
}

impl State {
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
    pub fn next_turn(&self) -> Option<NextTurn> {
        let (steps, total) = (u64::from(self.plan.steps_per_epoch()), self.plan.total_steps());
        let positions = || self.units.iter().map(|unit| unit.position);
        let front = positions().filter(|&position| position < total).min()?;
        let units = (0..self.units.len()).filter(|&unit| self.units[unit].position == front);
        let others = positions().filter(|&position| position > front).min().unwrap_or(total);
        let end = others.min(front + steps - front % steps);
        let steps = u64::from(self.stride()).min(end - front);
        let (units, position) = (units.collect(), front + steps);
        Some(NextTurn { units, position, steps: u32::try_from(steps).unwrap_or(1) })
    }

    /// Returns the best number of steps for one call of [`Self::steps`]. It is one if blocks of a unit exchange gradients within
    /// a step. Otherwise it is several, but a small share of an epoch, because a training stops only between two calls. Where
    /// losses are read late, it is a whole epoch.
    fn stride(&self) -> u32 {
        let steps = self.plan.steps_per_epoch();
        if self.engine.reads_late() {
            return steps;
        }
        if self.units.iter().any(UnitState::shares) {
            return 1;
        }
        STRIDE.min(steps / 4).max(1)
    }

    /// Makes the next `count` steps of the units with the numbers `chosen`, in rising order. Returns the reports of each step,
    /// in the order of the units. The blocks `paused` make no turn.
    pub fn steps(
        &mut self,
        model: Model<'_>,
        chosen: &[usize],
        count: u32,
        paused: &[usize],
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        // All blocks make the same step in one call, so all units must be at the same position.
        let first = self.units.first().map(|unit| unit.position);
        let all_at_once = paused.is_empty()
            && chosen.len() == self.units.len()
            && self.units.iter().all(|unit| Some(unit.position) == first);
        // Any other training of blocks makes the copy stale.
        let stack = match (self.stack.take(), &self.engine) {
            (Some(stack), Engine::Batched) if all_at_once => Some(stack),
            (None, Engine::Batched) if all_at_once => Stack::new(model, &self.plan, &self.units)?,
            _ => None,
        };
        let device = model.network.class_embeddings().device().clone();
        match (stack, &self.engine) {
            (Some(mut stack), _) => {
                let made = keeping_copies(&device, || stack.steps(model, self, count))?;
                self.stack = Some(stack);
                Ok(read(made)?.into_iter().map(|report| vec![report]).collect())
            }
            (None, Engine::Queue | Engine::Batched) => {
                let made = keeping_copies(&device, || {
                    self.one_after_the_other(model, chosen, count, paused)
                })?;
                Ok(read(made)?.chunks(chosen.len().max(1)).map(<[_]>::to_vec).collect())
            }
            (None, Engine::Threads(_) | Engine::Ranks { .. }) => {
                self.unit_by_unit(model, chosen, count, paused)
            }
        }
    }

    /// Makes the next steps of the units. All units make a step before any makes the next, so one batch is needed at a time.
    fn one_after_the_other(
        &mut self,
        model: Model<'_>,
        chosen: &[usize],
        count: u32,
        paused: &[usize],
    ) -> Result<Vec<UnreadStep>, TrainError> {
        let Self { plan, engine, units, batches, .. } = self;
        let (plan, engine) = (&*plan, &*engine);
        let mut made = Vec::with_capacity(count as usize * chosen.len());
        for _ in 0..count {
            for &number in chosen {
                let unit = &mut units[number];
                let batch = &batches.at(plan.place(unit.position))?;
                made.push(Step { model, plan, engine, batch, paused }.make(unit)?);
            }
        }
        Ok(made)
    }

    /// Makes the next steps of the units. A unit makes all its steps before the next unit begins, so a block's weights and
    /// moments stay in the cache.
    fn unit_by_unit(
        &mut self,
        model: Model<'_>,
        chosen: &[usize],
        count: u32,
        paused: &[usize],
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let Self { plan, engine, units, batches, .. } = self;
        let (plan, engine) = (&*plan, &*engine);
        let units = units.iter_mut().enumerate();
        let mut jobs = Vec::with_capacity(chosen.len());
        for (_, unit) in units.filter(|(number, _)| chosen.contains(number)) {
            let places = (0..count.into()).map(|ahead| plan.place(unit.position + ahead));
            let batches = places.map(|place| batches.at(place)).collect::<Result<Vec<_>, _>>()?;
            jobs.push((unit, batches));
        }
        let steps = |(unit, batches): Job<'_>| {
            let step = |batch| Step { model, plan, engine, batch, paused }.make(unit);
            read(batches.iter().map(step).collect::<Result<_, _>>()?)
        };
        // A unit of several blocks spreads the turns within each of its steps over threads or ranks.
        let (shared, independent): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|(unit, _)| unit.shares());
        let mut done = shared.into_iter().map(steps).collect::<Result<Vec<_>, _>>()?;
        done.extend(match engine {
            Engine::Ranks { ranks, workers } if !ranks.is_single() => {
                ranks::independent(&**ranks, *workers, plan, independent, &steps)?
            }
            _ => side_by_side(engine.workers(), independent, steps)
                .into_iter()
                .collect::<Result<_, _>>()?,
        });
        let mut by_step = vec![Vec::with_capacity(done.len()); count as usize];
        for (step, report) in done.into_iter().flat_map(|reports| reports.into_iter().enumerate()) {
            by_step[step].push(report);
        }
        Ok(by_step)
    }
}

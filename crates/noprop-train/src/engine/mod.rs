//! The engine: the way in which the steps of a training are carried out. It is one value, chosen once.
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
use noprop_kernels::threads::Workers;

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

    /// Returns the best number of steps for one call of [`Steps::make`]. It is one if blocks of a unit exchange gradients
    /// within a step. Otherwise it is several, but a small share of an epoch, because a training stops only between two calls.
    /// Where losses are read late, it is a whole epoch.
    pub(crate) fn stride(&self, units: &[UnitState], steps_per_epoch: u32) -> u32 {
        if self.reads_late() {
            return steps_per_epoch;
        }
        if units.iter().any(UnitState::shares) {
            return 1;
        }
        STRIDE.min(steps_per_epoch / 4).max(1)
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

/// A training, ready to make steps.
pub(crate) struct Steps<'a> {
    pub model: Model<'a>,
    pub plan: &'a Plan,
    pub engine: &'a Engine,
    pub units: &'a mut [UnitState],
    pub batches: &'a mut Batches,
    /// The blocks stacked into one [T, …] copy; `None` once a block has been trained without it and the copy is stale.
    pub stack: &'a mut Option<Stack>,
}

impl Steps<'_> {
    /// Makes the next `count` steps of the units with the numbers `chosen`, in rising order. Returns the reports of each step,
    /// in the order of the units.
    pub fn make(
        &mut self,
        chosen: &[usize],
        count: u32,
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        // All blocks make the same step in one call, so all units must be at the same position.
        let first = self.units.first().map(|unit| unit.position);
        let all_at_once = chosen.len() == self.units.len()
            && self.units.iter().all(|unit| Some(unit.position) == first);
        let stack = match self.engine {
            Engine::Batched if all_at_once => match self.stack.take() {
                Some(stack) => Some(stack),
                None => Stack::new(self.model, self.plan, self.units)?,
            },
            _ => None,
        };
        // Any other training of blocks makes the copy stale.
        *self.stack = None;
        let device = self.model.network.class_embeddings().device().clone();
        match (stack, self.engine) {
            (Some(mut stack), _) => {
                let made = keeping_copies(&device, || stack.steps(self, count))?;
                *self.stack = Some(stack);
                Ok(read(made)?.into_iter().map(|report| vec![report]).collect())
            }
            (None, Engine::Queue | Engine::Batched) => {
                let made = keeping_copies(&device, || self.one_after_the_other(chosen, count))?;
                Ok(read(made)?.chunks(chosen.len().max(1)).map(<[_]>::to_vec).collect())
            }
            (None, Engine::Threads(_) | Engine::Ranks { .. }) => self.unit_by_unit(chosen, count),
        }
    }

    /// Makes the next steps of the units. All units make a step before any makes the next, so one batch is needed at a time.
    fn one_after_the_other(
        &mut self,
        chosen: &[usize],
        count: u32,
    ) -> Result<Vec<UnreadStep>, TrainError> {
        let Self { model, plan, engine, .. } = *self;
        let mut made = Vec::with_capacity(count as usize * chosen.len());
        for _ in 0..count {
            for &number in chosen {
                let unit = &mut self.units[number];
                let batch = &self.batches.at(plan.place(unit.position))?;
                made.push(Step { model, plan, engine, batch }.make(unit)?);
            }
        }
        Ok(made)
    }

    /// Makes the next steps of the units. A unit makes all its steps before the next unit begins, so a block's weights and
    /// moments stay in the cache.
    fn unit_by_unit(
        &mut self,
        chosen: &[usize],
        count: u32,
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let Self { model, plan, engine, .. } = *self;
        let units = self.units.iter_mut().enumerate();
        let mut jobs = Vec::with_capacity(chosen.len());
        for (_, unit) in units.filter(|(number, _)| chosen.contains(number)) {
            let places = (0..count.into()).map(|ahead| plan.place(unit.position + ahead));
            let batches =
                places.map(|place| self.batches.at(place)).collect::<Result<Vec<_>, _>>()?;
            jobs.push((unit, batches));
        }
        let steps = |(unit, batches): Job<'_>| {
            let step = |batch| Step { model, plan, engine, batch }.make(unit);
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
            _ => threads::independent(engine.workers(), independent, &steps)?,
        });
        let mut by_step = vec![Vec::with_capacity(done.len()); count as usize];
        for (step, report) in done.into_iter().flat_map(|reports| reports.into_iter().enumerate()) {
            by_step[step].push(report);
        }
        Ok(by_step)
    }
}

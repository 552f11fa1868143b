//! All blocks of a network in one call a step, for devices where a launch costs more than its work.
//!
//! The blocks' parameters and moments are copied side by side before the first step and written back after the last, so that
//! whoever looks between two calls of [`crate::Trainer::advance_all`] sees what he would have seen anyhow. Losses stay on the
//! device until then.

use candle_core::{Tensor, Var};
use noprop_kernels::optim::{Adam, Moments};
use noprop_method::{ParameterKind, Part, StackedBlocks, StackedLosses, StackedParameter, row_of};

use crate::batches::{Batch, Batches};
use crate::losses::{StepReport, UnreadLosses, UnreadStep};
use crate::step::Task;
use crate::unit_state::{PartState, UnitState, adam_config};
use crate::{Order, TrainError, Trainer};

/// Whether blocks are trained one by one or side by side. The weights are the same but for rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grouping {
    /// Each block by calls of its own: what a CPU likes.
    #[default]
    OneByOne,
    /// All blocks in one call, where network and method have such a form, and losses read once for all steps of a call: what a GPU
    /// likes.
    SideBySide,
}

/// The blocks side by side.
pub(crate) struct Stack<'a> {
    blocks: Box<dyn StackedBlocks>,
    losses: Box<dyn StackedLosses + 'a>,
    adam: Adam,
}

impl<'a> Trainer<'a> {
    /// The same trainer with its blocks one by one or side by side; to be said last. They stay one by one where several processes or
    /// not all of the blocks train here, or where network or method have no other form.
    ///
    /// # Errors
    /// candle's, if there is no room for the copies.
    pub fn grouping(mut self, grouping: Grouping) -> Result<Self, TrainError> {
        let parts = self.units.iter().flat_map(|unit| &unit.parts);
        let here = parts.filter(|state| matches!(state.part, Part::Block(_))).count();
        let all_here = here == self.task.network.blocks() && self.task.peers.is_alone();
        self.task.reading = self.task.reading_of(grouping);
        self.stack = match grouping {
            Grouping::SideBySide if all_here => Stack::new(&self.task, &self.units)?,
            Grouping::SideBySide | Grouping::OneByOne => None,
        };
        self.grouping =
            if self.stack.is_some() { Grouping::SideBySide } else { Grouping::OneByOne };
        Ok(self)
    }

    /// The next steps of all units, with all blocks in one call.
    pub(crate) fn advance_side_by_side(
        &mut self,
        steps: u32,
    ) -> Result<Vec<UnreadStep>, TrainError> {
        let Self { task, units, batches, stack, .. } = self;
        let made = match stack.take() {
            Some(stack) => Some(stack),
            None => Stack::new(task, units)?,
        };
        let Some(mut made) = made else {
            return Err(
                candle_core::Error::Msg("the blocks have no form side by side".into()).into()
            );
        };
        let done = made.advance(task, units, batches, steps)?;
        *stack = Some(made);
        Ok(done)
    }

    /// From now on no two blocks are in one call.
    pub(crate) fn train_one_by_one(&mut self) {
        self.grouping = Grouping::OneByOne;
        self.forget_copies();
    }

    /// Forgets copies of the blocks, which are about to change on their own.
    pub(crate) fn forget_copies(&mut self) {
        self.stack = None;
    }
}

impl<'a> Stack<'a> {
    /// A copy of the blocks as they are now; none where the network or the method takes them one by one.
    pub fn new(task: &Task<'a>, units: &[UnitState]) -> Result<Option<Self>, TrainError> {
        if task.config.order == Order::Paper {
            return Ok(None);
        }
        let Some(blocks) = task.network.stacked()? else { return Ok(None) };
        let device = task.network.class_embeddings().device();
        let Some(losses) = task.objective.stacked(device)? else { return Ok(None) };
        let trained: Vec<&StackedParameter> = trained(blocks.as_ref()).collect();
        let vars: Vec<(String, Var)> = trained
            .iter()
            .map(|parameter| (name(parameter).to_owned(), parameter.var.clone()))
            .collect();
        let mut adam = Adam::new(vars, adam_config(&task.config))?;
        let moments = trained
            .iter()
            .map(|parameter| {
                let rows = parameter.rows.iter().map(|row| moments_of(units, &row.name));
                let (first, second): (Vec<_>, Vec<_>) =
                    rows.collect::<Option<Vec<_>>>()?.into_iter().unzip();
                Some((first, second))
            })
            .zip(&trained)
            .map(|(moments, parameter)| {
                let name = name(parameter).to_owned();
                let Some((first, second)) = moments else {
                    let reason = format!("there are no moments of {name} and its like");
                    return Err(candle_core::Error::Msg(reason).into());
                };
                Ok(Moments {
                    name,
                    first: Tensor::cat(&first, 0)?,
                    second: Tensor::cat(&second, 0)?,
                })
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        adam.restore(units.first().map_or(0, |unit| unit.position), moments)?;
        Ok(Some(Self { blocks, losses, adam }))
    }

    /// The next `steps` steps of all `units`.
    pub fn advance(
        &mut self,
        task: &Task<'_>,
        units: &mut [UnitState],
        batches: &mut Batches<'_>,
        steps: u32,
    ) -> Result<Vec<UnreadStep>, TrainError> {
        let mut done = Vec::with_capacity(steps as usize);
        for _ in 0..steps {
            let position = units.first().map_or(0, |unit| unit.position);
            let batch = batches.at(task.place(position))?;
            let losses = self.step(task, units, &batch)?;
            let (epoch, step, images) = (batch.epoch + 1, batch.step + 1, batch.labels.dim(0)?);
            let lr = task.rate.at(position);
            let report = StepReport { epoch, step, lr, images, losses: Vec::new() };
            done.push((report, vec![losses]));
        }
        self.write_back(units)?;
        Ok(done)
    }

    /// One step.
    fn step(
        &mut self,
        task: &Task<'_>,
        units: &mut [UnitState],
        batch: &Batch,
    ) -> Result<UnreadLosses, TrainError> {
        let network = task.network;
        let draws = task.seed.at(batch.epoch, batch.step);
        let position = units.first().map_or(0, |unit| unit.position);
        let lr = task.rate.at(position);
        let features = match network.encoder_part(1) {
            Part::Encoder => task.features(batch, Part::Encoder, draws)?.unsqueeze(0)?,
            _ => {
                let keys: Vec<_> =
                    (1..=network.blocks()).map(|t| draws.dropout(Part::Block(t))).collect();
                self.blocks.encode(&batch.inputs, &keys)?
            }
        };
        let blocks = self.blocks.as_ref();
        let done = self.losses.losses(network, blocks, &features, batch.targets(), draws)?;
        let mut others: Vec<&mut PartState> = units
            .iter_mut()
            .flat_map(|unit| &mut unit.parts)
            .filter(|state| !matches!(state.part, Part::Block(_)))
            .collect();
        let mut total = done.loss.sum_all()?;
        let mut parts: Vec<Part> = (1..=network.blocks()).map(Part::Block).collect();
        // The readout's error is its loss.
        let (mut losses, mut errors) = (vec![done.loss.detach()], vec![done.error]);
        if others.iter().any(|state| state.part == Part::Readout) {
            let readout = task.objective.readout_loss(network, batch.targets(), draws)?;
            parts.push(Part::Readout);
            losses.push(readout.detach().reshape(1)?);
            errors.push(readout.detach().reshape(1)?);
            total = (total + readout)?;
        }
        let pass = total.backward()?;
        self.adam.step(&pass, lr)?;
        for state in &mut others {
            state.step(&pass, lr)?;
        }
        for unit in units {
            unit.position += 1;
        }
        losses.extend(errors);
        Ok(UnreadLosses::new(parts, Tensor::cat(&losses, 0)?))
    }

    /// Gives the blocks what was trained for them.
    fn write_back(&self, units: &mut [UnitState]) -> Result<(), TrainError> {
        for parameter in self.blocks.parameters() {
            parameter.write_back()?;
        }
        let parts = units.iter_mut().flat_map(|unit| &mut unit.parts);
        for (block, state) in parts.filter_map(|state| match state.part {
            Part::Block(t) => Some((t, state)),
            _ => None,
        }) {
            let moments = trained(self.blocks.as_ref()).zip(self.adam.moments());
            let own = moments.map(|(parameter, (_, first, second))| {
                let row = block - 1;
                let name = parameter.rows.get(row).map(|row| row.name.clone()).unwrap_or_default();
                Ok(Moments { name, first: row_of(first, row)?, second: row_of(second, row)? })
            });
            let own = own.collect::<Result<Vec<_>, TrainError>>()?;
            state.adam.restore(self.adam.steps(), own)?;
        }
        Ok(())
    }
}

fn trained(blocks: &dyn StackedBlocks) -> impl Iterator<Item = &StackedParameter> {
    let all = blocks.parameters().iter();
    all.filter(|parameter| parameter.kind() == ParameterKind::Trainable)
}

/// Block 1's name stands for all blocks'.
fn name(parameter: &StackedParameter) -> &str {
    parameter.rows.first().map_or("", |row| row.name.as_str())
}

fn moments_of(units: &[UnitState], name: &str) -> Option<(Tensor, Tensor)> {
    let parts = units.iter().flat_map(|unit| &unit.parts);
    let mut moments = parts.flat_map(|part| part.adam.moments());
    let (_, first, second) = moments.find(|(known, ..)| *known == name)?;
    Some((first.clone(), second.clone()))
}

//! All blocks of a network in one call per step, for devices where a kernel launch costs more than its work.
//!
//! The blocks' parameters, moments and averages are stacked before the first step and written back after the last step of a
//! call, so between two calls the network's own parameters are always current. Losses stay on the device until the call ends.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use noprop_kernels::backward;
use noprop_kernels::optim::{Adam, Averages, Moments};
use noprop_method::{
    Losses, ParameterKind, Part, StackedBlocks, StackedLosses, StackedParameter, row_of,
};

use super::State;
use crate::loss::{DeviceLosses, UnreadStep};
use crate::step::{Model, Plan, Step};
use crate::unit_state::{PartState, UnitState, adam_config};
use crate::{Order, TrainError};

/// The blocks stacked into one copy [T, …], with an optimizer and averages for the copy.
pub(crate) struct Stack {
    blocks: Box<dyn StackedBlocks>,
    adam: Adam,
    averages: Option<Averages>,
}

impl Stack {
    /// Stacks the blocks as they are now. Returns `None` if the network or the method has no batched form, if blocks learn in
    /// the paper's order, if not all blocks are trained here, if one was paused, since they have one number of steps, or if gradients
    /// are clipped: each block has a norm of its own.
    pub fn new(
        model: Model<'_>,
        plan: &Plan,
        units: &[UnitState],
    ) -> Result<Option<Self>, TrainError> {
        let parts = units.iter().flat_map(|unit| &unit.parts);
        let here =
            parts.filter(|state| matches!(state.part, Part::Block(_)) && state.missed == 0).count();
        let alone = plan.config.order == Order::Paper || plan.config.clip_gradients.is_some();
        if alone || here != model.network.blocks() {
            return Ok(None);
        }
        if losses(model)?.is_none() {
            return Ok(None);
        }
        let Some(blocks) = model.network.stacked()? else { return Ok(None) };
        let trained: Vec<&StackedParameter> = trained(blocks.as_ref()).collect();
        let vars = trained.iter().map(|parameter| named(parameter)).collect();
        let mut adam = Adam::new(vars, adam_config(&plan.config))?;
        let mut moments = Vec::with_capacity(trained.len());
        for parameter in trained {
            let name = name(parameter);
            let rows = parameter.rows.iter().map(|row| moments_of(units, &row.name));
            let Some(rows) = rows.collect::<Option<Vec<_>>>() else {
                let reason = format!("there are no moments of {name} and its like");
                return Err(candle_core::Error::Msg(reason).into());
            };
            let (first, second): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let (first, second) = (Tensor::cat(&first, 0)?, Tensor::cat(&second, 0)?);
            moments.push(Moments { name, first, second });
        }
        adam.restore(units.first().map_or(0, |unit| unit.position), moments)?;
        let averages = match plan.config.ema {
            Some(rate) => Some(stacked_averages(blocks.as_ref(), rate, units)?),
            None => None,
        };
        Ok(Some(Self { blocks, adam, averages }))
    }

    /// Makes the next `count` steps of all units.
    pub fn steps(
        &mut self,
        model: Model<'_>,
        state: &mut State,
        count: u32,
    ) -> Result<Vec<UnreadStep>, TrainError> {
        let State { plan, engine, units, batches, .. } = state;
        let (plan, engine) = (&*plan, &*engine);
        let Some(losses) = losses(model)? else {
            return Err(candle_core::Error::Msg("the method has no stacked losses".into()).into());
        };
        let mut done = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let position = units.first().map_or(0, |unit| unit.position);
            let batch = &batches.at(plan.place(position))?;
            let lr = plan.lr(position);
            let step = Step { model, plan, engine, batch, paused: &[] };
            let made = self.step(&step, &*losses, units, lr)?;
            let mut report = None;
            for unit in units.iter_mut() {
                report = Some(plan.count(unit, batch)?);
            }
            done.extend(report.map(|report| (report, vec![made])));
        }
        self.write_back(units)?;
        Ok(done)
    }

    /// Makes one step: images → features → losses of all blocks → gradients → one update.
    fn step(
        &mut self,
        step: &Step<'_>,
        losses: &dyn StackedLosses,
        units: &mut [UnitState],
        lr: f64,
    ) -> Result<DeviceLosses, TrainError> {
        let (network, batch) = (step.model.network, step.batch);
        let draws = step.plan.seed.at(batch.epoch, batch.step);
        let features = match network.encoder_part(1) {
            Part::Encoder => step.features(Part::Encoder, draws)?.unsqueeze(0)?,
            _ => {
                let keys: Vec<_> =
                    (1..=network.blocks()).map(|t| draws.dropout(Part::Block(t))).collect();
                self.blocks.encode(&batch.inputs, &keys)?
            }
        };
        let blocks = self.blocks.as_ref();
        let done = losses.losses(network, blocks, &features, batch.targets(), draws)?;
        let mut others: Vec<&mut PartState> = units
            .iter_mut()
            .flat_map(|unit| &mut unit.parts)
            .filter(|state| !matches!(state.part, Part::Block(_)))
            .collect();
        let mut total = done.loss.sum_all()?;
        let mut parts: Vec<Part> = (1..=network.blocks()).map(Part::Block).collect();
        // The readout's error is its loss.
        let (mut values, mut errors) = (vec![done.loss.detach()], vec![done.error]);
        if others.iter().any(|state| state.part == Part::Readout)
            && let Losses::Blockwise(method) = step.model.method.losses()
            && let Some(readout) = method.readout_loss()
        {
            let readout = readout.loss(network, batch.targets(), draws)?;
            parts.push(Part::Readout);
            values.push(readout.detach().reshape(1)?);
            errors.push(readout.detach().reshape(1)?);
            total = (total + readout)?;
        }
        let gradients = backward(&total)?;
        self.adam.step(&gradients, lr)?;
        if let Some(averages) = &mut self.averages {
            averages.update(self.adam.steps())?;
        }
        for state in &mut others {
            state.update(&gradients, lr)?;
        }
        values.extend(errors);
        Ok(DeviceLosses::new(parts, Tensor::cat(&values, 0)?))
    }

    /// Writes the stacked parameters, moments and averages back to the blocks.
    fn write_back(&self, units: &mut [UnitState]) -> Result<(), TrainError> {
        for parameter in self.blocks.parameters() {
            parameter.write_back()?;
        }
        let parts = units.iter_mut().flat_map(|unit| &mut unit.parts);
        for (block, state) in parts.filter_map(|state| match state.part {
            Part::Block(t) => Some((t, state)),
            _ => None,
        }) {
            let row = block - 1;
            let name_of = |parameter: &StackedParameter| {
                parameter.rows.get(row).map(|row| row.name.clone()).unwrap_or_default()
            };
            let moments = trained(self.blocks.as_ref()).zip(self.adam.moments());
            let own = moments.map(|(parameter, (_, first, second))| {
                let (first, second) = (row_of(first, row)?, row_of(second, row)?);
                Ok(Moments { name: name_of(parameter), first, second })
            });
            let own = own.collect::<Result<Vec<_>, TrainError>>()?;
            state.adam.restore(self.adam.steps(), own)?;
            if let (Some(own), Some(stacked)) = (&mut state.averages, &self.averages) {
                let rows = self.blocks.parameters().iter().zip(stacked.iter());
                let rows = rows.map(|(parameter, (_, average))| {
                    Ok((name_of(parameter), row_of(average, row)?))
                });
                own.restore(rows.collect::<Result<_, TrainError>>()?)?;
            }
        }
        Ok(())
    }
}

/// Returns the method's losses of all blocks in one call; `None` if it has no such form.
fn losses<'a>(model: Model<'a>) -> Result<Option<Box<dyn StackedLosses + 'a>>, TrainError> {
    match model.method.losses() {
        Losses::Blockwise(method) => Ok(method.stacked(model.network.class_embeddings().device())?),
        Losses::EndToEnd(_) => Ok(None),
    }
}

fn trained(blocks: &dyn StackedBlocks) -> impl Iterator<Item = &StackedParameter> {
    let all = blocks.parameters().iter();
    all.filter(|parameter| parameter.kind() == ParameterKind::Trainable)
}

/// Returns the name of block 1's parameter, which represents that parameter of all blocks.
fn name(parameter: &StackedParameter) -> String {
    parameter.rows.first().map(|row| row.name.clone()).unwrap_or_default()
}

fn named(parameter: &StackedParameter) -> (String, Var) {
    (name(parameter), parameter.var.clone())
}

/// Returns the averages of all stacked parameters, buffers included, as those of the blocks are now.
fn stacked_averages(
    blocks: &dyn StackedBlocks,
    rate: f64,
    units: &[UnitState],
) -> Result<Averages, TrainError> {
    let parts = units.iter().flat_map(|unit| &unit.parts);
    let of_blocks = parts.filter_map(|part| part.averages.as_ref()).flat_map(Averages::iter);
    let of_blocks: BTreeMap<&str, &Tensor> = of_blocks.collect();
    let mut averages = Averages::new(blocks.parameters().iter().map(named).collect(), rate)?;
    let stacked = blocks.parameters().iter().map(|parameter| {
        let rows = parameter.rows.iter().filter_map(|row| of_blocks.get(row.name.as_str()));
        Ok((name(parameter), Tensor::cat(&rows.collect::<Vec<_>>(), 0)?))
    });
    averages.restore(stacked.collect::<Result<_, TrainError>>()?)?;
    Ok(averages)
}

fn moments_of(units: &[UnitState], name: &str) -> Option<(Tensor, Tensor)> {
    let parts = units.iter().flat_map(|unit| &unit.parts);
    let mut moments = parts.flat_map(|part| part.adam.moments());
    let (_, first, second) = moments.find(|(known, ..)| *known == name)?;
    Some((first.clone(), second.clone()))
}

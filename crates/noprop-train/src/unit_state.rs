//! The state of a unit in training: its parts, their optimizers and averages, and the number of steps it has made.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use noprop_kernels::optim::{Adam, AdamConfig, Averages, Rule};
use noprop_method::{Denoiser, Parameter, Part};

use crate::{OptimizerKind, TrainConfig, TrainError, Unit};

/// A unit with the states of its parts and the number of its steps.
pub(crate) struct UnitState {
    pub unit: Unit,
    /// The state of every part that has trainable parameters or a loss. Parts that several losses reach come first, then the
    /// blocks.
    pub parts: Vec<PartState>,
    /// The number of steps done since the beginning of training.
    pub position: u64,
}

impl UnitState {
    pub fn new(
        unit: Unit,
        network: &dyn Denoiser,
        config: &TrainConfig,
    ) -> Result<Self, TrainError> {
        let mut parts = Vec::new();
        for part in unit.parts() {
            let state = PartState::new(part, network, config)?;
            if !state.trained.is_empty() || unit.has_loss_without_parameters(part) {
                parts.push(state);
            }
        }
        Ok(Self { unit, parts, position: 0 })
    }

    /// Returns whether the unit's parts must exchange gradients within a step.
    pub fn shares(&self) -> bool {
        self.parts.len() > 1
    }

    /// Returns the number of optimizer steps that `part` has made when the unit has made `position` steps. An epoch has `steps`
    /// steps.
    pub fn steps_of(&self, part: Part, position: u64, steps: u32) -> u64 {
        let (Unit::InTurn { .. }, Part::Block(t)) = (self.unit, part) else { return position };
        let steps = u64::from(steps);
        let pass = steps / u64::from(self.unit.passes());
        let before = (t as u64 - 1) * pass;
        position / steps * pass + (position % steps).saturating_sub(before).min(pass)
    }

    /// Returns the parts that several losses reach, and the parts that only their own loss reaches.
    pub fn split(&mut self) -> (&mut [PartState], &mut [PartState]) {
        let first = self.own().start;
        self.parts.split_at_mut(first)
    }

    /// Returns the indices of the parts that only their own loss reaches.
    pub fn own(&self) -> std::ops::Range<usize> {
        let is_block = |state: &PartState| matches!(state.part, Part::Block(_));
        let none = if self.shares() { self.parts.len() } else { 0 };
        self.parts.iter().position(is_block).unwrap_or(none)..self.parts.len()
    }
}

/// Calls `see` while the parameters of `units` have the values that a run validates and keeps: their averages, if the settings average
/// them.
pub(crate) fn averaged<T>(
    units: &mut [UnitState],
    see: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    let exchange = |units: &mut [UnitState]| {
        let parts = units.iter_mut().flat_map(|unit| &mut unit.parts);
        parts.filter_map(|part| part.averages.as_mut()).try_for_each(Averages::exchange)
    };
    exchange(units)?;
    let seen = see();
    exchange(units)?;
    seen
}

/// A part of a network with its own optimizer. A part is updated as soon as its gradients are computed. They need not be kept
/// until all blocks are done, so memory does not grow with the number of blocks.
pub(crate) struct PartState {
    pub part: Part,
    pub adam: Adam,
    pub trained: Vec<Parameter>,
    /// The averages of all parameters of the part, buffers included; `None` if the settings average nothing.
    pub averages: Option<Averages>,
    /// The steps that the part has not made because it was paused.
    pub missed: u64,
    /// The part's learning rate as a multiple of the training's learning rate.
    lr_scale: f64,
    clip: Option<f64>,
}

impl PartState {
    fn new(part: Part, network: &dyn Denoiser, config: &TrainConfig) -> Result<Self, TrainError> {
        let trained: Vec<Parameter> = network.parameters().trainable(&[part]).cloned().collect();
        let named = |parameter: &Parameter| (parameter.name.clone(), parameter.var.clone());
        let vars: Vec<(String, Var)> = trained.iter().map(named).collect();
        let lr_scale = match part {
            Part::Readout => config.readout_lr_scale,
            Part::Encoder | Part::Embedding | Part::Schedule | Part::Block(_) => 1.0,
        };
        let adam = Adam::new(vars, adam_config(config))?;
        let all = network.parameters().of_parts(&[part]);
        let averages = match config.ema {
            Some(rate) => Some(Averages::new(all.iter().map(named).collect(), rate)?),
            None => None,
        };
        let clip = config.clip_gradients;
        Ok(Self { part, adam, trained, averages, missed: 0, lr_scale, clip })
    }

    /// Makes one optimizer step with the gradients of one backward pass. `lr` is the training's learning rate.
    pub fn update(&mut self, pass: &GradStore, lr: f64) -> Result<(), TrainError> {
        self.update_with(self.gradients(pass), lr)
    }

    /// Makes one optimizer step with `gradients`, in the order of [`Self::gradients`].
    pub fn update_with(
        &mut self,
        gradients: Vec<Option<Tensor>>,
        lr: f64,
    ) -> Result<(), TrainError> {
        let gradients = self
            .trained
            .iter()
            .zip(gradients)
            .map(|(parameter, gradient)| {
                gradient.ok_or_else(|| TrainError::MissingGradient(parameter.name.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let gradients = match self.clip {
            Some(norm) => clipped(&gradients, norm)?,
            None => gradients,
        };
        self.adam.step_with(&gradients, lr * self.lr_scale)?;
        match &mut self.averages {
            Some(averages) => Ok(averages.update(self.adam.steps())?),
            None => Ok(()),
        }
    }

    /// Returns the gradients of the part's parameters from a backward pass, in the order of the parameters.
    pub fn gradients(&self, pass: &GradStore) -> Vec<Option<Tensor>> {
        self.trained.iter().map(|parameter| pass.get(&parameter.var).cloned()).collect()
    }
}

/// Returns `gradients` multiplied by one number, so that their Euclidean norm together is at most `norm`. Where it is not finite they become
/// NaN, and the training ends as one that diverged.
fn clipped(gradients: &[Tensor], norm: f64) -> candle_core::Result<Vec<Tensor>> {
    let squares = gradients.iter().map(|gradient| gradient.sqr()?.sum_all());
    let Some(square) = squares.reduce(|sum, square| sum? + square?) else { return Ok(Vec::new()) };
    let square = square?;
    // 1 where the norm is small enough. On a GPU nothing waits for it.
    let scale = (square.sqrt()? / norm)?.maximum(1.0)?.recip()?;
    // 1, or NaN for a square that is not finite.
    let finite = ((square * 0.0)? + 1.0)?;
    let scale = (scale * finite)?;
    gradients.iter().map(|gradient| gradient.broadcast_mul(&scale)).collect()
}

/// Returns the optimizer's constants.
pub(crate) fn adam_config(config: &TrainConfig) -> AdamConfig {
    AdamConfig {
        rule: match config.optimizer {
            OptimizerKind::Adamw => Rule::AdamW,
            OptimizerKind::Adam => Rule::Adam,
        },
        weight_decay: config.weight_decay,
        ..AdamConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// A norm that overflows would scale every gradient to 0, and the training would stand still without a word.
    #[test]
    fn gradients_without_a_norm_do_not_become_zero() {
        let clip = |values: &[f32]| {
            let tensor = Tensor::new(values, &Device::Cpu).unwrap();
            clipped(&[tensor], 1.0).unwrap()[0].to_vec1::<f32>().unwrap()
        };
        assert_eq!(clip(&[3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(clip(&[0.3, 0.4]), [0.3, 0.4]);
        assert_eq!(clip(&[0.0, 0.0]), [0.0, 0.0]);
        for bad in [1e30, f32::INFINITY, f32::NAN] {
            assert!(clip(&[bad, 0.0]).iter().all(|value| value.is_nan()), "{bad}");
        }
    }
}

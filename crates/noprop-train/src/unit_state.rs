//! A unit in training: its parts, their optimizers, and the steps it has made.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use noprop_kernels::optim::{Adam, AdamConfig, Rule};
use noprop_method::{Denoiser, Parameter, Part};

use crate::{OptimizerKind, TrainConfig, TrainError, Unit};

/// A unit, and the number of its steps.
pub(crate) struct UnitState {
    pub unit: Unit,
    /// One for every part with parameters to train or a loss: those that several losses reach come first, then the blocks.
    pub parts: Vec<PartState>,
    /// Steps done since the beginning of training.
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

    /// Returns whether its parts must exchange gradients within a step.
    pub fn shares(&self) -> bool {
        self.parts.len() > 1
    }

    /// The optimizer steps that `part` has made when the unit has made `position` steps, of which an epoch has `steps`.
    pub fn steps_of(&self, part: Part, position: u64, steps: u32) -> u64 {
        let (Unit::InTurn { .. }, Part::Block(t)) = (self.unit, part) else { return position };
        let steps = u64::from(steps);
        let pass = steps / u64::from(self.unit.passes());
        let before = (t as u64 - 1) * pass;
        position / steps * pass + (position % steps).saturating_sub(before).min(pass)
    }

    /// The parts that several losses reach, and those that their own loss alone reaches.
    pub fn split(&mut self) -> (&mut [PartState], &mut [PartState]) {
        let first = self.own().start;
        self.parts.split_at_mut(first)
    }

    /// The indices of the parts that their own loss alone reaches.
    pub fn own(&self) -> std::ops::Range<usize> {
        let is_block = |state: &PartState| matches!(state.part, Part::Block(_));
        let none = if self.shares() { self.parts.len() } else { 0 };
        self.parts.iter().position(is_block).unwrap_or(none)..self.parts.len()
    }
}

/// One part of a network with an optimizer of its own. A part is updated as soon as its gradients are there, so that
/// they need not be kept until all blocks are done: memory does not grow with their number.
pub(crate) struct PartState {
    pub part: Part,
    pub adam: Adam,
    pub trained: Vec<Parameter>,
    /// The part's learning rate as a multiple of the training's.
    lr_scale: f64,
}

impl PartState {
    fn new(part: Part, network: &dyn Denoiser, config: &TrainConfig) -> Result<Self, TrainError> {
        let trained: Vec<Parameter> = network.parameters().trainable(&[part]).cloned().collect();
        let vars: Vec<(String, Var)> = trained
            .iter()
            .map(|parameter| (parameter.name.clone(), parameter.var.clone()))
            .collect();
        let lr_scale = match part {
            Part::Readout => config.readout_lr_scale,
            Part::Encoder | Part::Embedding | Part::Schedule | Part::Block(_) => 1.0,
        };
        Ok(Self { part, adam: Adam::new(vars, adam_config(config))?, trained, lr_scale })
    }

    /// One optimizer step at the training's rate `lr` with the gradients of one backward pass.
    pub fn update(&mut self, pass: &GradStore, lr: f64) -> Result<(), TrainError> {
        self.update_with(self.gradients(pass), lr)
    }

    /// One optimizer step with these gradients, as [`Self::gradients`] orders them.
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
                gradient.ok_or_else(|| TrainError::MissingGradient { name: parameter.name.clone() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(self.adam.step_with(&gradients, lr * self.lr_scale)?)
    }

    /// The gradients of the part's parameters in a backward pass, in their order.
    pub fn gradients(&self, pass: &GradStore) -> Vec<Option<Tensor>> {
        self.trained.iter().map(|parameter| pass.get(&parameter.var).cloned()).collect()
    }
}

/// The optimizer's constants.
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

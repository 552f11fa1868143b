//! The calls that a setup answers: the objective, the samplers and the trainer's settings.

use std::num::NonZeroU32;

use candle_core::Device;
use noprop_method::{
    Adjoint, Backprop, ContinuousTime, DiscreteTime, FlowMatching, Integration, LearnedSchedule,
    LossWeight, Objective, ParameterBuilder, Partition, Sampler, SamplerKind, Schedule,
    ScheduleKind, Seed, Solver,
};
use noprop_models::{Embedding, EmbeddingStart};
use noprop_train::{ClassWeights, TrainConfig};

use crate::choices::{Normalize, Order};
use crate::error::{Context, Error, Result};
use crate::format::{FIRST_FORMAT, FORMAT};
use crate::method::Method;
use crate::settings::Setup;

/// The most steps of a solver.
const MAX_SOLVER_STEPS: usize = 1000;

impl Setup {
    /// The format in which the settings of a new training have their present meaning.
    pub(crate) fn present_format(&self) -> u32 {
        let weighted = self.loss_weight != LossWeight::Uniform;
        let has_kl = self.embedding.is_trained() && self.schedule == ScheduleKind::Notebook;
        match self.method {
            Method::Ct | Method::Fm | Method::Adjoint => FORMAT,
            Method::Dt if weighted || has_kl => FORMAT,
            Method::Dt | Method::Backprop => FIRST_FORMAT,
        }
    }

    /// The settings of the trainer.
    pub fn train(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: self.optimizer,
            lr: self.lr,
            lr_decay: self.lr_decay,
            warmup_steps: self.warmup_steps,
            weight_decay: self.weight_decay,
            readout_lr_scale: self.readout_lr_scale,
            order: self.order.into(),
            augment: self.augment,
            class_weights: self.class_weights,
        }
    }

    /// The losses of training and the way to classify.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting belongs to other methods; [`Error::Method`] if one is outside its range.
    pub fn objective(&self) -> Result<Box<dyn Objective>> {
        let of_others = [
            (
                "order",
                self.order != Order::Batch && self.method != Method::Dt,
                "paper is for the method dt: Algorithm 1 takes its blocks in turn",
            ),
            (
                "path-noise",
                self.path_noise != 0.0 && self.method != Method::Fm,
                "is for the method fm",
            ),
            (
                "validation-steps",
                self.validation_steps.is_some() && !self.method.is_continuous(),
                "is for the methods ct, fm and adjoint: the others have no solver",
            ),
            (
                "solver",
                self.solver.is_some() && self.method == Method::Dt,
                "is for the methods ct, fm and adjoint",
            ),
            (
                "intervals",
                self.intervals != 1 && !matches!(self.method, Method::Ct | Method::Fm),
                "is for the methods ct and fm",
            ),
        ];
        if let Some((key, _, reason)) = of_others.into_iter().find(|(_, idle, _)| *idle) {
            return Err(Error::setting(key, reason));
        }
        Ok(match self.method {
            Method::Dt => Box::new(self.discrete_time()?),
            Method::Ct => Box::new(self.continuous_time()?),
            Method::Fm => Box::new(self.flow_matching()?),
            Method::Backprop => Box::new(Backprop),
            Method::Adjoint => Box::new(Adjoint::new(self.integration(None, None)?)?),
        })
    }

    /// The objective, if the method is dt.
    pub(crate) fn discrete_time(&self) -> Result<DiscreteTime> {
        let schedule = Schedule::new(self.schedule, self.steps)?;
        Ok(DiscreteTime::new(schedule, self.eta, self.loss_weight)?.readout(self.readout))
    }

    /// The objective, if the method is ct.
    pub(crate) fn continuous_time(&self) -> Result<ContinuousTime> {
        let whole = ContinuousTime::new(self.eta, self.loss_weight, self.integration(None, None)?)?;
        // The schedule that training starts from is a function of the seed, and so the intervals are as well.
        let divided =
            whole.divided(self.intervals, &LearnedSchedule::new(&self.fresh(&Device::Cpu))?)?;
        Ok(divided.readout(self.readout))
    }

    fn flow_matching(&self) -> Result<FlowMatching> {
        let whole = FlowMatching::new(self.loss_weight, self.integration(None, None)?)?;
        Ok(whole.path_noise(self.path_noise)?.divided(self.intervals)?)
    }

    /// The division of time among blocks, where it is continuous.
    pub(crate) fn partition(&self) -> Result<Option<Partition>> {
        Ok(match self.method {
            Method::Dt | Method::Backprop => None,
            Method::Ct => Some(self.continuous_time()?.partition().clone()),
            Method::Fm => Some(self.flow_matching()?.partition().clone()),
            Method::Adjoint => Some(Partition::whole()),
        })
    }

    /// The solver of a classification where time is continuous, and its steps: those given, else those of the settings.
    fn integration(&self, solver: Option<Solver>, steps: Option<usize>) -> Result<Integration> {
        let steps = steps.unwrap_or(self.steps);
        let within = u32::try_from(steps).ok().filter(|_| steps <= MAX_SOLVER_STEPS);
        let steps = within.and_then(NonZeroU32::new).with_context(|| {
            format!("steps must be between 1 and {MAX_SOLVER_STEPS}, got {steps}")
        })?;
        let usual = match self.method {
            Method::Ct => Solver::Posterior,
            Method::Dt | Method::Fm | Method::Backprop | Method::Adjoint => Solver::Euler,
        };
        Ok(Integration { solver: solver.or(self.solver).unwrap_or(usual), steps })
    }

    /// The integration of a trained run with another solver or number of steps; `None` where time is discrete.
    ///
    /// # Errors
    /// [`Error::Setting`] if time is discrete and one of them is given.
    pub(crate) fn integration_of(
        &self,
        solver: Option<Solver>,
        steps: Option<usize>,
    ) -> Result<Option<Integration>> {
        if self.method.is_continuous() {
            return self.integration(solver, steps).map(Some);
        }
        match (steps, solver) {
            (None, None) => Ok(None),
            (given, _) => Err(Error::setting(
                if given.is_some() { "steps" } else { "solver" },
                format!("is for the methods ct, fm and adjoint; this run is {}", self.method),
            )),
        }
    }

    /// Returns whether class embeddings of an image's size start elsewhere than at images and have no length of their own: each then has
    /// that of its class's prototype, so that starts can be compared.
    pub fn start_has_length_of_prototypes(&self) -> bool {
        self.embedding == Embedding::Prototype
            && self.embedding_start.is_some_and(|start| start != EmbeddingStart::Prototype)
            && self.embedding_scale.is_none()
    }

    /// Initial parameters on `device`.
    pub fn fresh(&self, device: &Device) -> ParameterBuilder {
        ParameterBuilder::seeded(Seed(self.seed), device)
    }

    /// The sampler of the test at the end of a training.
    pub fn sampler(&self) -> Sampler {
        Sampler { seed: Seed(self.seed), ..Sampler::once(SamplerKind::Mean) }
    }

    /// The sampler of held-out images after every epoch.
    ///
    /// # Errors
    /// [`Error::Refused`] if the number of steps is outside its range.
    pub fn validation_sampler(&self) -> Result<Sampler> {
        let integration = self
            .validation_steps
            .filter(|&steps| steps < self.steps)
            .map(|steps| self.integration(None, Some(steps)))
            .transpose()?;
        Ok(Sampler { integration, ..self.sampler() })
    }

    /// The differences from pixels of 0 to 1 as they are in the files, from images that all count alike, and from the paper's
    /// convolutions, in words.
    pub(crate) fn treatment(&self) -> Option<String> {
        let mut words = Vec::new();
        match self.normalize {
            Normalize::None => {}
            Normalize::Channel => words.push("normalised by channel".to_owned()),
        }
        if !self.augment.is_none() {
            words.push(format!("changed by {}", self.augment));
        }
        if self.class_weights == ClassWeights::Balanced {
            words.push("classes balanced".to_owned());
        }
        if self.padding > 0 {
            words.push(format!("padding {}", self.padding));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

//! The methods by name: the settings of each, and its construction from them.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::str::FromStr;

use noprop_schedule::ScheduleKind;
use serde::{Deserialize, Serialize};

use crate::names::text_form;
use crate::{
    BlockLossKind, Integration, LossWeight, Method, MethodError, Readout, SamplerKind, Seed, Solver,
};

/// The most blocks of a chain, and the most steps of a solver. The limit protects against settings from untrusted files.
const MAX_STEPS: usize = 1000;

/// A method by its name.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MethodKind(&'static MethodFacts);

impl MethodKind {
    /// All methods. A new method needs one more file, and one more name here.
    pub const ALL: &'static [Self] =
        &[Self::DT, Self::CT, Self::FM, Self::BACKPROP, Self::ADJOINT, Self::CLASSIFIER];

    /// Returns the method with these facts.
    pub(crate) const fn new(facts: &'static MethodFacts) -> Self {
        Self(facts)
    }

    /// Returns whether the method has `setting`.
    pub fn has(self, setting: Setting) -> bool {
        self.settings.contains(&setting)
    }

    /// Returns the names of the methods for which `is` returns true, as text: "the methods ct, fm and adjoint".
    pub fn names(is: impl Fn(Self) -> bool) -> String {
        let names: Vec<&str> =
            Self::ALL.iter().filter(|kind| is(**kind)).map(|kind| kind.name).collect();
        match names.as_slice() {
            [] => "none".into(),
            [name] => format!("the method {name}"),
            [others @ .., last] => format!("the methods {} and {last}", others.join(", ")),
        }
    }

    /// Returns an integration with `steps` steps of `solver`, or of the method's usual solver if it is `None`.
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] for a number of steps that is out of bounds.
    pub fn integration(
        self,
        solver: Option<Solver>,
        steps: usize,
    ) -> Result<Integration, MethodError> {
        let steps = checked(steps)?;
        let usual = self.solvers.first().copied().unwrap_or(Solver::EULER);
        Ok(Integration { solver: solver.unwrap_or(usual), steps })
    }

    /// Builds the method.
    ///
    /// # Errors
    /// [`MethodError`] for a setting that is outside its range.
    pub fn build(self, settings: &MethodSettings) -> Result<Box<dyn Method>, MethodError> {
        checked(settings.steps)?;
        (self.0.build)(settings)
    }
}

fn checked(steps: usize) -> Result<NonZeroU32, MethodError> {
    let within = u32::try_from(steps).ok().filter(|_| steps <= MAX_STEPS);
    within.and_then(NonZeroU32::new).ok_or_else(|| MethodError::OutOfRange {
        name: "steps",
        expected: "between 1 and 1000",
        value: steps.to_string(),
    })
}

/// The facts about a method.
pub struct MethodFacts {
    /// The name in settings.
    pub name: &'static str,
    /// The title in tables and model cards.
    pub title: &'static str,
    /// The line of help.
    pub summary: &'static str,
    /// The time between noise and embedding.
    pub time: Time,
    /// The settings that the method has, among those that not all methods have.
    pub settings: &'static [Setting],
    /// The solvers that the method accepts, the usual one first; empty unless time is continuous.
    pub solvers: &'static [Solver],
    /// The samplers that give different results. There are several if noise enters the chain after its start.
    pub samplers: &'static [SamplerKind],
    /// The usual length of class embeddings.
    pub embedding_length: EmbeddingLength,
    /// The settings, as TOML, that are added to a preset for discrete time, and override it.
    pub defaults: &'static str,
    /// Builds the method from settings.
    pub(crate) build: fn(&MethodSettings) -> Result<Box<dyn Method>, MethodError>,
}

/// The time between noise and embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Discrete time: T steps, with one block for each.
    Discrete,
    /// Continuous time 0..=1, in steps of a solver.
    Continuous,
    /// The method has no chain, so it has no steps and no class embeddings.
    None,
}

/// A setting that not all methods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// A fixed noise schedule.
    Schedule,
    /// η, the weight of the denoising term.
    Eta,
    /// The weight of each block's error.
    LossWeight,
    /// The loss function of a block.
    BlockLoss,
    /// The number of blocks that share continuous time.
    Intervals,
    /// The rule from the last embedding to a class.
    Readout,
    /// σ of the path (Eq. 10).
    PathNoise,
    /// The order in which blocks learn from mini-batches.
    Order,
}

/// The usual length of class embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingLength {
    /// 1.
    One,
    /// A tenth of the dimension d of the embeddings, and at least 1. The path starts from noise of length √d, which hides short
    /// embeddings of many classes. In measurements a tenth learned at d = 100 and was best at d = 10 (docs/results.md).
    TenthOfDimension,
}

/// The settings from which a method is built. Each method reads only the settings that it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodSettings {
    /// T in discrete time, the number of the solver's steps in continuous time.
    pub steps: usize,
    /// The solver; `None` for the method's usual one.
    pub solver: Option<Solver>,
    /// B, the number of blocks that share continuous time.
    pub intervals: usize,
    /// The noise schedule of discrete time.
    pub schedule: ScheduleKind,
    /// η.
    pub eta: f64,
    /// The weight of each block's error.
    pub loss_weight: LossWeight,
    /// The loss function of a block.
    pub block_loss: BlockLossKind,
    /// The rule from the last embedding to a class.
    pub readout: Readout,
    /// σ of the path (Eq. 10).
    pub path_noise: f64,
    /// The seed of the training.
    pub seed: Seed,
}

impl Deref for MethodKind {
    type Target = MethodFacts;

    fn deref(&self) -> &MethodFacts {
        self.0
    }
}

impl PartialEq for MethodKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for MethodKind {}

impl fmt::Debug for MethodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for MethodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for MethodKind {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        let known = Self::ALL.iter().copied().find(|kind| kind.name == name);
        known.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.name).collect();
            MethodError::unknown("method", name, &known.join(", "))
        })
    }
}

text_form!(MethodKind);

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: MethodSettings = MethodSettings {
        steps: 4,
        solver: None,
        intervals: 1,
        schedule: ScheduleKind::Cosine,
        eta: 1.0,
        loss_weight: LossWeight::Uniform,
        block_loss: BlockLossKind::Squared,
        readout: Readout::Softmax,
        path_noise: 0.0,
        seed: Seed(1),
    };

    /// Every method in the list is found by its name, is built from its usual settings, and needs as many blocks as it has.
    #[test]
    fn every_method_is_built_by_its_name() {
        for &kind in MethodKind::ALL {
            assert_eq!(kind.name.parse::<MethodKind>().unwrap(), kind);
            let method = kind.build(&SETTINGS).unwrap();
            assert_eq!(method.needs().blocks, method.blocks(), "{kind}");
            assert_eq!(method.partition().is_some(), kind.time == Time::Continuous, "{kind}");
            assert_eq!(kind.solvers.is_empty(), kind.time != Time::Continuous, "{kind}");
            let divided = kind.build(&MethodSettings { intervals: 2, ..SETTINGS }).unwrap();
            assert_eq!(divided.blocks() == 2, kind.has(Setting::Intervals), "{kind}");
        }
        assert!("dtt".parse::<MethodKind>().is_err());
    }

    #[test]
    fn chains_and_solvers_have_a_bounded_number_of_steps() {
        for steps in [0, 1001, usize::MAX] {
            assert!(MethodKind::CT.integration(None, steps).is_err());
            assert!(MethodKind::DT.build(&MethodSettings { steps, ..SETTINGS }).is_err());
        }
        let usual = MethodKind::CT.integration(None, 1000).unwrap();
        assert_eq!((usual.solver, usual.steps.get()), (Solver::Posterior, 1000));
    }
}

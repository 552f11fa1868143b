//! Solvers in continuous time, from noise to an embedding, and their steps.

use std::num::NonZeroU32;
use std::ops::Range;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::MethodError;
use crate::names::{names, text_form};

/// A solver of an ordinary differential equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OdeSolver {
    /// Euler's method: one evaluation per step.
    Euler,
    /// Heun's method: two evaluations per step. It uses the mean of the slopes at the two ends of the step.
    Heun,
}

/// A rule for a step in time. Each method takes some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Solver {
    /// The diffusion posterior of Eq. 3 between two times, with the noise term that the sampler chooses. Only for diffusion.
    Posterior,
    /// A solver of the ordinary differential equation.
    Ode(OdeSolver),
}

impl Solver {
    /// Euler's method.
    pub const EULER: Self = Self::Ode(OdeSolver::Euler);
    /// Heun's method.
    pub const HEUN: Self = Self::Ode(OdeSolver::Heun);
}

names!(Solver, "solver", Posterior = "posterior", EULER = "euler", HEUN = "heun");
text_form!(Solver);

impl From<OdeSolver> for Solver {
    fn from(solver: OdeSolver) -> Self {
        Self::Ode(solver)
    }
}

impl TryFrom<Solver> for OdeSolver {
    type Error = MethodError;

    /// Returns the solver of the differential equation. The posterior is refused: it does not solve one.
    fn try_from(solver: Solver) -> Result<Self, MethodError> {
        match solver {
            Solver::Posterior => Err(MethodError::Solver),
            Solver::Ode(solver) => Ok(solver),
        }
    }
}

/// The result of a step of dz/dt = slope(z, t).
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// z at the end of the step, [N, d].
    pub z: Tensor,
    /// The slope at the beginning of the step, [N, d].
    pub first: Tensor,
}

impl OdeSolver {
    /// Makes one step from `z` [N, d] over the interval of time `over`.
    pub(crate) fn step(
        self,
        z: &Tensor,
        over: Range<f64>,
        slope: &dyn Fn(&Tensor, f64) -> Result<Tensor, MethodError>,
    ) -> Result<Step, MethodError> {
        let length = over.end - over.start;
        let first = slope(z, over.start)?;
        let z = match self {
            Self::Euler => (z + (&first * length)?)?,
            Self::Heun => {
                let there = (z + (&first * length)?)?;
                let both = (&first + slope(&there, over.end)?)?;
                (z + (both * (0.5 * length))?)?
            }
        };
        Ok(Step { z, first })
    }
}

/// A solver and its number of steps from t = 0 to t = 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integration<S = Solver> {
    /// The rule for one step.
    pub solver: S,
    /// The number of steps.
    pub steps: NonZeroU32,
}

impl<S> Integration<S> {
    /// Returns the beginning and the end of each step, in pairs of the times 0, 1/steps, …, 1.
    pub fn intervals(&self) -> impl DoubleEndedIterator<Item = (f64, f64)> + use<S> {
        let steps = self.steps.get();
        let time = move |i: u32| f64::from(i) / f64::from(steps);
        (0..steps).map(move |i| (time(i), time(i + 1)))
    }
}

impl From<Integration<OdeSolver>> for Integration {
    fn from(Integration { solver, steps }: Integration<OdeSolver>) -> Self {
        Self { solver: solver.into(), steps }
    }
}

impl TryFrom<Integration> for Integration<OdeSolver> {
    type Error = MethodError;

    /// Returns the integration of the differential equation. The posterior is refused: it does not solve one.
    fn try_from(Integration { solver, steps }: Integration) -> Result<Self, MethodError> {
        Ok(Self { solver: solver.try_into()?, steps })
    }
}

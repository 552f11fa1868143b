//! From noise to an embedding in continuous time: solvers and their steps.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::str::FromStr;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::MethodError;

/// How a step in time is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// The diffusion posterior of Eq. 3 between two times, its noise term as the sampler says. For `ct`.
    Posterior,
    /// One evaluation a step, of the ordinary differential equation.
    Euler,
    /// Two evaluations a step: the mean of the slopes at its two ends.
    Heun,
}

impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Posterior => "posterior",
            Self::Euler => "euler",
            Self::Heun => "heun",
        })
    }
}

impl FromStr for Solver {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        match name {
            "posterior" => Ok(Self::Posterior),
            "euler" => Ok(Self::Euler),
            "heun" => Ok(Self::Heun),
            _ => Err(MethodError::UnknownName {
                what: "solver",
                name: name.into(),
                known: "posterior, euler, heun",
            }),
        }
    }
}

/// Where a step of dz/dt = slope(z, t) ended.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// z at the end of the step, [N, d].
    pub z: Tensor,
    /// The slope at its beginning, [N, d].
    pub first: Tensor,
}

impl Solver {
    /// One step from `z` [N, d] over the times `over`. The posterior is no solver of this equation: Euler takes its place.
    pub(crate) fn step(
        self,
        z: &Tensor,
        over: Range<f64>,
        slope: &dyn Fn(&Tensor, f64) -> Result<Tensor, MethodError>,
    ) -> Result<Step, MethodError> {
        let length = over.end - over.start;
        let first = slope(z, over.start)?;
        let z = match self {
            Self::Euler | Self::Posterior => (z + (&first * length)?)?,
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
pub struct Integration {
    /// How a step is made.
    pub solver: Solver,
    /// How many.
    pub steps: NonZeroU32,
}

impl Integration {
    /// Refuses the posterior, which is no solver of an equation that gives slopes.
    pub(crate) fn of_slopes(self) -> Result<Self, MethodError> {
        match self.solver {
            Solver::Posterior => Err(MethodError::Solver),
            Solver::Euler | Solver::Heun => Ok(self),
        }
    }

    /// The times 0, 1/steps, …, 1 in pairs: the beginning and the end of each step.
    pub fn intervals(self) -> impl DoubleEndedIterator<Item = (f64, f64)> {
        let steps = self.steps.get();
        let time = move |i: u32| f64::from(i) / f64::from(steps);
        (0..steps).map(move |i| (time(i), time(i + 1)))
    }
}

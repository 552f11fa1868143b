//! Settings of the chain that classifies, and the draws that it makes.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use candle_core::Tensor;
use noprop_kernels::random;
use noprop_schedule::Posterior;
use serde::{Deserialize, Serialize};

use crate::{Integration, MethodError, OdeSolver, Seed};

/// What happens between two blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// The posterior's mean, its noise term left out: the more accurate one, because late blocks trust a noised
    /// embedding more than they should.
    #[default]
    Mean,
    /// A draw from the posterior (Eq. 3): the paper's.
    Stochastic,
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::Stochastic => "stochastic",
        })
    }
}

impl FromStr for SamplerKind {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        match name {
            "mean" => Ok(Self::Mean),
            "stochastic" => Ok(Self::Stochastic),
            _ => Err(MethodError::UnknownName {
                what: "sampler",
                name: name.into(),
                known: "mean, stochastic",
            }),
        }
    }
}

/// How images are classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// What happens between two blocks.
    pub kind: SamplerKind,
    /// How many chains, each from its own noise, are averaged.
    pub runs: NonZeroU32,
    /// Where the noise comes from.
    pub seed: Seed,
    /// How time is integrated, where it is continuous; without it as the objective was made.
    pub integration: Option<Integration>,
}

impl Sampler {
    /// A single chain with seed 0.
    pub fn once(kind: SamplerKind) -> Self {
        Self { kind, runs: NonZeroU32::MIN, seed: Seed(0), integration: None }
    }

    /// The integration of an equation of slopes: the sampler's, or else the method's `own`.
    ///
    /// # Errors
    /// [`MethodError::Solver`] where the sampler's solver is the posterior.
    pub(crate) fn ode(
        &self,
        own: Integration<OdeSolver>,
    ) -> Result<Integration<OdeSolver>, MethodError> {
        self.integration.map_or(Ok(own), TryInto::try_into)
    }
}

/// The source of a chain's noise.
#[derive(Debug, Clone, Copy)]
pub struct Noise<'a> {
    /// The sampler.
    pub sampler: &'a Sampler,
    /// The run's number, from 0.
    pub run: u32,
    /// One id for each image.
    pub rows: &'a [u32],
}

impl Noise<'_> {
    /// The seed of all draws.
    pub fn seed(&self) -> Seed {
        self.sampler.seed
    }
}

/// z_t from z_{t-1} and the guess û (Eq. 3): the posterior's mean, and its noise if the sampler wants it.
pub(crate) fn posterior_draw(
    z: &Tensor,
    guess: Tensor,
    step: Posterior,
    noise: Noise<'_>,
    t: usize,
) -> Result<Tensor, MethodError> {
    let mean = ((guess * step.a)? + (z * step.b)?)?;
    Ok(match noise.sampler.kind {
        SamplerKind::Mean => mean,
        SamplerKind::Stochastic => {
            let key = noise.seed().sampler_step(noise.run, t);
            let epsilon = random::normal_rows(key, noise.rows, z.dim(1)?, z.device())?;
            (mean + (epsilon * step.c.sqrt())?)?
        }
    })
}

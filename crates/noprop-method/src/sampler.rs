//! The settings of the chain that classifies, and its random draws.

use std::num::NonZeroU32;

use candle_core::Tensor;
use noprop_kernels::random;
use noprop_schedule::Posterior;
use serde::{Deserialize, Serialize};

use crate::names::names;
use crate::{ChainStep, Integration, MethodError, OdeSolver, Seed, Update};

/// The step between two blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// The mean of the posterior, without its noise term. It is more accurate, because late blocks rely too much on a noised
    /// embedding.
    #[default]
    Mean,
    /// A draw from the posterior (Eq. 3), as in the paper.
    Stochastic,
}

names!(SamplerKind, "sampler", Mean = "mean", Stochastic = "stochastic");

/// The settings of classification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// The step between two blocks.
    pub kind: SamplerKind,
    /// The number of chains, each from its own noise, that are averaged.
    pub runs: NonZeroU32,
    /// The seed of the noise.
    pub seed: Seed,
    /// The integration in continuous time; `None` for that of the method.
    pub integration: Option<Integration>,
}

impl Sampler {
    /// Returns a sampler with a single chain and seed 0.
    pub fn once(kind: SamplerKind) -> Self {
        Self { kind, runs: NonZeroU32::MIN, seed: Seed(0), integration: None }
    }

    /// Returns the integration of a differential equation: the sampler's if it has one, otherwise `own`, the method's.
    ///
    /// # Errors
    /// [`MethodError::Solver`] if the sampler's solver is the posterior.
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
    /// The number of the chain, from 0 and below [`Sampler::runs`].
    pub run: u32,
    /// One id for each image.
    pub rows: &'a [u32],
}

/// Makes the step from z_{t-1} to z_t with the probabilities `guess` and the prediction û (Eq. 3): the mean of the posterior, plus its
/// noise if the sampler is stochastic.
pub(crate) fn posterior_step(
    z: &Tensor,
    guess: Tensor,
    clean: Tensor,
    factors: Posterior,
    noise: Noise<'_>,
    t: usize,
) -> Result<ChainStep, MethodError> {
    let mean = ((&clean * factors.a)? + (z * factors.b)?)?;
    let (z, epsilon) = match noise.sampler.kind {
        SamplerKind::Mean => (mean, None),
        SamplerKind::Stochastic => {
            let key = noise.sampler.seed.sampler_step(noise.run, t);
            let epsilon = random::normal_rows(key, noise.rows, z.dim(1)?, z.device())?;
            ((mean + (&epsilon * factors.c.sqrt())?)?, Some(epsilon))
        }
    };
    Ok(ChainStep { z, guess: Some(guess), update: Some(Update { factors, clean, noise: epsilon }) })
}

//! From noise to class probabilities. Nothing here ever sees a label.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use candle_core::Tensor;
use noprop_kernels::random;
use serde::{Deserialize, Serialize};

use crate::{Denoiser, Integration, MethodError, Noise, Objective, Part, Pass, Seed};

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
}

/// Class probabilities for a batch.
#[derive(Debug, Clone)]
pub struct Classification {
    /// The answer: softmax of the readout of z_T, averaged over runs, [N, classes].
    pub probabilities: Tensor,
    /// What each block believed on the way, softmax of its logits averaged over runs: B tensors [N, classes], or none
    /// where a block alone has no answer.
    pub per_block: Vec<Tensor>,
}

/// Classifies `images` [N, C, H, W]: start from z_0 ~ N(0, I), let the blocks refine it, read out the class.
///
/// `rows` holds one id an image: an image's noise depends on its id and not on its place in the batch. Labels are not an
/// argument, so no label can leak. Each image branch runs once, however many steps and runs follow.
///
/// # Errors
/// [`MethodError`] if the network does not fit the objective, or `rows` not the images.
pub fn classify(
    network: &dyn Denoiser,
    objective: &dyn Objective,
    images: &Tensor,
    rows: &[u32],
    sampler: &Sampler,
) -> Result<Classification, MethodError> {
    let mut encoded = BTreeMap::<Part, Tensor>::new();
    for block in 1..=network.blocks() {
        let part = network.encoder_part(block);
        if let std::collections::btree_map::Entry::Vacant(slot) = encoded.entry(part) {
            slot.insert(network.encode(part, images, Pass::Eval)?.detach());
        }
    }
    let features = |block: usize| encoded[&network.encoder_part(block)].clone();
    let width = network.class_embeddings().dim(1)?;

    let mut sum: Option<Classification> = None;
    for run in 0..sampler.runs.get() {
        let start = sampler.seed.sampler_start(run);
        let z = random::normal_rows(start, rows, width, images.device())?;
        let noise = Noise { sampler, run, rows };
        let path = objective.denoise(network, &features, z, noise)?;
        let answer = Classification {
            probabilities: objective.answer(network, &path.z)?.detach(),
            per_block: path.per_block.iter().map(Tensor::detach).collect(),
        };
        sum = Some(match sum {
            None => answer,
            Some(sum) => add(&sum, &answer)?,
        });
    }
    let scale = 1.0 / f64::from(sampler.runs.get());
    match sum {
        Some(sum) => scaled(&sum, scale),
        // `runs` is at least 1.
        None => {
            Err(MethodError::OutOfRange { name: "runs", expected: "at least 1", value: "0".into() })
        }
    }
}

fn add(a: &Classification, b: &Classification) -> Result<Classification, MethodError> {
    let per_block = a.per_block.iter().zip(&b.per_block);
    Ok(Classification {
        probabilities: (&a.probabilities + &b.probabilities)?,
        per_block: per_block.map(|(x, y)| x + y).collect::<Result<_, _>>()?,
    })
}

fn scaled(sum: &Classification, scale: f64) -> Result<Classification, MethodError> {
    Ok(Classification {
        probabilities: (&sum.probabilities * scale)?,
        per_block: sum.per_block.iter().map(|x| x * scale).collect::<Result<_, _>>()?,
    })
}

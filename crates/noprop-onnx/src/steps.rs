//! The steps of a chain as numbers: which block is asked at which time, and how its answer moves z.

use noprop_method::{Chain, Denoiser, Method, MethodKind, OdeSolver, Sampler, SamplerKind, Solver};
use noprop_models::Network;
use noprop_schedule::Schedule;

use crate::error::{ExportError, Result};
use crate::weights::Weights;

/// A step of one stage, or of two: Heun's method asks at both ends of a step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// Its stages. The point that each makes is where the next one asks.
    pub stages: Vec<Stage>,
    /// Its block, if this is the last step of the block and the block has a belief.
    pub tells: Option<usize>,
    /// The time from its beginning to the end of the chain.
    pub left: f64,
}

impl Step {
    /// Returns whether one of its stages adds noise.
    pub fn has_noise(&self) -> bool {
        let mut terms = self.stages.iter().flat_map(|stage| &stage.terms);
        terms.any(|(term, _)| *term == Term::Noise)
    }
}

/// A block is asked at a point, and its answer leads to the next point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stage {
    /// The block, from 1.
    pub block: usize,
    /// The time in 0..=1 at which it is asked.
    pub time: f64,
    /// The next point is the sum of these, each times a factor.
    pub terms: Vec<(Term, f64)>,
}

/// A part of the sum that a stage makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Term {
    /// z at the beginning of the step.
    Start,
    /// The point at which the block was asked.
    Here,
    /// Its answer.
    Answer,
    /// The noise of the step.
    Noise,
}

/// The answer of a block, as a vector among the embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// softmax(logits) W_embed, the embedding that it guesses.
    Embedding,
    /// logits W_embed, the velocity of z.
    Velocity,
}

/// The steps of a chain.
pub(crate) struct Steps {
    pub all: Vec<Step>,
    pub answer: Answer,
    /// The draws of noise for each image and chain: z_0, and one for each step if steps have noise.
    pub draws: usize,
}

/// The way in which an answer moves z.
enum Rule {
    /// From one noise level to the next.
    Diffusion(Schedule, Solver, SamplerKind),
    /// Along the velocity.
    Velocity(OdeSolver),
    /// By α of each block towards its guess.
    Mixing(Vec<f64>),
}

impl Steps {
    /// The steps that `sampler` makes with a trained network; `None` if the method has no chain.
    pub fn of(
        kind: MethodKind,
        (method, network): (&dyn Method, &Network),
        sampler: &Sampler,
        weights: &mut Weights,
    ) -> Result<Option<Self>> {
        // The chain checks its settings. No step of it is made, so the features are not looked at.
        let nothing = network.class_embeddings().detach();
        let features = |_| nothing.clone();
        let chain = method.chain(network, &features, sampler)?;
        // Discrete time, which has no integration, has the posterior alone.
        let solver = sampler.integration.map_or(Solver::Posterior, |path| path.solver);
        let count = chain.steps();
        let is = |kinds: &[MethodKind]| kinds.contains(&kind);
        let (rule, answer) = if is(&[MethodKind::DT, MethodKind::CT]) {
            let levels = method.noise_levels(network, count)?;
            let levels = levels.ok_or_else(|| unsupported(kind))?;
            (Rule::Diffusion(levels.schedule, solver, sampler.kind), Answer::Embedding)
        } else if is(&[MethodKind::FM, MethodKind::ADJOINT]) {
            (Rule::Velocity(solver.try_into()?), Answer::Velocity)
        } else if is(&[MethodKind::BACKPROP]) {
            (Rule::Mixing(shares(weights, count)?), Answer::Embedding)
        } else if is(&[MethodKind::CLASSIFIER]) {
            return Ok(None);
        } else {
            return Err(unsupported(kind));
        };
        let has_beliefs = is(&[MethodKind::DT, MethodKind::CT, MethodKind::FM]);
        let step = |t: usize| {
            let block = chain.block(t);
            let last = t == count || chain.block(t + 1) != block;
            let (time, _) = chain.times(t);
            Step {
                stages: rule.stages(method, &*chain, t),
                tells: (has_beliefs && last).then_some(block),
                left: 1.0 - time,
            }
        };
        let all: Vec<Step> = (1..=count).map(step).collect();
        let draws = 1 + if all.iter().any(Step::has_noise) { count } else { 0 };
        Ok(Some(Self { all, answer, draws }))
    }
}

fn unsupported(kind: MethodKind) -> ExportError {
    ExportError::Unsupported { setting: "method", value: kind.to_string() }
}

/// α_t = tanh(w_t) of each block.
fn shares(weights: &mut Weights, blocks: usize) -> Result<Vec<f64>> {
    let mut share = |block: usize| -> Result<f64> {
        let name = format!("block.{block}.mix.weight");
        let (_, values) = weights.take(&name)?;
        let weight = values.first().ok_or(ExportError::Missing(name))?;
        Ok(f64::from(*weight).tanh())
    };
    (1..=blocks).map(&mut share).collect()
}

impl Rule {
    /// The stages of step `t`, from 1.
    fn stages(&self, method: &dyn Method, chain: &dyn Chain, t: usize) -> Vec<Stage> {
        use Term::{Answer, Here, Noise, Start};
        let (block, (time, next)) = (chain.block(t), chain.times(t));
        let first = |terms: Vec<(Term, f64)>| Stage { block, time, terms };
        let second = |terms: Vec<(Term, f64)>| {
            let owner = method.partition().map_or(block, |partition| partition.owner_of(next));
            Stage { block: owner, time: next, terms }
        };
        match self {
            Self::Mixing(shares) => {
                let share = shares.get(block - 1).copied().unwrap_or_default();
                vec![first(vec![(Start, 1.0 - share), (Answer, share)])]
            }
            Self::Velocity(solver) => {
                let length = next - time;
                let euler = first(vec![(Start, 1.0), (Answer, length)]);
                match solver {
                    OdeSolver::Euler => vec![euler],
                    // z + ½ length (v + v'), where the first stage ends at z + length · v.
                    OdeSolver::Heun => {
                        vec![euler, second(vec![(Start, 0.5), (Here, 0.5), (Answer, 0.5 * length)])]
                    }
                }
            }
            Self::Diffusion(levels, Solver::Posterior, sampler) => {
                let factors = levels.posterior(t);
                let mut terms = vec![(Start, factors.b), (Answer, factors.a)];
                match sampler {
                    SamplerKind::Mean => {}
                    SamplerKind::Stochastic => terms.push((Noise, factors.c.sqrt())),
                }
                vec![first(terms)]
            }
            Self::Diffusion(levels, Solver::Ode(solver), _) => {
                // In x = z/√ᾱ and σ = √((1 − ᾱ)/ᾱ) the slope is (x − û)/σ.
                let (before, after) = (levels.alpha_bar(t - 1), levels.alpha_bar(t));
                let kept = ((1.0 - after) / (1.0 - before)).sqrt();
                let moved = after.sqrt() - kept * before.sqrt();
                let euler = first(vec![(Start, kept), (Answer, moved)]);
                match solver {
                    OdeSolver::Euler => vec![euler],
                    // x + ½ (σ' − σ) (slope + slope'), where the first stage ends at x + (σ' − σ) · slope: so it is
                    // ½ x + (1 − r) x' + (r − ½) û' with r = σ / (2 σ'), again with √ᾱ in z.
                    OdeSolver::Heun => {
                        let sigma = |alpha_bar: f64| ((1.0 - alpha_bar) / alpha_bar).sqrt();
                        let ratio = 0.5 * sigma(before) / sigma(after);
                        vec![
                            euler,
                            second(vec![
                                (Start, 0.5 * (after / before).sqrt()),
                                (Here, 1.0 - ratio),
                                (Answer, after.sqrt() * (ratio - 0.5)),
                            ]),
                        ]
                    }
                }
            }
        }
    }
}

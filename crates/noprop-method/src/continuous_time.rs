//! NoProp-CT: one block for all times, and a noise schedule that is learned with it (Eq. 9, Algorithm 2, Appendix B).

use candle_core::{D, Device, Tensor};
use noprop_kernels::random;
use noprop_schedule::Schedule;

use crate::block_loss::{cross_entropies, mean_cross_entropy};
use crate::noising::scaled_rows;
use crate::prior::{kl_loss, mean_kl};
use crate::readout::softmax;
use crate::sampler::posterior_step;
use crate::{
    BlockInput, BlockLoss, BlockLossKind, Blockwise, Chain, ChainStep, Denoiser, Draws,
    EmbeddingLength, Integration, LearnedSchedule, LossWeight, Losses, Method, MethodError,
    MethodFacts, MethodKind, Needs, Noise, NoiseLevels, OdeSolver, ParameterBuilder, Part,
    Partition, Pass, Readout, ReadoutLoss, Sampler, SamplerKind, ScheduleAt, Setting, Solver,
    Targets, Time, clean_embeddings,
};

/// The continuous-time objective.
///
/// For each image of a batch a time t ~ U(0, 1) and z_t ~ q(z_t | y) are drawn. The block's loss is ½ η SNR'(t) ‖û(z_t, x, t) −
/// u_y‖² (Eq. 9). With several blocks, each draws its times in its own interval and its loss is multiplied by the interval's
/// length, so the sum over blocks is the expectation of a single block. [`BlockLossKind`] can replace the squared distance by
/// cross-entropy.
#[derive(Debug, Clone)]
pub struct ContinuousTime {
    eta: f64,
    loss_weight: LossWeight,
    block_loss: BlockLossKind,
    integration: Integration,
    partition: Partition,
    readout: Readout,
}

/// The number of cells of 0..=1 over which the mass of the loss weight is summed.
const CELLS: usize = 1000;

impl ContinuousTime {
    /// Returns the objective with one block for all times. `integration` classifies images unless a sampler has another.
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] unless η is positive and an f32 holds it.
    pub fn new(
        eta: f64,
        loss_weight: LossWeight,
        integration: Integration,
    ) -> Result<Self, MethodError> {
        MethodError::positive("eta", eta)?;
        Ok(Self {
            eta,
            loss_weight,
            block_loss: BlockLossKind::default(),
            integration,
            partition: Partition::whole(),
            readout: Readout::default(),
        })
    }

    /// Returns the objective with `intervals` blocks, each of which owns an interval of time. The intervals have equal loss
    /// mass ∫ w(t) dt, where w is the weight in training under `start`, the schedule at the beginning of training. They do not
    /// change during training.
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] unless `intervals` is between 1 and 100, [`MethodError::FewSteps`] if the integration has
    /// too few steps for every interval to have one.
    pub fn divided(
        mut self,
        intervals: usize,
        start: &LearnedSchedule,
    ) -> Result<Self, MethodError> {
        self.partition = Partition::equal_mass(intervals, &self.weights_at(start, CELLS)?)?;
        self.partition.check_steps(self.integration.steps.get())?;
        Ok(self)
    }

    /// Returns the interval of time that each block owns.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Sets the loss function of the blocks.
    #[must_use]
    pub fn block_loss_kind(mut self, kind: BlockLossKind) -> Self {
        self.block_loss = kind;
        self
    }

    /// Sets the step from the last embedding to class probabilities.
    #[must_use]
    pub fn readout(mut self, readout: Readout) -> Self {
        self.readout = readout;
        self
    }

    /// Returns the class logits [N, classes] of the last embedding z_1 [N, d].
    fn class_logits(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
        let schedule = schedule(network)?;
        Ok(self.readout.logits(network, z, || {
            let end = constant(schedule.ends().0)?;
            Ok((end.alpha_bar()?, end.noise_share()?))
        })?)
    }

    /// Returns the factor of each image's error, `[N]`.
    fn weights(&self, snr_rate: &Tensor) -> Result<Tensor, MethodError> {
        let paper = (snr_rate * (0.5 * self.eta))?;
        Ok(match self.loss_weight {
            LossWeight::Snr => paper,
            LossWeight::Uniform => paper.ones_like()?,
            LossWeight::Clipped(most) => paper.minimum(most)?,
        })
    }

    /// Returns the factor at the middle of each of `steps` equal intervals of time, for figures.
    ///
    /// # Errors
    /// candle's.
    pub fn weights_at(
        &self,
        schedule: &LearnedSchedule,
        steps: usize,
    ) -> Result<Vec<f64>, MethodError> {
        let times: Vec<f32> = (0..steps).map(|i| (i as f32 + 0.5) / steps as f32).collect();
        let times = Tensor::from_vec(times, steps, schedule.device())?;
        let weights = self.weights(&schedule.at(&times)?.snr_rate()?)?;
        Ok(weights.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
    }
}

/// Returns the network's schedule.
fn schedule(network: &dyn Denoiser) -> Result<&LearnedSchedule, MethodError> {
    network.schedule().ok_or(MethodError::NoSchedule)
}

/// Returns the schedule at one of its ends, where γ is a parameter.
fn constant(gamma: &Tensor) -> candle_core::Result<ScheduleAt> {
    Ok(ScheduleAt { gamma: gamma.clone(), rate: gamma.zeros_like()? })
}

impl Method for ContinuousTime {
    fn blocks(&self) -> usize {
        self.partition.blocks()
    }

    fn needs(&self) -> Needs {
        Needs::continuous_time(self.partition.blocks(), self.readout)
    }

    fn losses(&self) -> Losses<'_> {
        Losses::Blockwise(self)
    }

    fn partition(&self) -> Option<&Partition> {
        Some(&self.partition)
    }

    fn noise_levels(
        &self,
        network: &dyn Denoiser,
        levels: usize,
    ) -> Result<Option<NoiseLevels>, MethodError> {
        let learned = schedule(network)?;
        let weights = self.weights_at(learned, levels)?;
        let schedule = Schedule::from_alpha_bars(learned.alpha_bars(levels)?)?;
        Ok(Some(NoiseLevels { schedule, weights }))
    }

    fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
        Ok(softmax(&self.class_logits(network, z)?)?)
    }

    fn kl_to_prior(&self, network: &dyn Denoiser) -> Result<f64, MethodError> {
        let alpha_bars = schedule(network)?.alpha_bars(1)?;
        let alpha_bar = alpha_bars.first().copied().unwrap_or_default();
        mean_kl(alpha_bar, network.class_embeddings())
    }

    fn chain<'a>(
        &'a self,
        network: &'a dyn Denoiser,
        features: &'a dyn Fn(usize) -> Tensor,
        sampler: &Sampler,
    ) -> Result<Box<dyn Chain + 'a>, MethodError> {
        let Integration { solver, steps } = sampler.integration.unwrap_or(self.integration);
        let levels = schedule(network)?.alpha_bars(steps.get() as usize)?;
        let levels = Schedule::from_alpha_bars(levels)?;
        self.partition.check_blocks(network.blocks())?;
        self.partition.check_steps(steps.get())?;
        let features = (1..=self.blocks()).map(features).collect();
        Ok(Box::new(ContinuousChain {
            partition: &self.partition,
            network,
            features,
            solver,
            levels,
        }))
    }
}

/// The chain of [`ContinuousTime`]: the steps of the solver, each by the block that owns its time.
struct ContinuousChain<'a> {
    partition: &'a Partition,
    network: &'a dyn Denoiser,
    features: Vec<Tensor>,
    solver: Solver,
    /// The levels at the ends of the steps.
    levels: Schedule,
}

impl ContinuousChain<'_> {
    /// Returns the class probabilities of the block that owns `time`, [N, classes].
    fn probabilities(&self, z: &Tensor, time: f64) -> Result<Tensor, MethodError> {
        let block = self.partition.owner_of(time);
        let features = &self.features[block - 1];
        let time = &Tensor::full(time as f32, z.dim(0)?, z.device())?;
        let input = BlockInput { block, features, z, time, pass: Pass::Eval };
        Ok(softmax(&self.network.logits(input)?.detach())?)
    }
}

impl Chain for ContinuousChain<'_> {
    fn steps(&self) -> usize {
        self.levels.steps()
    }

    fn block(&self, step: usize) -> usize {
        self.partition.owner_of(self.times(step).0)
    }

    fn step(&self, t: usize, z: &Tensor, noise: Noise<'_>) -> Result<ChainStep, MethodError> {
        let embeddings = &self.network.class_embeddings().detach();
        let (time, next) = self.times(t);
        let guess = self.probabilities(z, time)?;
        let clean = guess.matmul(embeddings)?.detach();
        let (before, after) = (self.levels.alpha_bar(t - 1), self.levels.alpha_bar(t));
        let z = match self.solver {
            Solver::Posterior => {
                return posterior_step(z, guess, clean, self.levels.posterior(t), noise, t);
            }
            Solver::Ode(OdeSolver::Euler) => {
                // In x = z/√ᾱ and σ = √((1 − ᾱ)/ᾱ) the slope is (x − û)/σ, and a step ends here.
                let kept = ((1.0 - after) / (1.0 - before)).sqrt();
                let clean = (&clean * (after.sqrt() - kept * before.sqrt()))?;
                (clean + (z * kept)?)?
            }
            Solver::Ode(solver @ OdeSolver::Heun) => {
                // In x = z/√ᾱ and σ = √((1 − ᾱ)/ᾱ) the slope is (x − û)/σ.
                let sigma = |alpha_bar: f64| ((1.0 - alpha_bar) / alpha_bar).sqrt();
                let (from, to) = (sigma(before), sigma(after));
                let slope = |x: &Tensor, sigma: f64| -> Result<Tensor, MethodError> {
                    if sigma == from {
                        return Ok(((x - &clean)? / from)?);
                    }
                    let second = self.probabilities(&(x * after.sqrt())?, next)?;
                    Ok(((x - second.matmul(embeddings)?.detach())? / to)?)
                };
                let x = (z / before.sqrt())?;
                (solver.step(&x, from..to, &slope)?.z * after.sqrt())?
            }
        };
        Ok(ChainStep { z, guess: Some(guess), update: None })
    }
}

impl Blockwise for ContinuousTime {
    fn block_loss(
        &self,
        network: &dyn Denoiser,
        block: usize,
        features: &Tensor,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<BlockLoss, MethodError> {
        self.partition.check_blocks(network.blocks())?;
        let embeddings = network.class_embeddings();
        let clean = clean_embeddings(embeddings, targets.labels)?;
        let time = self.partition.times(draws, block, targets.labels)?;
        let at = schedule(network)?.at(&time)?;
        let noise = random::normal(draws.noise(block), clean.shape(), clean.device())?;
        let z = (scaled_rows(&clean, &at.alpha_bar()?.sqrt()?)?
            + scaled_rows(&noise, &at.noise_share()?.sqrt()?)?)?;
        let logits = network.logits(BlockInput {
            block,
            features,
            z: &z,
            time: &time,
            pass: Pass::Train(draws.dropout(Part::Block(block))),
        })?;
        let guess = softmax(&logits)?.matmul(embeddings)?;
        let errors = (guess - clean)?.sqr()?.sum(D::Minus1)?;
        let error = errors.mean_all()?.detach();
        let errors = match self.block_loss {
            BlockLossKind::Squared => errors,
            BlockLossKind::CrossEntropy => cross_entropies(&logits, targets.labels)?,
        };
        let loss = targets.weigh((self.weights(&at.snr_rate()?)? * errors)?)?.mean_all()?;
        Ok(BlockLoss { loss: (loss * self.partition.share(block))?, error })
    }

    fn readout_loss(&self) -> Option<&dyn ReadoutLoss> {
        Some(self)
    }
}

impl ReadoutLoss for ContinuousTime {
    /// Returns CE(readout(z_1), y) + KL(q(z_0|y) ‖ N(0, I)). These two terms train the two ends of the schedule.
    fn loss(
        &self,
        network: &dyn Denoiser,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Tensor, MethodError> {
        let clean = clean_embeddings(network.class_embeddings(), targets.labels)?;
        let (clean_end, noise_end) = schedule(network)?.ends();
        let (clean_end, noise_end) = (constant(clean_end)?, constant(noise_end)?);
        let noise = random::normal(draws.readout_noise(), clean.shape(), clean.device())?;
        let z = (clean.broadcast_mul(&clean_end.alpha_bar()?.sqrt()?)?
            + noise.broadcast_mul(&clean_end.noise_share()?.sqrt()?)?)?;
        let cross_entropy = mean_cross_entropy(&self.class_logits(network, &z)?, targets)?;
        let kl = kl_loss(&clean, targets, &noise_end.alpha_bar()?, &noise_end.noise_share()?)?;
        Ok((cross_entropy + kl)?)
    }
}

impl MethodKind {
    /// NoProp-CT: continuous time.
    pub const CT: Self = Self::new(&MethodFacts {
        name: "ct",
        title: "NoProp-CT",
        summary: "Continuous time: one block for all noise levels, and a noise schedule that is learned",
        time: Time::Continuous,
        settings: &[
            Setting::Eta,
            Setting::LossWeight,
            Setting::BlockLoss,
            Setting::Intervals,
            Setting::Readout,
        ],
        solvers: &[Solver::Posterior, Solver::EULER, Solver::HEUN],
        samplers: &[SamplerKind::Stochastic, SamplerKind::Mean],
        embedding_length: EmbeddingLength::One,
        defaults: DEFAULTS,
        build: |settings| {
            let integration = MethodKind::CT.integration(settings.solver, settings.steps)?;
            let whole = ContinuousTime::new(settings.eta, settings.loss_weight, integration)?;
            // The schedule at the beginning of training depends only on the seed, so the intervals do as well.
            let start = ParameterBuilder::seeded(settings.seed, &Device::Cpu);
            let divided = whole.divided(
                settings.intervals,
                &LearnedSchedule::new(&start).map_err(candle_core::Error::from)?,
            )?;
            let divided = divided.block_loss_kind(settings.block_loss);
            Ok(Box::new(divided.readout(settings.readout)))
        },
    });
}

/// The settings that differ from those of discrete time.
const DEFAULTS: &str = r#"steps = 50                  # of the chain that classifies; training has no steps
solver = "posterior"
eta = 1.0                   # the paper's
loss-weight = "clipped:5"   # the paper's weight, clipped: its largest values belong to nearly clean embeddings
encoder = "per-block"       # there is one block, so one encoder either way
dropout = 0.2               # the paper's
epochs = 10
lr = 0.001
"#;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::toy::Toy;
    use crate::{Route, walk};
    use crate::{Sampler, Seed};

    fn objective(solver: Solver, steps: u32, loss_weight: LossWeight) -> ContinuousTime {
        let integration = Integration { solver, steps: NonZeroU32::new(steps).unwrap() };
        ContinuousTime::new(1.0, loss_weight, integration).unwrap()
    }

    fn arrives(solver: Solver, steps: u32) -> Vec<Vec<f32>> {
        let objective = objective(solver, steps, LossWeight::Snr);
        let z = Tensor::new(&[[0.3f32, -1.2], [2.0, 0.1]], &Device::Cpu).unwrap();
        let sampler = Sampler::once(SamplerKind::Mean);
        let noise = Noise { sampler: &sampler, run: 0, rows: &[0, 1] };
        let (network, features) = (Toy::certain(1), |_| z.clone());
        let chain = objective.chain(&network, &features, &sampler).unwrap();
        let path = walk(&*chain, Route::Whole, z.clone(), noise, &mut |_| Ok(())).unwrap();
        path.z.to_vec2().unwrap()
    }

    /// With û constant the equation is linear. Any solver with any number of steps ends at
    /// √ᾱ_1 u + √((1 − ᾱ_1)/(1 − ᾱ_0)) (z − √ᾱ_0 u).
    #[test]
    fn solvers_end_where_the_closed_form_does() {
        let levels = Toy::certain(1).schedule.alpha_bars(1).unwrap();
        let (start, end) = (levels[0], levels[1]);
        let kept = ((1.0 - end) / (1.0 - start)).sqrt();
        let closed = |z: f64, u: f64| end.sqrt() * u + kept * (z - start.sqrt() * u);
        let expected =
            [[closed(0.3, 1.0), closed(-1.2, 0.0)], [closed(2.0, 1.0), closed(0.1, 0.0)]];
        for (solver, steps) in
            [(Solver::EULER, 1), (Solver::EULER, 7), (Solver::HEUN, 3), (Solver::HEUN, 20)]
        {
            for (row, expected) in arrives(solver, steps).iter().zip(&expected) {
                for (z, expected) in row.iter().zip(expected) {
                    let off = (f64::from(*z) - expected).abs();
                    assert!(off < 1e-4, "{solver} {steps}: {z} where {expected} is right");
                }
            }
        }
        // After many steps the posterior's mean does not depend on z_0, and it ends at the embedding as well.
        for row in arrives(Solver::Posterior, 200) {
            assert!((row[0] - 1.0).abs() < 0.02 && row[1].abs() < 0.1, "{row:?}");
        }
    }

    /// With equal logits the cross-entropy is ln 2, and the KL is known in closed form.
    #[test]
    fn the_readout_loss_is_cross_entropy_and_kl() {
        let oracle = Toy { readout: Box::new(Tensor::zeros_like), ..Toy::certain(1) };
        let objective = objective(Solver::EULER, 1, LossWeight::Snr);
        let labels = Tensor::new(&[0u32, 1, 1], &Device::Cpu).unwrap();
        let draws = Seed(1).at(0, 0);
        let loss = ReadoutLoss::loss(&objective, &oracle, (&labels).into(), draws).unwrap();
        let loss = f64::from(loss.to_scalar::<f32>().unwrap());
        let kl = objective.kl_to_prior(&oracle).unwrap();
        assert!((loss - 2f64.ln() - kl).abs() < 1e-5, "{loss} {kl}");
    }

    /// Weights are ½ η SNR', clipped or uniform as set, and never negative.
    #[test]
    fn weights_follow_the_schedule() {
        let schedule = Toy::certain(1).schedule;
        let weights =
            |weight| objective(Solver::EULER, 1, weight).weights_at(&schedule, 40).unwrap();
        let paper = weights(LossWeight::Snr);
        // The mean of SNR' over equal intervals is about SNR(1) − SNR(0).
        let levels = schedule.alpha_bars(1).unwrap();
        let snr = |alpha_bar: f64| alpha_bar / (1.0 - alpha_bar);
        let mean = paper.iter().sum::<f64>() / 40.0;
        let expected = 0.5 * (snr(levels[1]) - snr(levels[0]));
        assert!((mean / expected - 1.0).abs() < 0.01, "{mean} {expected}");
        for (clipped, paper) in weights(LossWeight::Clipped(5.0)).iter().zip(&paper) {
            assert!(*paper > 0.0 && (clipped - paper.min(5.0)).abs() < 1e-6);
        }
        // The default's clip is reached at three fifths of the times, as docs/method.md states.
        let clipped = paper.iter().filter(|&&weight| weight > 5.0).count();
        assert!((23..=25).contains(&clipped), "{clipped} of 40");
        assert!(weights(LossWeight::Uniform).iter().all(|weight| *weight == 1.0));
    }
}

//! NoProp-DT: T blocks with one noise level each (Eqs. 3, 5-8, Algorithm 1).

use candle_core::{Device, Tensor};
use noprop_kernels::{Backend, cross_entropy, denoise_loss, random};
use noprop_schedule::Schedule;

use crate::block_loss::mean_cross_entropy;
use crate::prior::{kl_loss, mean_kl};
use crate::readout::softmax;
use crate::sampler::posterior_step;
use crate::{
    BlockInput, BlockLoss, BlockLossKind, Blockwise, Chain, ChainStep, Denoiser, Draws,
    EmbeddingLength, LossWeight, Losses, Method, MethodError, MethodFacts, MethodKind, Needs,
    Noise, NoiseLevels, Part, Pass, Readout, ReadoutLoss, Sampler, SamplerKind, Setting,
    StackedBlocks, StackedLosses, Targets, Time, clean_embeddings, noised,
};

/// The discrete-time objective.
///
/// In training, block t gets z_{t-1} ~ q(z_{t-1} | y), and its loss is ½ η (SNR(t) − SNR(t−1)) ‖û_t(z_{t-1}, x) − u_y‖². At
/// inference it leads from z_{t-1} to z_t (Eq. 3). Eq. 8 has the factor T/2 under an expectation over t, so the factor in the
/// sum over the T blocks is 1/T of it. Training and inference read level and weight from one [`Schedule`], with the same t.
/// [`BlockLossKind`] can replace the squared distance by cross-entropy.
#[derive(Debug, Clone)]
pub struct DiscreteTime {
    schedule: Schedule,
    eta: f64,
    loss_weight: LossWeight,
    block_loss: BlockLossKind,
    readout: Readout,
}

impl DiscreteTime {
    /// Returns the objective. `eta` is η, the weight of the denoising term.
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] unless η is positive and an f32 holds it.
    pub fn new(schedule: Schedule, eta: f64, loss_weight: LossWeight) -> Result<Self, MethodError> {
        MethodError::positive("eta", eta)?;
        let (block_loss, readout) = (BlockLossKind::default(), Readout::default());
        Ok(Self { schedule, eta, loss_weight, block_loss, readout })
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

    /// Returns the schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Returns the factor of block `t`'s mean error in the sum over blocks, 1 ≤ t ≤ T. It is always positive.
    ///
    /// # Panics
    /// If `t` is not in 1..=T.
    pub fn weight(&self, t: usize) -> f64 {
        let steps = self.schedule.steps() as f64;
        // The factor under the expectation over t in Eq. 8.
        let factor = 0.5 * steps * self.eta * self.schedule.snr_gain(t);
        match self.loss_weight {
            LossWeight::Snr => factor / steps,
            LossWeight::Uniform => 1.0,
            LossWeight::Clipped(most) => factor.min(most) / steps,
        }
    }

    /// Returns the class logits [N, classes] of the last embedding z_T [N, d].
    fn class_logits(&self, network: &dyn Denoiser, z: &Tensor) -> candle_core::Result<Tensor> {
        self.readout.logits(network, z, || {
            let alpha_bar = self.schedule.alpha_bar(self.schedule.steps());
            let one = |value: f64| Tensor::new(&[value as f32], z.device());
            Ok((one(alpha_bar)?, one(1.0 - alpha_bar)?))
        })
    }

    /// Returns τ of level `t` for every row of `z`: the time that is passed to a block with a time input.
    fn time(&self, t: usize, z: &Tensor) -> candle_core::Result<Tensor> {
        Tensor::full((t as f64 / self.schedule.steps() as f64) as f32, z.dim(0)?, z.device())
    }

    /// Returns the mean error of every block, `[T]`, with the images' weights, for differentiation, and the mean ‖û − u_y‖²
    /// without them. `logits` is [T, N, classes].
    fn errors(
        &self,
        logits: &Tensor,
        embeddings: &Tensor,
        targets: Targets<'_>,
    ) -> Result<(Tensor, Tensor), MethodError> {
        let loss = match self.block_loss {
            BlockLossKind::Squared => denoise_loss(logits, embeddings, targets, Backend::Auto)?,
            BlockLossKind::CrossEntropy => cross_entropy(logits, targets, Backend::Auto)?,
        };
        let distance = match (self.block_loss, targets.weights) {
            (BlockLossKind::Squared, None) => loss.detach(),
            _ => {
                let (logits, embeddings) = (logits.detach(), embeddings.detach());
                denoise_loss(&logits, &embeddings, targets.labels, Backend::Auto)?
            }
        };
        Ok((loss, distance))
    }

    fn check(&self, network: &dyn Denoiser) -> Result<(), MethodError> {
        let (blocks, steps) = (network.blocks(), self.schedule.steps());
        if blocks == steps { Ok(()) } else { Err(MethodError::Blocks { blocks, steps }) }
    }
}

/// [`DiscreteTime`] for all blocks in one call. The constants of all steps are on the device before the first step.
struct Stacked<'a> {
    objective: &'a DiscreteTime,
    /// √ᾱ of each block's input, [T, 1, 1].
    signal: Tensor,
    /// √(1 − ᾱ), [T, 1, 1].
    noise: Tensor,
    /// The factors of the errors, `[T]`.
    weights: Tensor,
}

impl StackedLosses for Stacked<'_> {
    fn losses(
        &self,
        network: &dyn Denoiser,
        blocks: &dyn StackedBlocks,
        features: &Tensor,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<BlockLoss, MethodError> {
        self.objective.check(network)?;
        let embeddings = network.class_embeddings();
        let clean = clean_embeddings(embeddings, targets.labels)?;
        let steps = 1..=self.objective.schedule.steps();
        let noise: Vec<_> = steps.clone().map(|block| draws.noise(block)).collect();
        let dropout: Vec<_> = steps.map(|block| draws.dropout(Part::Block(block))).collect();
        let epsilon = random::normal_blocks(&noise, clean.shape(), clean.device())?;
        let z = clean
            .unsqueeze(0)?
            .broadcast_mul(&self.signal)?
            .broadcast_add(&epsilon.broadcast_mul(&self.noise)?)?;
        let logits = blocks.logits(features, &z, &dropout)?;
        let (loss, error) = self.objective.errors(&logits, embeddings, targets)?;
        Ok(BlockLoss { loss: (loss * &self.weights)?, error })
    }
}

impl Method for DiscreteTime {
    fn blocks(&self) -> usize {
        self.schedule.steps()
    }

    fn needs(&self) -> Needs {
        Needs::discrete_time(self.schedule.steps(), self.readout)
    }

    fn losses(&self) -> Losses<'_> {
        Losses::Blockwise(self)
    }

    fn noise_levels(&self, _: &dyn Denoiser, _: usize) -> Result<Option<NoiseLevels>, MethodError> {
        let weights = (1..=self.schedule.steps()).map(|t| self.weight(t)).collect();
        Ok(Some(NoiseLevels { schedule: self.schedule.clone(), weights }))
    }

    fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
        Ok(softmax(&self.class_logits(network, z)?)?)
    }

    fn kl_to_prior(&self, network: &dyn Denoiser) -> Result<f64, MethodError> {
        mean_kl(self.schedule.alpha_bar(0), network.class_embeddings())
    }

    fn chain<'a>(
        &'a self,
        network: &'a dyn Denoiser,
        features: &'a dyn Fn(usize) -> Tensor,
        _: &Sampler,
    ) -> Result<Box<dyn Chain + 'a>, MethodError> {
        self.check(network)?;
        Ok(Box::new(DiscreteChain { objective: self, network, features }))
    }
}

/// The chain of [`DiscreteTime`]: block t makes step t.
struct DiscreteChain<'a> {
    objective: &'a DiscreteTime,
    network: &'a dyn Denoiser,
    features: &'a dyn Fn(usize) -> Tensor,
}

impl Chain for DiscreteChain<'_> {
    fn steps(&self) -> usize {
        self.objective.blocks()
    }

    fn step(&self, t: usize, z: &Tensor, noise: Noise<'_>) -> Result<ChainStep, MethodError> {
        let logits = self.network.logits(BlockInput {
            block: t,
            features: &(self.features)(t),
            z,
            time: &self.objective.time(t - 1, z)?,
            pass: Pass::Eval,
        })?;
        // Detached from the block's graph, which would otherwise be kept although there is no backward pass.
        let guess = softmax(&logits.detach())?;
        let clean = guess.matmul(&self.network.class_embeddings().detach())?;
        posterior_step(z, guess, clean, self.objective.schedule.posterior(t), noise, t)
    }
}

impl Blockwise for DiscreteTime {
    fn block_loss(
        &self,
        network: &dyn Denoiser,
        block: usize,
        features: &Tensor,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<BlockLoss, MethodError> {
        self.check(network)?;
        let embeddings = network.class_embeddings();
        let clean = clean_embeddings(embeddings, targets.labels)?;
        let level = block - 1;
        let z = noised(&clean, self.schedule.alpha_bar(level), draws.noise(block))?;
        let logits = network.logits(BlockInput {
            block,
            features,
            z: &z,
            time: &self.time(level, &z)?,
            pass: Pass::Train(draws.dropout(Part::Block(block))),
        })?;
        let (loss, error) = self.errors(&logits.unsqueeze(0)?, embeddings, targets)?;
        Ok(BlockLoss { loss: (loss.squeeze(0)? * self.weight(block))?, error: error.squeeze(0)? })
    }

    fn readout_loss(&self) -> Option<&dyn ReadoutLoss> {
        Some(self)
    }

    fn stacked(&self, device: &Device) -> Result<Option<Box<dyn StackedLosses + '_>>, MethodError> {
        let blocks = self.schedule.steps();
        let column = |value: &dyn Fn(usize) -> f64| {
            let values: Vec<f32> = (1..=blocks).map(|block| value(block) as f32).collect();
            Tensor::from_vec(values, blocks, device)
        };
        let signal = column(&|block| self.schedule.alpha_bar(block - 1).sqrt())?;
        let noise = column(&|block| (1.0 - self.schedule.alpha_bar(block - 1)).sqrt())?;
        Ok(Some(Box::new(Stacked {
            objective: self,
            signal: signal.reshape((blocks, 1, 1))?,
            noise: noise.reshape((blocks, 1, 1))?,
            weights: column(&|block| self.weight(block))?,
        })))
    }
}

impl ReadoutLoss for DiscreteTime {
    /// Returns CE(readout(z_T), y), plus KL(q(z_0|y) ‖ N(0, I)) if it depends on trained parameters: if class embeddings are
    /// trained and ᾱ_0 > 0.
    fn loss(
        &self,
        network: &dyn Denoiser,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Tensor, MethodError> {
        self.check(network)?;
        let clean = clean_embeddings(network.class_embeddings(), targets.labels)?;
        let alpha_bar = self.schedule.alpha_bar(self.schedule.steps());
        let z = noised(&clean, alpha_bar, draws.readout_noise())?;
        let loss = mean_cross_entropy(&self.class_logits(network, &z)?, targets)?;
        let trained = network.parameters().trainable(&[Part::Embedding]).next().is_some();
        let alpha_bar_0 = self.schedule.alpha_bar(0);
        if !trained || alpha_bar_0 == 0.0 {
            return Ok(loss);
        }
        let one = |value: f64| Tensor::new(&[value as f32], clean.device());
        Ok((loss + kl_loss(&clean, targets, &one(alpha_bar_0)?, &one(1.0 - alpha_bar_0)?)?)?)
    }
}

impl MethodKind {
    /// NoProp-DT: discrete time.
    pub const DT: Self = Self::new(&MethodFacts {
        name: "dt",
        title: "NoProp-DT",
        summary: "Discrete time: T blocks, one noise level each",
        time: Time::Discrete,
        settings: &[
            Setting::Schedule,
            Setting::Eta,
            Setting::LossWeight,
            Setting::BlockLoss,
            Setting::Readout,
            Setting::Order,
        ],
        solvers: &[],
        samplers: &[SamplerKind::Stochastic, SamplerKind::Mean],
        embedding_length: EmbeddingLength::One,
        defaults: "",
        build: |settings| {
            let schedule = Schedule::new(settings.schedule, settings.steps)?;
            let method = DiscreteTime::new(schedule, settings.eta, settings.loss_weight)?;
            let method = method.block_loss_kind(settings.block_loss);
            Ok(Box::new(method.readout(settings.readout)))
        },
    });
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use noprop_schedule::ScheduleKind;

    use super::*;
    use crate::toy::Toy;
    use crate::{Init, ParameterBuilder, Sampler, Seed};
    use crate::{Route, walk};

    const STEPS: usize = 10;

    /// Eq. 8 is an expectation over t of (T/2) η ΔSNR(t) ‖·‖², so the factors in the sum over blocks add up to ½ η (SNR(T) −
    /// SNR(0)). With T/2 in each of them, the blocks would have T times too much weight relative to the one cross-entropy if
    /// embeddings are trained.
    #[test]
    fn factors_add_up_to_the_expectation() {
        for kind in ScheduleKind::ALL {
            for steps in [1, 3, 10, 40] {
                let schedule = Schedule::new(kind, steps).unwrap();
                let whole = 0.5 * 0.1 * (schedule.snr(steps) - schedule.snr(0));
                let snr = DiscreteTime::new(schedule.clone(), 0.1, LossWeight::Snr).unwrap();
                let sum: f64 = (1..=steps).map(|t| snr.weight(t)).sum();
                assert!((sum / whole - 1.0).abs() < 1e-9, "{kind}, {steps}: {sum} {whole}");
                // The clip applies to the factor under the expectation.
                let clipped = DiscreteTime::new(schedule, 0.1, LossWeight::Clipped(0.2)).unwrap();
                for t in 1..=steps {
                    let factor = (snr.weight(t) * steps as f64).min(0.2);
                    assert!((clipped.weight(t) * steps as f64 - factor).abs() < 1e-12);
                }
            }
        }
    }

    /// With a readout that gives the same logits for every embedding, the only gradient is that of KL(q(z_0|y) ‖ N(0, I)): ᾱ_0
    /// u_y for every image. If ᾱ_0 = 0, as with the cosine schedule, there is no gradient.
    #[test]
    fn the_kl_is_minimised_where_embeddings_are_trained() {
        let builder = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        let embeddings =
            builder.trainable(Part::Embedding, "weight", (2, 2), Init::FanIn(2)).unwrap();
        let network = Toy {
            embeddings,
            parameters: builder.finish().unwrap(),
            readout: Box::new(|z| z * 0.0),
            ..Toy::certain(STEPS)
        };
        let labels = Tensor::new(&[0u32, 1, 1, 1], &Device::Cpu).unwrap();
        let parameter = network.parameters.iter().next().unwrap();
        for kind in ScheduleKind::ALL {
            let schedule = Schedule::new(kind, STEPS).unwrap();
            let alpha_bar_0 = schedule.alpha_bar(0);
            let objective = DiscreteTime::new(schedule, 0.1, LossWeight::Snr).unwrap();
            let draws = Seed(1).at(0, 0);
            let loss = ReadoutLoss::loss(&objective, &network, (&labels).into(), draws).unwrap();
            let kl = objective.kl_to_prior(&network).unwrap();
            let pass = loss.backward().unwrap();
            // Without the KL the loss does not depend on the embeddings.
            let none = parameter.var.zeros_like().unwrap();
            let gradient = pass.get(&parameter.var).unwrap_or(&none).to_vec2::<f32>().unwrap();
            let rows = parameter.var.to_vec2::<f32>().unwrap();
            for ((gradient, row), share) in gradient.iter().zip(&rows).zip([0.25, 0.75]) {
                for (gradient, u) in gradient.iter().zip(row) {
                    let expected = share * alpha_bar_0 * f64::from(*u);
                    let off = (f64::from(*gradient) - expected).abs();
                    assert!(off < 1e-6, "{kind}: {gradient} {expected}");
                }
            }
            assert_eq!(kl > 1e-6, alpha_bar_0 > 0.0, "{kind}");
        }
    }

    /// û = u_y must reproduce q(z_T | y) in mean and variance over samples, from z_0 ~ q(z_0 | y).
    #[test]
    fn the_posterior_chain_reproduces_the_forward_process() {
        let rows: Vec<u32> = (0..20_000).collect();
        let oracle = Toy::certain(STEPS);
        for kind in ScheduleKind::ALL {
            // A schedule that stops half-way leaves a variance large enough to measure.
            let full = Schedule::new(kind, 2 * STEPS).unwrap();
            let levels = full.alpha_bars().get(..=STEPS).unwrap().to_vec();
            let schedule = Schedule::from_alpha_bars(levels).unwrap();
            let (start, end) = (schedule.alpha_bar(0), schedule.alpha_bar(STEPS));
            let objective = DiscreteTime::new(schedule, 0.1, LossWeight::Snr).unwrap();
            let sampler = Sampler::once(SamplerKind::Stochastic);
            let labels = Tensor::zeros(rows.len(), DType::U32, &Device::Cpu).unwrap();
            let clean = clean_embeddings(&oracle.embeddings, &labels).unwrap();
            let z = noised(&clean, start, sampler.seed.sampler_start(0)).unwrap();
            let noise = Noise { sampler: &sampler, run: 0, rows: &rows };
            let features = |_| clean.clone();
            let chain = objective.chain(&oracle, &features, &sampler).unwrap();
            let path = walk(&*chain, Route::Whole, z, noise, &mut |_| Ok(())).unwrap();
            let mean = path.z.mean(0).unwrap().to_vec1::<f32>().unwrap();
            let var = path.z.var(0).unwrap().to_vec1::<f32>().unwrap();
            let n = rows.len() as f64;
            for (column, u) in [1.0, 0.0].into_iter().enumerate() {
                // Five standard errors of a mean and of a variance.
                let (m, v) = (f64::from(mean[column]), f64::from(var[column]));
                let expected = 1.0 - end;
                assert!((m - end.sqrt() * u).abs() < 5.0 * (expected / n).sqrt(), "{kind}: {m}");
                assert!((v - expected).abs() < 5.0 * expected * (2.0 / n).sqrt(), "{kind}: {v}");
            }
        }
    }
}

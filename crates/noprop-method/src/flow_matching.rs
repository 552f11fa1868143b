//! NoProp-FM: one block that learns a velocity from noise to embedding (Eqs. 10-13, Algorithm 3).

use candle_core::{D, Tensor};
use noprop_kernels::random;

use crate::block_loss::mean_cross_entropy;
use crate::noising::scaled_rows;
use crate::readout::{nearness, softmax};
use crate::{
    BlockInput, BlockLoss, Blockwise, Chain, ChainStep, Denoiser, Draws, EmbeddingLength,
    Integration, LossWeight, Losses, Method, MethodError, MethodFacts, MethodKind, Needs, Noise,
    OdeSolver, Part, Partition, Pass, ReadoutLoss, Sampler, SamplerKind, Setting, Solver, Targets,
    Time, clean_embeddings, not_positive,
};

/// The flow-matching objective.
///
/// The path leads straight from noise z_0 ~ N(0, I) to the label's embedding: z_t ~ N(t u_y + (1 − t) z_0, σ² I) (Eq. 10). Its
/// velocity is u_y − z_0. The block predicts the velocity v(z_t, x, t) as its logits times W_embed, without a softmax in
/// between, and its loss is ‖v − (u_y − z_0)‖² (Eq. 11). If W_embed is trained, this loss does not keep the classes distinct,
/// so the anchor (Eq. 13) is added: the cross-entropy of a readout of the end that the velocity points to, z̃_1 = z_t + (1 − t)
/// v (Eq. 12). The predicted class is the one whose embedding is nearest to the end of the path. The paper gives no value of σ;
/// here it is 0 unless it is set.
///
/// The velocity points at an embedding û = z_t + (1 − t) v, and for σ = 0 ‖û − u_y‖² = (1 − t)² ‖v − (u_y − z_0)‖². So the paper's loss
/// is 1/(1 − t)² ‖û − u_y‖². Like the weights of the other methods, this weight rises with the signal-to-noise ratio, and
/// [`LossWeight`] keeps, clips or replaces it.
///
/// With several blocks, each draws its times in its own interval and its loss is multiplied by the interval's length, so the
/// sum over blocks is the expectation of a single block.
#[derive(Debug, Clone)]
pub struct FlowMatching {
    loss_weight: LossWeight,
    integration: Integration<OdeSolver>,
    partition: Partition,
    path_noise: f64,
}

impl FlowMatching {
    /// Returns the objective with one block for all times. `integration` classifies images unless a sampler has another.
    pub fn new(loss_weight: LossWeight, integration: Integration<OdeSolver>) -> Self {
        Self { loss_weight, integration, partition: Partition::whole(), path_noise: 0.0 }
    }

    /// Returns the objective with `intervals` blocks, each of which owns an interval of time. The intervals have equal loss
    /// mass ∫ w(t) dt, where w is the factor of ‖v − (u_y − z_0)‖². The paper's factor is 1, which gives intervals of equal
    /// length.
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] unless `intervals` is between 1 and 100, [`MethodError::FewSteps`] if the integration has
    /// too few steps for every interval to have one.
    pub fn divided(mut self, intervals: usize) -> Result<Self, MethodError> {
        self.partition = if self.loss_weight == LossWeight::Snr {
            Partition::equal_length(intervals)?
        } else {
            let middles = (0..CELLS).map(|cell| (cell as f64 + 0.5) / CELLS as f64);
            Partition::equal_mass(intervals, &middles.map(|t| self.weight(t)).collect::<Vec<_>>())?
        };
        self.partition.check_steps(self.integration.steps.get())?;
        Ok(self)
    }

    /// Sets σ, the standard deviation of z_t from the straight path (Eq. 10).
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] unless σ is 0 or a positive number.
    pub fn path_noise(mut self, sigma: f64) -> Result<Self, MethodError> {
        if sigma != 0.0 && not_positive(sigma).is_some() {
            let (name, expected) = ("path-noise", "0, or between 1.2e-38 and 3.4e38");
            return Err(MethodError::OutOfRange { name, expected, value: format!("{sigma:?}") });
        }
        self.path_noise = sigma;
        Ok(self)
    }

    /// Returns the interval of time that each block owns.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Returns the factor of ‖v − (u_y − z_0)‖² at time `t` in 0..=1. It is the weight that [`LossWeight`] derives from 1/(1 −
    /// t)², times (1 − t)², the ratio of the error of the embedding to the error of the velocity.
    pub fn weight(&self, t: f64) -> f64 {
        let left = (1.0 - t).powi(2);
        match self.loss_weight {
            LossWeight::Snr => 1.0,
            LossWeight::Uniform => left,
            LossWeight::Clipped(most) => (most * left).min(1.0),
        }
    }

    /// Returns [`Self::weight`] at each of `times`.
    fn weights(&self, times: &Tensor) -> Result<Tensor, MethodError> {
        let left = times.affine(-1.0, 1.0)?.sqr()?;
        Ok(match self.loss_weight {
            LossWeight::Snr => left.ones_like()?,
            LossWeight::Uniform => left,
            LossWeight::Clipped(most) => (left * most)?.minimum(1f32)?,
        })
    }

    /// Returns the errors `[N]` of images at `time` `[N]`, each multiplied by the weight of its time.
    fn weighted(&self, errors: Tensor, time: &Tensor) -> Result<Tensor, MethodError> {
        if self.loss_weight == LossWeight::Snr {
            return Ok(errors);
        }
        Ok((self.weights(time)? * errors)?)
    }
}

/// The number of cells of 0..=1 over which the mass of the loss weight is summed.
const CELLS: usize = 1000;

/// Returns probabilities ∝ exp(−‖z − u‖²), [N, classes]. The class with the nearest embedding has the highest probability.
fn nearest(z: &Tensor, embeddings: &Tensor) -> Result<Tensor, MethodError> {
    Ok(softmax(&(nearness(z, embeddings)? * 2.0)?)?)
}

impl Method for FlowMatching {
    fn blocks(&self) -> usize {
        self.partition.blocks()
    }

    fn needs(&self) -> Needs {
        Needs::flow_matching(self.partition.blocks())
    }

    fn losses(&self) -> Losses<'_> {
        Losses::Blockwise(self)
    }

    fn partition(&self) -> Option<&Partition> {
        Some(&self.partition)
    }

    fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
        nearest(z, network.class_embeddings())
    }

    fn chain<'a>(
        &'a self,
        network: &'a dyn Denoiser,
        features: &'a dyn Fn(usize) -> Tensor,
        sampler: &Sampler,
    ) -> Result<Box<dyn Chain + 'a>, MethodError> {
        let integration = sampler.ode(self.integration)?;
        self.partition.check_blocks(network.blocks())?;
        self.partition.check_steps(integration.steps.get())?;
        let features = (1..=self.blocks()).map(features).collect();
        Ok(Box::new(FlowChain { partition: &self.partition, network, features, integration }))
    }
}

/// The chain of [`FlowMatching`]: the steps of the solver, each by the block that owns its time.
struct FlowChain<'a> {
    partition: &'a Partition,
    network: &'a dyn Denoiser,
    features: Vec<Tensor>,
    integration: Integration<OdeSolver>,
}

impl Chain for FlowChain<'_> {
    fn steps(&self) -> usize {
        self.integration.steps.get() as usize
    }

    fn block(&self, step: usize) -> usize {
        self.partition.owner_of(self.times(step).0)
    }

    fn step(&self, step: usize, z: &Tensor, _: Noise<'_>) -> Result<ChainStep, MethodError> {
        let embeddings = &self.network.class_embeddings().detach();
        let velocity = |z: &Tensor, time: f64| -> Result<Tensor, MethodError> {
            let block = self.partition.owner_of(time);
            let time = &Tensor::full(time as f32, z.dim(0)?, z.device())?;
            let features = &self.features[block - 1];
            let input = BlockInput { block, features, z, time, pass: Pass::Eval };
            Ok(self.network.logits(input)?.detach().matmul(embeddings)?.detach())
        };
        let (time, next) = self.times(step);
        let made = self.integration.solver.step(z, time..next, &velocity)?;
        // The class whose embedding the slope leads to; in the last step that of the end of the path.
        let end = match step == self.steps() {
            true => made.z.clone(),
            false => (z + (made.first * (1.0 - time))?)?,
        };
        Ok(ChainStep { z: made.z, guess: Some(nearest(&end, embeddings)?), update: None })
    }
}

impl Blockwise for FlowMatching {
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
        let noise = random::normal(draws.noise(block), clean.shape(), clean.device())?;
        let mut z = (scaled_rows(&clean, &time)? + scaled_rows(&noise, &time.affine(-1.0, 1.0)?)?)?;
        if self.path_noise > 0.0 {
            let around = random::normal(draws.path_noise(block), clean.shape(), clean.device())?;
            z = (z + (around * self.path_noise)?)?;
        }
        let logits = network.logits(BlockInput {
            block,
            features,
            z: &z,
            time: &time,
            pass: Pass::Train(draws.dropout(Part::Block(block))),
        })?;
        let velocity = logits.matmul(embeddings)?;
        let errors = (&velocity - (clean - noise)?)?.sqr()?.sum(D::Minus1)?;
        let error = errors.detach().mean_all()?;
        let flow = targets.weigh(self.weighted(errors, &time)?)?.mean_all()?;
        let share = self.partition.share(block);
        if network.parameters().trainable(&[Part::Embedding]).next().is_none() {
            return Ok(BlockLoss { error, loss: (flow * share)? });
        }
        let end = (z + scaled_rows(&velocity, &time.affine(-1.0, 1.0)?)?)?;
        let anchor = mean_cross_entropy(&network.readout(&end)?, targets)?;
        Ok(BlockLoss { error, loss: ((flow + anchor)? * share)? })
    }

    /// Returns `None`: the anchor, which belongs to every block's loss, trains the readout.
    fn readout_loss(&self) -> Option<&dyn ReadoutLoss> {
        None
    }
}

impl MethodKind {
    /// NoProp-FM: flow matching.
    pub const FM: Self = Self::new(&MethodFacts {
        name: "fm",
        title: "NoProp-FM",
        summary: "Flow matching: one block that learns the way from noise to label",
        time: Time::Continuous,
        settings: &[Setting::LossWeight, Setting::Intervals, Setting::PathNoise],
        solvers: &[Solver::EULER, Solver::HEUN],
        samplers: &[SamplerKind::Stochastic],
        embedding_length: EmbeddingLength::TenthOfDimension,
        defaults: DEFAULTS,
        build: |settings| {
            let integration = MethodKind::FM.integration(settings.solver, settings.steps)?;
            let whole = FlowMatching::new(settings.loss_weight, integration.try_into()?);
            Ok(Box::new(whole.path_noise(settings.path_noise)?.divided(settings.intervals)?))
        },
    });
}

/// The settings that differ from those of discrete time.
const DEFAULTS: &str = r#"steps = 20                  # of the path that classifies; training has no steps
solver = "euler"
loss-weight = "clipped:5"   # the paper's weight, clipped: measured better (docs/results.md)
encoder = "per-block"       # there is one block, so one encoder either way
dropout = 0.2               # the paper's
epochs = 10
lr = 0.001
"#;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use candle_core::{DType, Device};

    use super::*;
    use crate::toy::Toy;
    use crate::{Route, walk};
    use crate::{Sampler, Seed};

    /// The velocity of the test network.
    enum Field {
        /// Straight to the embedding of class 1, with arrival at t = 1.
        ToClassOne,
        /// −z. The exact path is z_0 e^(−t).
        Decay,
    }

    /// Returns a network with this velocity and no readout: flow matching must not call it.
    fn oracle(field: Field) -> Toy {
        let network = Toy::new(1, 2, move |input| match field {
            Field::Decay => input.z.neg(),
            Field::ToClassOne => {
                let target = Tensor::new(&[[0f32, 1.]], &Device::Cpu)?;
                let left = input.time.affine(-1.0, 1.0)?.unsqueeze(1)?;
                target.broadcast_sub(input.z)?.broadcast_div(&left)
            }
        });
        Toy { readout: Box::new(|_| candle_core::bail!("the readout was called")), ..network }
    }

    fn end(field: Field, solver: OdeSolver, steps: u32) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let oracle = oracle(field);
        let integration = Integration { solver, steps: NonZeroU32::new(steps).unwrap() };
        let objective = FlowMatching::new(LossWeight::Snr, integration);
        let z = Tensor::new(&[[1f32, -2.], [0.5, 3.]], &Device::Cpu).unwrap();
        let sampler = Sampler::once(SamplerKind::Mean);
        let noise = Noise { sampler: &sampler, run: 0, rows: &[0, 1] };
        let features = |_| z.clone();
        let chain = objective.chain(&oracle, &features, &sampler).unwrap();
        let path = walk(&*chain, Route::Whole, z.clone(), noise, &mut |_| Ok(())).unwrap();
        let answer = objective.answer(&oracle, &path.z).unwrap();
        (path.z.to_vec2().unwrap(), answer.to_vec2().unwrap())
    }

    #[test]
    fn a_right_velocity_arrives_and_is_answered_with_its_class() {
        for steps in [1, 2, 50] {
            let (z, answer) = end(Field::ToClassOne, OdeSolver::Euler, steps);
            for (z, answer) in z.iter().zip(&answer) {
                assert!(z[0].abs() < 1e-5 && (z[1] - 1.0).abs() < 1e-5, "{steps}: {z:?}");
                assert!(answer[1] > answer[0]);
            }
        }
    }

    /// Euler's error is proportional to the length of a step, Heun's to its square.
    #[test]
    fn solvers_have_their_orders() {
        let exact = (-1f32).exp();
        let error = |solver, steps| (end(Field::Decay, solver, steps).0[0][0] - exact).abs();
        let ratio = error(OdeSolver::Euler, 10) / error(OdeSolver::Euler, 20);
        assert!((1.8..2.3).contains(&ratio), "Euler: {ratio}");
        let ratio = error(OdeSolver::Heun, 5) / error(OdeSolver::Heun, 10);
        assert!((3.5..4.8).contains(&ratio), "Heun: {ratio}");
    }

    /// Relative to the error of the embedding that the velocity points at, the paper's weight rises without bound, `uniform` is
    /// 1 at every time, and `clipped:C` is the paper's weight until it reaches C.
    #[test]
    fn weights_are_of_the_embeddings_error() {
        let integration = Integration { solver: OdeSolver::Euler, steps: NonZeroU32::MIN };
        let of_embedding = |weight: LossWeight, t: f64| {
            FlowMatching::new(weight, integration).weight(t) / (1.0 - t).powi(2)
        };
        for t in [0.0f64, 0.25, 0.5, 0.9] {
            let paper = 1.0 / (1.0 - t).powi(2);
            for (weight, wanted) in [
                (LossWeight::Snr, paper),
                (LossWeight::Uniform, 1.0),
                (LossWeight::Clipped(5.0), paper.min(5.0)),
            ] {
                let found = of_embedding(weight, t);
                assert!((found / wanted - 1.0).abs() < 1e-12, "{weight} at {t}: {found} {wanted}");
            }
        }
    }

    /// Eq. 10: z_t has mean t u_y + (1 − t) z_0 and deviation σ. Two losses with the same draws differ only in the noise around
    /// the path. With a network that returns −z, the error ‖−z − v‖² grows by d σ² on average.
    #[test]
    fn path_noise_has_its_deviation() {
        let oracle = oracle(Field::Decay);
        let integration = Integration { solver: OdeSolver::Euler, steps: NonZeroU32::MIN };
        let labels = Tensor::zeros(40_000, DType::U32, &Device::Cpu).unwrap();
        let error = |sigma: f64| {
            let objective = FlowMatching::new(LossWeight::Snr, integration);
            let objective = objective.path_noise(sigma).unwrap();
            let draws = Seed(1).at(0, 0);
            let loss = objective.block_loss(&oracle, 1, &labels, (&labels).into(), draws);
            f64::from(loss.unwrap().loss.to_scalar::<f32>().unwrap())
        };
        for sigma in [0.3, 1.0] {
            let grown = error(sigma) - error(0.0);
            assert!((grown / (2.0 * sigma * sigma) - 1.0).abs() < 0.05, "{sigma}: {grown}");
        }
        let objective = FlowMatching::new(LossWeight::Snr, integration);
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(objective.clone().path_noise(wrong).is_err());
        }
    }

    /// Training uses the same weights as figures and intervals.
    #[test]
    fn weights_of_a_batch_are_the_weight_at_its_times() {
        let integration = Integration { solver: OdeSolver::Euler, steps: NonZeroU32::MIN };
        let times = [0f32, 0.25, 0.5, 0.9];
        for weight in [LossWeight::Snr, LossWeight::Uniform, LossWeight::Clipped(5.0)] {
            let objective = FlowMatching::new(weight, integration);
            let found = objective.weights(&Tensor::new(&times, &Device::Cpu).unwrap()).unwrap();
            for (found, t) in found.to_vec1::<f32>().unwrap().into_iter().zip(times) {
                let wanted = objective.weight(f64::from(t));
                assert!((f64::from(found) - wanted).abs() < 1e-6, "{weight} at {t}: {found}");
            }
        }
    }

    /// ∫ (1 − t)² dt over [0, b] is half of the integral over [0, 1] at b = 1 − 2^(−1/3).
    #[test]
    fn intervals_have_equal_mass_of_the_weight() {
        let integration =
            Integration { solver: OdeSolver::Euler, steps: NonZeroU32::new(10).unwrap() };
        let bound = |weight: LossWeight| {
            let divided = FlowMatching::new(weight, integration).divided(2).unwrap();
            divided.partition().interval(1).end
        };
        assert!((bound(LossWeight::Snr) - 0.5).abs() < 1e-12);
        assert!((bound(LossWeight::Uniform) - (1.0 - 0.5f64.cbrt())).abs() < 1e-3);
    }

    #[test]
    fn the_posterior_is_not_for_flows() {
        let posterior = Integration { solver: Solver::Posterior, steps: NonZeroU32::MIN };
        let refused = Integration::<OdeSolver>::try_from(posterior);
        assert!(matches!(refused, Err(MethodError::Solver)));
    }
}

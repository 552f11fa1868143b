//! The neural-ODE baseline: one block for all times, trained end to end by the adjoint method (Chen et al. 2018).

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use noprop_kernels::{backward, random};

use crate::block_loss::mean_cross_entropy;
use crate::{
    BlockInput, Chain, ChainStep, Denoiser, Differentiated, Draws, EmbeddingLength, EndToEnd,
    Integration, Losses, Method, MethodError, MethodFacts, MethodKind, Needs, Noise, OdeSolver,
    ParameterKind, Part, Partition, Pass, Sampler, SamplerKind, Solver, Targets, Time,
};

/// The adjoint objective.
///
/// The equation is dz/dt = f(z, x, t) from z(0) ~ N(0, I) to z(1), where f is the block's logits times W_embed, without a
/// softmax in between. Flow matching uses the same equation, so the two methods differ only in their training. The loss is the
/// cross-entropy of the readout of z(1).
///
/// The trajectory is not kept. The system
/// dz/dt = f, da/dt = −aᵀ ∂f/∂z, dg/dt = −aᵀ ∂f/∂θ, dh/dt = −aᵀ ∂f/∂x
/// is integrated backward from t = 1, with a(1) = dL/dz(1), to t = 0, with the solver and the steps of the forward integration.
/// g(0) is the gradient of the block's parameters and of W_embed. h(0) is the gradient of the image features, and goes through
/// the image branch once. A backward step needs only the graphs of its own evaluations of f, one for Euler and two for Heun, so
/// memory does not grow with the number of steps.
///
/// The gradient differs from that through the unrolled solver, because z and a of the backward integration are not those of the
/// forward one. The difference is O(1/steps) for Euler. For Heun it is O(1/steps³), one order better than the solver, because
/// the leading errors of a forward and a backward step, ± c/steps³, cancel if the order is even.
#[derive(Debug, Clone)]
pub struct Adjoint {
    integration: Integration<OdeSolver>,
    /// The partition into one interval, for the only block.
    partition: Partition,
}

impl Adjoint {
    /// Returns the objective. `integration` leads from t = 0 to t = 1 in training, and in classification unless a sampler has
    /// another.
    pub fn new(integration: Integration<OdeSolver>) -> Self {
        Self { integration, partition: Partition::whole() }
    }
}

/// Returns f(z, x, t), [N, d].
fn velocity(
    network: &dyn Denoiser,
    features: &Tensor,
    z: &Tensor,
    time: f64,
    pass: Pass,
) -> Result<Tensor, MethodError> {
    let time = &Tensor::full(time as f32, z.dim(0)?, z.device())?;
    let logits = network.logits(BlockInput { block: 1, features, z, time, pass })?;
    Ok(logits.matmul(network.class_embeddings())?)
}

/// The backward integration of a batch.
struct Backward<'a> {
    network: &'a dyn Denoiser,
    /// The features, detached from the graph of the image branch.
    features: Var,
    pass: Pass,
    /// g: the gradients of parameters so far.
    gradients: GradStore,
    /// h: the gradient of the features so far, [N, …]; `None` before the first evaluation.
    at_features: Option<Tensor>,
}

impl Backward<'_> {
    /// Returns f at `z` and `time`, and `share` · aᵀ ∂f/∂z. Adds `share` · aᵀ ∂f/∂θ and `share` · aᵀ ∂f/∂x to the gradients so
    /// far.
    fn evaluate(
        &mut self,
        z: &Tensor,
        adjoint: &Tensor,
        time: f64,
        share: f64,
    ) -> Result<(Tensor, Tensor), MethodError> {
        let z = Var::from_tensor(z)?;
        let velocity = velocity(self.network, &self.features, &z, time, self.pass)?;
        // The gradient of Σ f·a with a held constant is aᵀ ∂f. The tensors that candle returns may hold on to their graph, so
        // every tensor that outlives this evaluation is detached.
        let pass = backward(&(&velocity * (adjoint * share)?)?.sum_all()?)?;
        add(self.network, &mut self.gradients, &pass)?;
        if let Some(more) = pass.get(&self.features) {
            self.at_features = Some(sum(self.at_features.as_ref(), more)?);
        }
        Ok((velocity.detach(), found(&pass, &z)?))
    }

    /// Makes one step from (z, a) at `time` to the earlier time `before`.
    fn step(
        &mut self,
        solver: OdeSolver,
        z: &Tensor,
        adjoint: &Tensor,
        (time, before): (f64, f64),
    ) -> Result<(Tensor, Tensor), MethodError> {
        let length = time - before;
        match solver {
            OdeSolver::Euler => {
                let (slope, back) = self.evaluate(z, adjoint, time, length)?;
                Ok(((z - (slope * length)?)?, (adjoint + back)?))
            }
            OdeSolver::Heun => {
                let (slope, back) = self.evaluate(z, adjoint, time, 0.5 * length)?;
                let there = ((z - (&slope * length)?)?, (adjoint + (&back * 2.0)?)?);
                let (second, more) = self.evaluate(&there.0, &there.1, before, 0.5 * length)?;
                let slope = (slope + second)?;
                Ok(((z - (slope * (0.5 * length))?)?, ((adjoint + back)? + more)?))
            }
        }
    }
}

/// Returns the gradient of `variable`, detached from its graph; zeros if nothing depends on the variable.
fn found(pass: &GradStore, variable: &Var) -> candle_core::Result<Tensor> {
    pass.get(variable).map_or_else(|| variable.zeros_like(), |gradient| Ok(gradient.detach()))
}

/// Returns the sum of `there` and `more`, detached from its graph. A missing `there` counts as 0.
fn sum(there: Option<&Tensor>, more: &Tensor) -> candle_core::Result<Tensor> {
    match there {
        Some(there) => Ok((there + more.detach())?.detach()),
        None => Ok(more.detach()),
    }
}

/// Adds the gradients of parameters in `pass` to `sums`.
fn add(network: &dyn Denoiser, sums: &mut GradStore, pass: &GradStore) -> Result<(), MethodError> {
    for parameter in network.parameters().iter() {
        if parameter.kind == ParameterKind::Trainable
            && let Some(more) = pass.get(&parameter.var)
        {
            let sum = sum(sums.get(&parameter.var), more)?;
            sums.insert(&parameter.var, sum);
        }
    }
    Ok(())
}

impl Method for Adjoint {
    fn blocks(&self) -> usize {
        1
    }

    fn needs(&self) -> Needs {
        Needs::adjoint()
    }

    fn losses(&self) -> Losses<'_> {
        Losses::EndToEnd(self)
    }

    /// The partition into one interval. The block's own output is not a classification: the loss does not relate its logits to
    /// classes.
    fn partition(&self) -> Option<&Partition> {
        Some(&self.partition)
    }

    fn chain<'a>(
        &'a self,
        network: &'a dyn Denoiser,
        features: &'a dyn Fn(usize) -> Tensor,
        sampler: &Sampler,
    ) -> Result<Box<dyn Chain + 'a>, MethodError> {
        let integration = sampler.ode(self.integration)?;
        Ok(Box::new(OdeChain { network, features: features(1), integration }))
    }
}

/// The chain of [`Adjoint`]: the steps of the solver, all by one block.
struct OdeChain<'a> {
    network: &'a dyn Denoiser,
    features: Tensor,
    integration: Integration<OdeSolver>,
}

impl Chain for OdeChain<'_> {
    fn steps(&self) -> usize {
        self.integration.steps.get() as usize
    }

    fn block(&self, _: usize) -> usize {
        1
    }

    fn step(&self, step: usize, z: &Tensor, _: Noise<'_>) -> Result<ChainStep, MethodError> {
        let (time, next) = self.times(step);
        let slope = |z: &Tensor, time: f64| -> Result<Tensor, MethodError> {
            Ok(velocity(self.network, &self.features, z, time, Pass::Eval)?.detach())
        };
        let z = self.integration.solver.step(z, time..next, &slope)?.z;
        Ok(ChainStep { z, guess: None, update: None })
    }
}

impl EndToEnd for Adjoint {
    fn end_to_end(
        &self,
        network: &dyn Denoiser,
        features: &dyn Fn(usize) -> Result<Tensor, MethodError>,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Differentiated, MethodError> {
        let Integration { solver, .. } = self.integration;
        let width = network.class_embeddings().dim(1)?;
        let pass = Pass::Train(draws.dropout(Part::Block(1)));
        let encoded = features(1)?;
        let features = Var::from_tensor(&encoded.detach())?;
        let slope = |z: &Tensor, time: f64| -> Result<Tensor, MethodError> {
            Ok(velocity(network, &features, z, time, pass)?.detach())
        };
        let rows = targets.labels.dim(0)?;
        let mut z = random::normal(draws.noise(1), (rows, width), targets.labels.device())?;
        for (time, next) in self.integration.intervals() {
            z = solver.step(&z, time..next, &slope)?.z;
        }

        let end = Var::from_tensor(&z)?;
        let loss = mean_cross_entropy(&network.readout(&end)?, targets)?;
        let gradients = backward(&loss)?;
        let mut adjoint = found(&gradients, &end)?;

        let mut way = Backward { network, features, pass, gradients, at_features: None };
        for (before, time) in self.integration.intervals().rev() {
            (z, adjoint) = way.step(solver, &z, &adjoint, (time, before))?;
        }
        if let Some(gradient) = &way.at_features {
            let pass = backward(&(encoded * gradient)?.sum_all()?)?;
            add(network, &mut way.gradients, &pass)?;
        }
        Ok(Differentiated { loss: loss.detach(), gradients: way.gradients })
    }
}

impl MethodKind {
    /// The baseline in continuous time.
    pub const ADJOINT: Self = Self::new(&MethodFacts {
        name: "adjoint",
        title: "neural ODE, adjoint method",
        summary: "A neural ODE: the way of fm, trained end to end by the adjoint method, for comparison",
        time: Time::Continuous,
        settings: &[],
        solvers: &[Solver::EULER, Solver::HEUN],
        samplers: &[SamplerKind::Stochastic],
        embedding_length: EmbeddingLength::One,
        defaults: DEFAULTS,
        build: |settings| {
            let integration = MethodKind::ADJOINT.integration(settings.solver, settings.steps)?;
            Ok(Box::new(Adjoint::new(integration.try_into()?)))
        },
    });
}

/// The settings that differ from those of discrete time.
const DEFAULTS: &str = r#"steps = 10                  # of the forward integration, and of the backward one in training
solver = "heun"             # 0.3 % from the gradient through the unrolled solver; 20 euler steps, at the same cost, 2.3 %
loss-weight = "uniform"     # there is one loss, at the end
encoder = "per-block"       # there is one block, so one encoder either way
dropout = 0.2               # the paper's
epochs = 10
lr = 0.001
readout-lr-scale = 1.0      # there is one loss, and one learning rate
"#;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use candle_core::Device;

    use super::*;
    use crate::toy::Toy;
    use crate::{
        EncoderKind, Init, ParameterBuilder, Sampler, SamplerKind, Seed, Solver, classify,
    };

    const CLASSES: usize = 3;
    const WIDTH: usize = 4;
    const ROWS: usize = 5;

    /// Returns a small smooth network: features tanh(x A), logits tanh(z B + features + t c) D, trained embeddings.
    fn smooth() -> Toy {
        let builder = ParameterBuilder::seeded(Seed(5), &Device::Cpu);
        let make = |part, name, shape: (usize, usize)| {
            builder.trainable(part, name, shape, Init::FanIn(2)).unwrap()
        };
        let image = make(Part::Encoder, "image", (2, 8));
        let label = make(Part::Block(1), "label", (WIDTH, 8));
        let time = make(Part::Block(1), "time", (1, 8));
        let logits = make(Part::Block(1), "logits", (8, CLASSES));
        let readout = make(Part::Readout, "weight", (WIDTH, CLASSES));
        Toy {
            encoder: EncoderKind::Shared,
            embeddings: make(Part::Embedding, "weight", (CLASSES, WIDTH)),
            parameters: builder.finish().unwrap(),
            encode: Box::new(move |images| images.matmul(&image)?.tanh()),
            readout: Box::new(move |z| z.matmul(&readout)),
            ..Toy::new(1, CLASSES, move |input| {
                let time = input.time.unsqueeze(1)?.matmul(&time)?;
                ((input.z.matmul(&label)? + input.features)? + time)?.tanh()?.matmul(&logits)
            })
        }
    }

    fn images() -> (Tensor, Tensor) {
        let images: Vec<f32> = (0..2 * ROWS).map(|i| (i as f32 * 0.7).sin()).collect();
        let labels: Vec<u32> = (0..ROWS).map(|i| (i % CLASSES) as u32).collect();
        let images = Tensor::from_vec(images, (ROWS, 2), &Device::Cpu).unwrap();
        (images, Tensor::new(labels, &Device::Cpu).unwrap())
    }

    fn integration(solver: OdeSolver, steps: u32) -> Integration<OdeSolver> {
        Integration { solver, steps: NonZeroU32::new(steps).unwrap() }
    }

    /// Returns the loss, and the values of all gradients in one list.
    fn flat(network: &Toy, loss: &Tensor, gradients: &GradStore) -> (f32, Vec<f64>) {
        let gradients = network
            .parameters
            .iter()
            .flat_map(|parameter| {
                let gradient = gradients.get(&parameter.var).unwrap();
                gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            })
            .map(f64::from)
            .collect();
        (loss.to_scalar().unwrap(), gradients)
    }

    fn by_adjoint(network: &Toy, integration: Integration<OdeSolver>) -> (f32, Vec<f64>) {
        let (images, labels) = images();
        let draws = Seed(2).at(0, 0);
        let features = |_| Ok(network.encode(Part::Encoder, &images, Pass::Eval)?);
        let objective = Adjoint::new(integration);
        let done = objective.end_to_end(network, &features, (&labels).into(), draws).unwrap();
        flat(network, &done.loss, &done.gradients)
    }

    /// Returns the loss and the gradient through every step of the solver, with the graphs of all steps kept.
    fn unrolled(network: &Toy, integration: Integration<OdeSolver>) -> (f32, Vec<f64>) {
        let (images, labels) = images();
        let draws = Seed(2).at(0, 0);
        let features = network.encode(Part::Encoder, &images, Pass::Eval).unwrap();
        let slope = |z: &Tensor, time: f64| velocity(network, &features, z, time, Pass::Eval);
        let mut z = random::normal(draws.noise(1), (ROWS, WIDTH), &Device::Cpu).unwrap();
        for (time, next) in integration.intervals() {
            z = integration.solver.step(&z, time..next, &slope).unwrap().z;
        }
        let loss = mean_cross_entropy(&network.readout(&z).unwrap(), (&labels).into()).unwrap();
        let gradients = loss.backward().unwrap();
        flat(network, &loss, &gradients)
    }

    /// Returns ‖adjoint − unrolled‖ / ‖unrolled‖ over all parameters: encoder, block, readout and embeddings.
    fn off(solver: OdeSolver, steps: u32) -> f64 {
        let (network, integration) = (smooth(), integration(solver, steps));
        let (adjoint, unrolled) =
            (by_adjoint(&network, integration), unrolled(&network, integration));
        assert_eq!(adjoint.0, unrolled.0, "the forward integration is the same");
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let difference = norm(&mut adjoint.1.iter().zip(&unrolled.1).map(|(a, b)| a - b));
        difference / norm(&mut unrolled.1.iter().copied())
    }

    /// With enough steps the two gradients agree. Twice the number of steps reduces the difference to a half for Euler and to
    /// an eighth for Heun, as expected.
    #[test]
    fn the_adjoint_gradient_is_the_unrolled_one_up_to_the_solvers_error() {
        for steps in [20, 40, 80] {
            let ratio = off(OdeSolver::Euler, steps) / off(OdeSolver::Euler, 2 * steps);
            assert!((1.8..2.2).contains(&ratio), "Euler, {steps} steps: {ratio}");
        }
        for steps in [3, 4, 5] {
            let ratio = off(OdeSolver::Heun, steps) / off(OdeSolver::Heun, 2 * steps);
            assert!((6.0..11.0).contains(&ratio), "Heun, {steps} steps: {ratio}");
        }
        assert!(off(OdeSolver::Euler, 640) < 2e-3, "Euler: {}", off(OdeSolver::Euler, 640));
        assert!(off(OdeSolver::Heun, 20) < 1e-5, "Heun: {}", off(OdeSolver::Heun, 20));
    }

    /// The posterior does not solve a differential equation. A sampler with it must be refused, and not be given another
    /// solver.
    #[test]
    fn the_posterior_is_not_for_slopes() {
        let posterior = Integration { solver: Solver::Posterior, steps: NonZeroU32::MIN };
        let sampler = Sampler { integration: Some(posterior), ..Sampler::once(SamplerKind::Mean) };
        let (network, (images, _)) = (smooth(), images());
        let refused = classify(
            &network,
            &Adjoint::new(integration(OdeSolver::Euler, 2)),
            &images,
            &[0; ROWS],
            &sampler,
        );
        assert!(matches!(refused, Err(MethodError::Solver)));
    }
}

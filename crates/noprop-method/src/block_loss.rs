//! The loss function of a block.

use candle_core::{D, Result, Tensor};
use noprop_kernels::{Backend, Targets, cross_entropy};
use serde::{Deserialize, Serialize};

use crate::names::names;

/// The loss function of a block: an error of its guess. Training minimises the mean error over the batch, times the block's
/// weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockLossKind {
    /// ‖û − u_y‖², the squared distance between the guess and the clean embedding, as in the paper.
    #[default]
    Squared,
    /// −log softmax(logits)_y, the cross-entropy of the block's class probabilities. It is not from the paper.
    CrossEntropy,
}

names!(BlockLossKind, "block loss", Squared = "squared", CrossEntropy = "cross-entropy");

/// Returns −log softmax(logits)_y of every image, `[N]`. `logits` is [N, classes], `labels` is `[N]`. Gradients flow to `logits`.
pub(crate) fn cross_entropies(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let own = shifted.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?;
    shifted.exp()?.sum(D::Minus1)?.log()? - own
}

/// Returns the mean of −log softmax(logits)_y over the images, a scalar, with the images' weights. `logits` is [N, classes].
pub(crate) fn mean_cross_entropy(logits: &Tensor, targets: Targets<'_>) -> Result<Tensor> {
    cross_entropy(&logits.unsqueeze(0)?, targets, Backend::Auto)?.squeeze(0)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use candle_core::{Device, Var};
    use noprop_schedule::{Schedule, ScheduleKind};

    use super::*;
    use crate::toy::Toy;
    use crate::{
        Blockwise, ContinuousTime, DiscreteTime, Init, Integration, LossWeight, ParameterBuilder,
        Part, Seed, Solver,
    };

    const CROSS_ENTROPY: BlockLossKind = BlockLossKind::CrossEntropy;

    fn labels() -> Tensor {
        Tensor::new(&[2u32, 0, 1, 1], &Device::Cpu).unwrap()
    }

    fn value(scalar: &Tensor) -> f32 {
        scalar.to_scalar().unwrap()
    }

    /// Returns a network of three classes whose logits are z @ `weight` [3, 3].
    fn linear(blocks: usize, weight: &Tensor) -> Toy {
        let weight = weight.clone();
        Toy::new(blocks, 3, move |input| input.z.matmul(&weight))
    }

    fn weight() -> Var {
        let builder = ParameterBuilder::seeded(Seed(5), &Device::Cpu);
        builder.trainable(Part::Block(1), "weight", (3, 3), Init::FanIn(1)).unwrap();
        builder.finish().unwrap().iter().next().unwrap().var.clone()
    }

    /// Compares the gradient of `loss` in `var` with central differences.
    fn gradient_is_right(name: &str, var: &Var, loss: &dyn Fn() -> Tensor) {
        let pass = loss().backward().unwrap();
        let gradient = pass.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let start = var.as_detached_tensor().copy().unwrap();
        let values = start.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (place, gradient) in gradient.into_iter().enumerate() {
            let moved = |by: f32| {
                let mut values = values.clone();
                values[place] += by;
                let moved = Tensor::from_vec(values, start.shape(), &Device::Cpu).unwrap();
                var.set(&moved).unwrap();
                value(&loss())
            };
            let difference = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            let off = (gradient - difference).abs() / difference.abs().max(1.0);
            assert!(off < 2e-3, "{name} {place}: {gradient} {difference}");
            assert!(gradient.abs() > 1e-4, "{name} {place}: {gradient}");
        }
        var.set(&start).unwrap();
    }

    /// The cross-entropy of single images must be the kernel's, whose gradient is tested there, also for logits whose exponentials
    /// are infinite.
    #[test]
    fn the_mean_over_images_is_the_kernels_cross_entropy() {
        let logits = Tensor::new(
            &[[1f32, -2.0, 0.5], [300.0, -300.0, 0.0], [0.0, 0.0, 0.0], [-5.0, 2.0, 1.0]],
            &Device::Cpu,
        )
        .unwrap();
        let ours = value(&cross_entropies(&logits, &labels()).unwrap().mean_all().unwrap());
        let logits = logits.unsqueeze(0).unwrap();
        let kernel = cross_entropy(&logits, &labels(), Backend::Auto).unwrap();
        let kernel = value(&kernel.squeeze(0).unwrap());
        assert!((ours - kernel).abs() < 1e-6, "{ours} {kernel}");
    }

    /// In discrete time the loss is the block's weight times the cross-entropy, and so is its gradient; the error stays the squared
    /// distance, so that trainings with either loss can be compared.
    #[test]
    fn discrete_time_weighs_cross_entropy_as_it_weighs_the_distance() {
        let schedule = Schedule::new(ScheduleKind::Cosine, 4).unwrap();
        let method = |kind| {
            let method = DiscreteTime::new(schedule.clone(), 0.7, LossWeight::Snr).unwrap();
            method.block_loss_kind(kind)
        };
        let var = weight();
        let network = linear(4, &var);
        let loss = |kind: BlockLossKind, targets: Targets<'_>| {
            method(kind).block_loss(&network, 3, &labels(), targets, Seed(1).at(0, 0)).unwrap()
        };
        let labels = &labels();
        gradient_is_right("weight", &var, &|| loss(CROSS_ENTROPY, labels.into()).loss);
        let found = loss(CROSS_ENTROPY, labels.into());
        let squared = loss(BlockLossKind::Squared, labels.into());
        assert_eq!(value(&found.error), value(&squared.error));
        let clean = crate::clean_embeddings(&network.embeddings, labels).unwrap();
        let noise = Seed(1).at(0, 0).noise(3);
        let z = crate::noised(&clean, schedule.alpha_bar(2), noise).unwrap();
        let exact = cross_entropies(&z.matmul(&var).unwrap(), labels).unwrap();
        let exact = value(&exact.mean_all().unwrap()) * method(CROSS_ENTROPY).weight(3) as f32;
        assert!((value(&found.loss) / exact - 1.0).abs() < 1e-5, "{} {exact}", value(&found.loss));
        // The weights of images belong to the loss alone.
        let twice = Tensor::new(&[2f32; 4], &Device::Cpu).unwrap();
        let weighed = loss(CROSS_ENTROPY, Targets { labels, weights: Some(&twice) });
        assert!((value(&weighed.loss) / exact - 2.0).abs() < 1e-5);
        assert_eq!(value(&weighed.error), value(&found.error));
    }

    /// In continuous time the gradient also reaches the noise schedule, through the weight and through z_t.
    #[test]
    fn the_gradient_of_continuous_time_reaches_network_and_schedule() {
        let integration =
            Integration { solver: Solver::Posterior, steps: NonZeroU32::new(4).unwrap() };
        let method = ContinuousTime::new(1.0, LossWeight::Snr, integration).unwrap();
        let method = method.block_loss_kind(CROSS_ENTROPY);
        let var = weight();
        let network = linear(1, &var);
        let labels = &labels();
        // Scaled down, because the weights near the clean end are in the thousands.
        let loss = || {
            let loss = method.block_loss(&network, 1, labels, labels.into(), Seed(1).at(0, 0));
            loss.unwrap().loss.affine(1e-2, 0.0).unwrap()
        };
        gradient_is_right("weight", &var, &loss);
        for parameter in network.parameters.iter() {
            if parameter.name.ends_with("_end") {
                gradient_is_right(&parameter.name, &parameter.var, &loss);
            }
        }
    }
}

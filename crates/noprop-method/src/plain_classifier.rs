//! The plain baseline: the image branch and a linear layer, trained by cross-entropy.

use candle_core::Tensor;
use noprop_kernels::backward;

use crate::block_loss::mean_cross_entropy;
use crate::{
    Chain, ChainStep, Denoiser, Differentiated, Draws, EmbeddingLength, EndToEnd, Losses, Method,
    MethodError, MethodFacts, MethodKind, Needs, Noise, Sampler, SamplerKind, Targets, Time,
};

/// A classifier without a chain: softmax(readout(features of the image)), trained end to end by cross-entropy.
///
/// It has no label branch, no class embeddings and no noise. Its one block is the image branch. A comparison of another method
/// with it on the same network shows what the chain adds.
#[derive(Debug, Clone, Copy)]
pub struct PlainClassifier;

impl Method for PlainClassifier {
    fn blocks(&self) -> usize {
        1
    }

    fn needs(&self) -> Needs {
        Needs::plain_classifier()
    }

    fn losses(&self) -> Losses<'_> {
        Losses::EndToEnd(self)
    }

    fn chain<'a>(
        &'a self,
        network: &'a dyn Denoiser,
        features: &'a dyn Fn(usize) -> Tensor,
        _: &Sampler,
    ) -> Result<Box<dyn Chain + 'a>, MethodError> {
        check(network)?;
        Ok(Box::new(NoSteps { features: features(1) }))
    }
}

/// A chain without steps. It ends where it starts, at the features of the images [N, F], which the readout reads.
struct NoSteps {
    features: Tensor,
}

impl Chain for NoSteps {
    fn steps(&self) -> usize {
        0
    }

    fn start(&self) -> Option<&Tensor> {
        Some(&self.features)
    }

    fn step(&self, step: usize, _: &Tensor, _: Noise<'_>) -> Result<ChainStep, MethodError> {
        Err(MethodError::OutOfRange {
            name: "route",
            expected: "empty: this chain has no steps",
            value: step.to_string(),
        })
    }
}

impl EndToEnd for PlainClassifier {
    fn end_to_end(
        &self,
        network: &dyn Denoiser,
        features: &dyn Fn(usize) -> Result<Tensor, MethodError>,
        targets: Targets<'_>,
        _: Draws,
    ) -> Result<Differentiated, MethodError> {
        check(network)?;
        let loss = mean_cross_entropy(&network.readout(&features(1)?)?, targets)?;
        Ok(Differentiated { gradients: backward(&loss)?, loss: loss.detach() })
    }
}

fn check(network: &dyn Denoiser) -> Result<(), MethodError> {
    match network.blocks() {
        1 => Ok(()),
        blocks => Err(MethodError::Blocks { blocks, steps: 1 }),
    }
}

impl MethodKind {
    /// The baseline without a chain.
    pub const CLASSIFIER: Self = Self::new(&MethodFacts {
        name: "classifier",
        title: "plain classifier, trained end to end",
        summary: "The image branch and a linear layer with cross-entropy, without a chain, for comparison",
        time: Time::None,
        settings: &[],
        solvers: &[],
        samplers: &[SamplerKind::Stochastic],
        embedding_length: EmbeddingLength::One,
        defaults: DEFAULTS,
        build: |_| Ok(Box::new(PlainClassifier)),
    });
}

/// The settings that differ from those of discrete time.
const DEFAULTS: &str = r#"dropout = 0.2               # the paper's
lr = 0.002
readout-lr-scale = 1.0      # there is one loss, and one learning rate
"#;

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::toy::Toy;
    use crate::{Init, ParameterBuilder, Part, Route, Seed, classify, walk};

    /// Returns a network of two classes whose readout is `weight` [3, 2].
    fn network(weight: &Tensor) -> Toy {
        let weight = weight.clone();
        Toy { readout: Box::new(move |z| z.matmul(&weight)), ..Toy::certain(1) }
    }

    fn images() -> Tensor {
        Tensor::new(&[[0.3f32, -0.2, 0.9], [0.1, 0.7, -0.4]], &Device::Cpu).unwrap()
    }

    /// The gradient must be that of the mean cross-entropy, for the layer and for what lies before the features.
    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let builder = ParameterBuilder::seeded(Seed(3), &Device::Cpu);
        let make = |part, shape| builder.trainable(part, "weight", shape, Init::FanIn(1)).unwrap();
        let (encoder, readout) = (make(Part::Encoder, (3, 3)), make(Part::Readout, (3, 2)));
        let parameters = builder.finish().unwrap();
        let labels = Tensor::new(&[1u32, 0], &Device::Cpu).unwrap();
        let done = || {
            let features = |_: usize| Ok(images().matmul(&encoder)?.tanh()?);
            let (toy, draws) = (network(&readout), Seed(1).at(0, 0));
            PlainClassifier.end_to_end(&toy, &features, (&labels).into(), draws).unwrap()
        };
        let gradients = done().gradients;
        for parameter in parameters.iter() {
            let gradient = gradients.get(&parameter.var).unwrap().flatten_all().unwrap();
            let start = parameter.var.as_detached_tensor().copy().unwrap();
            let values = start.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (place, gradient) in gradient.to_vec1::<f32>().unwrap().into_iter().enumerate() {
                let moved = |by: f32| {
                    let mut values = values.clone();
                    values[place] += by;
                    let moved = Tensor::from_vec(values, start.shape(), &Device::Cpu).unwrap();
                    parameter.var.set(&moved).unwrap();
                    done().loss.to_scalar::<f32>().unwrap()
                };
                let difference = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let name = &parameter.name;
                assert!((gradient - difference).abs() < 1e-3, "{name}: {gradient} {difference}");
                assert!(gradient.abs() > 1e-3, "{name} {place}: {gradient}");
            }
            parameter.var.set(&start).unwrap();
        }
    }

    /// The answer is softmax of the readout of the features, whatever the noise, and no step can be asked for.
    #[test]
    fn the_answer_comes_from_the_features_alone() {
        let weight = Tensor::new(&[[1f32, 0.0], [0.0, 1.0], [0.5, -0.5]], &Device::Cpu).unwrap();
        let network = network(&weight);
        let logits = images().matmul(&weight).unwrap();
        let expected = crate::readout::softmax(&logits).unwrap().to_vec2::<f32>().unwrap();
        for seed in [0, 1] {
            let sampler = Sampler { seed: Seed(seed), ..Sampler::once(SamplerKind::Stochastic) };
            let found = classify(&network, &PlainClassifier, &images(), &[0, 1], &sampler).unwrap();
            assert_eq!(found.probabilities.to_vec2::<f32>().unwrap(), expected);
            assert!(found.per_block.is_empty());
            let features = |_: usize| images();
            let chain = PlainClassifier.chain(&network, &features, &sampler).unwrap();
            let noise = Noise { sampler: &sampler, run: 0, rows: &[0, 1] };
            assert!(walk(&*chain, Route::Steps(&[1]), images(), noise, &mut |_| Ok(())).is_err());
        }
    }
}

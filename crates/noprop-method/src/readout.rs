//! From the last embedding to class probabilities (Eqs. 14-16).

use std::fmt;
use std::str::FromStr;

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Denoiser, MethodError};

/// p(y | z_T): how the last embedding becomes a class.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Readout {
    /// softmax(f(z_T)) with f a linear layer that is trained (Eq. 14).
    #[default]
    Softmax,
    /// The trained layer names a point among the class embeddings, and the class is the more probable the nearer its embedding
    /// (Eqs. 15-16): ỹ = softmax(f(z_T)) W_embed and p(y | z_T) ∝ exp(−‖ỹ − u_y‖² / (2σ²)).
    Posterior {
        /// σ, in the units of the embeddings. The paper gives no value.
        sigma: f64,
    },
    /// Bayes' rule over the class embeddings, with nothing to train. It is ours, not the paper's.
    ///
    /// The forward process says z_T | y ~ N(√ᾱ_T u_y, (1 − ᾱ_T) I), so with all classes equally likely beforehand
    /// p(y | z_T) ∝ exp(−‖z_T − √ᾱ_T u_y‖² / (2 (1 − ᾱ_T))).
    Bayes,
}

impl Readout {
    /// σ of [`Self::Posterior`] where none is given. It is ours: on held-out images no value from 0.1 to 5 could be told from another
    /// (docs/results.md).
    pub const SIGMA: f64 = 0.5;

    /// Returns whether it has a linear layer that is trained.
    pub fn is_trained(self) -> bool {
        match self {
            Self::Softmax | Self::Posterior { .. } => true,
            Self::Bayes => false,
        }
    }

    /// Class logits [N, classes] of the last embedding `z` [N, d]. `level` gives ᾱ_T and 1 − ᾱ_T, `[1]` each.
    pub(crate) fn logits(
        self,
        network: &dyn Denoiser,
        z: &Tensor,
        level: impl FnOnce() -> Result<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let embeddings = network.class_embeddings();
        match self {
            Self::Softmax => network.readout(z),
            Self::Posterior { sigma } => posterior_logits(&network.readout(z)?, embeddings, sigma),
            Self::Bayes => {
                let (alpha_bar, noise_share) = level()?;
                bayes_logits(z, embeddings, &alpha_bar, &noise_share)
            }
        }
    }
}

impl fmt::Display for Readout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Softmax => f.write_str("softmax"),
            Self::Posterior { sigma } => write!(f, "posterior:{sigma}"),
            Self::Bayes => f.write_str("bayes"),
        }
    }
}

impl FromStr for Readout {
    type Err = MethodError;

    fn from_str(name: &str) -> std::result::Result<Self, MethodError> {
        match (name, name.strip_prefix("posterior:")) {
            ("softmax", _) => Ok(Self::Softmax),
            ("posterior", _) => Ok(Self::Posterior { sigma: Self::SIGMA }),
            ("bayes", _) => Ok(Self::Bayes),
            (_, Some(sigma)) => {
                let sigma = sigma.parse().unwrap_or(f64::NAN);
                MethodError::positive("the number after posterior:", sigma)?;
                Ok(Self::Posterior { sigma })
            }
            (_, None) => Err(MethodError::UnknownName {
                what: "readout",
                name: name.into(),
                known: "softmax, posterior, posterior:SIGMA, bayes",
            }),
        }
    }
}

/// From a file, where `posterior` without its σ is refused: in files of the first format it is the name of what is now `bayes`.
impl TryFrom<String> for Readout {
    type Error = MethodError;

    fn try_from(name: String) -> std::result::Result<Self, MethodError> {
        match name.as_str() {
            "posterior" => Err(MethodError::AmbiguousReadout),
            name => name.parse(),
        }
    }
}

impl From<Readout> for String {
    fn from(readout: Readout) -> Self {
        readout.to_string()
    }
}

/// −½‖z − u_k‖² without the ½‖z‖² that all classes share, [N, classes]. `z` is [N, d], `embeddings` [classes, d].
pub(crate) fn nearness(z: &Tensor, embeddings: &Tensor) -> Result<Tensor> {
    let norms = (embeddings.sqr()?.sum(D::Minus1)?.unsqueeze(0)? * 0.5)?;
    z.matmul(&embeddings.t()?)?.broadcast_sub(&norms)
}

/// Logits of Eq. 16, [N, classes]. `logits` [N, classes] are the trained layer's; gradients flow to both tensors.
fn posterior_logits(logits: &Tensor, embeddings: &Tensor, sigma: f64) -> Result<Tensor> {
    let point = softmax(logits)?.matmul(embeddings)?;
    nearness(&point, embeddings)? / (sigma * sigma)
}

/// Logits of Bayes' rule, [N, classes]: −‖z − √ᾱ u_k‖² / (2 (1 − ᾱ)) without what all classes share.
///
/// `alpha_bar` is ᾱ and `noise_share` 1 − ᾱ, `[1]` each. Gradients flow to all four.
fn bayes_logits(
    z: &Tensor,
    embeddings: &Tensor,
    alpha_bar: &Tensor,
    noise_share: &Tensor,
) -> Result<Tensor> {
    let scaled = embeddings.broadcast_mul(&alpha_bar.sqrt()?)?;
    nearness(z, &scaled)?.broadcast_div(noise_share)
}

/// Softmax over the last dimension in plain differentiable ops; candle-nn's fused one has no backward.
pub(crate) fn softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
    shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    fn one(value: f32) -> Tensor {
        Tensor::new(&[value], &Device::Cpu).unwrap()
    }

    /// Against Bayes' rule with Gaussian densities written out in f64.
    #[test]
    fn bayes_is_bayes_rule() {
        let embeddings = [[1.0, 0.5], [-0.3, 0.8], [0.2, -1.0]];
        let z = [0.4, 0.1];
        let cpu = &Device::Cpu;
        let rows = Tensor::new(&embeddings, cpu).unwrap().to_dtype(DType::F32).unwrap();
        let point = Tensor::new(&[z.map(|z| z as f32)], cpu).unwrap();
        for alpha_bar in [0.2f64, 0.7, 0.95] {
            let density = |u: &[f64; 2]| {
                let square: f64 =
                    z.iter().zip(u).map(|(z, u)| (z - alpha_bar.sqrt() * u).powi(2)).sum();
                (-square / (2.0 * (1.0 - alpha_bar))).exp()
            };
            let total: f64 = embeddings.iter().map(density).sum();
            let (share, rest) = (one(alpha_bar as f32), one((1.0 - alpha_bar) as f32));
            let logits = bayes_logits(&point, &rows, &share, &rest).unwrap();
            let ours = softmax(&logits).unwrap().to_vec2::<f32>().unwrap();
            for (ours, u) in ours[0].iter().zip(&embeddings) {
                let exact = density(u) / total;
                assert!((f64::from(*ours) - exact).abs() < 1e-5, "{alpha_bar}: {ours} {exact}");
            }
        }
    }

    /// Against Eqs. 15-16 written out in f64. Bayes' rule on z itself, which knows no trained layer, gives other numbers.
    #[test]
    fn posterior_is_equations_15_and_16() {
        let embeddings = [[1.0, 0.5], [-0.3, 0.8], [0.2, -1.0]];
        let logits = [0.3, -0.7, 1.1f64];
        let cpu = &Device::Cpu;
        for sigma in [0.25f64, 0.5, 2.0] {
            let weights: Vec<f64> = logits.iter().map(|logit| logit.exp()).collect();
            let total: f64 = weights.iter().sum();
            let point = [0, 1].map(|column| -> f64 {
                weights.iter().zip(&embeddings).map(|(w, u)| w / total * u[column]).sum()
            });
            let density = |u: &[f64; 2]| {
                let square: f64 = point.iter().zip(u).map(|(p, u)| (p - u).powi(2)).sum();
                (-square / (2.0 * sigma * sigma)).exp()
            };
            let total: f64 = embeddings.iter().map(density).sum();
            let rows = Tensor::new(&embeddings, cpu).unwrap();
            let given = Tensor::new(&[logits], cpu).unwrap();
            let ours = softmax(&posterior_logits(&given, &rows, sigma).unwrap()).unwrap();
            let ours = ours.to_vec2::<f64>().unwrap();
            for (ours, u) in ours[0].iter().zip(&embeddings) {
                assert!((ours - density(u) / total).abs() < 1e-12, "{sigma}");
            }
        }
    }

    /// The gradient of log p(class 0) at the numbers `start`, which `loss` reads, against central differences.
    fn gradient_is_right(start: &[f64], loss: &dyn Fn(&Tensor) -> Tensor) {
        let at = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap();
        let var = Var::from_tensor(&at(start)).unwrap();
        let pass = loss(var.as_tensor()).backward().unwrap();
        let gradient = pass.get(&var).unwrap().to_vec1::<f64>().unwrap();
        for (place, gradient) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut values = start.to_vec();
                values[place] += by;
                loss(&at(&values)).to_scalar::<f64>().unwrap()
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((gradient - difference).abs() < 1e-7, "{place}: {gradient} {difference}");
            assert!(gradient.abs() > 1e-3, "{place}: {gradient}");
        }
    }

    /// log p(class 0) of the first row of `logits`.
    fn log_probability(logits: &Tensor) -> Tensor {
        softmax(logits).unwrap().get(0).unwrap().get(0).unwrap().log().unwrap()
    }

    /// With trained embeddings the cross-entropy must reach them.
    #[test]
    fn the_gradient_of_bayes_reaches_the_embeddings() {
        let tensor = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap();
        let z = tensor(&[0.4, 0.1]).unsqueeze(0).unwrap();
        let (share, rest) = (tensor(&[0.6]), tensor(&[0.4]));
        gradient_is_right(&[1.0, 0.5, -0.3, 0.8], &|numbers| {
            let u = numbers.reshape((2, 2)).unwrap();
            log_probability(&bayes_logits(&z, &u, &share, &rest).unwrap())
        });
    }

    /// The cross-entropy must reach the trained layer through ỹ, and the embeddings both through ỹ and as u_y.
    #[test]
    fn the_gradient_of_the_posterior_reaches_layer_and_embeddings() {
        // Three logits, then three embeddings of two numbers.
        gradient_is_right(&[0.3, -0.7, 0.9, 1.0, 0.5, -0.3, 0.8, 0.2, -1.0], &|numbers| {
            let logits = numbers.narrow(0, 0, 3).unwrap().unsqueeze(0).unwrap();
            let u = numbers.narrow(0, 3, 6).unwrap().reshape((3, 2)).unwrap();
            log_probability(&posterior_logits(&logits, &u, 0.7).unwrap())
        });
    }

    /// A name in a config file must come back as the same readout. There `posterior` alone has meant two things, and is refused.
    #[test]
    fn names_are_read_as_they_are_written() {
        for readout in [Readout::Softmax, Readout::Posterior { sigma: 0.25 }, Readout::Bayes] {
            assert_eq!(Readout::try_from(readout.to_string()).unwrap(), readout);
        }
        assert_eq!("posterior".parse::<Readout>().unwrap(), Readout::Posterior { sigma: 0.5 });
        for wrong in ["posterior", "posterior:", "posterior:0", "posterior:inf", "Softmax"] {
            assert!(Readout::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}

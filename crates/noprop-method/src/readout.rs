//! The step from the last embedding to class probabilities (Eqs. 14-16).

use std::fmt;
use std::str::FromStr;

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Denoiser, MethodError};

/// The step from the last embedding to class probabilities, p(y | z_T).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Readout {
    /// softmax(f(z_T)), where f is a trained linear layer (Eq. 14).
    #[default]
    Softmax,
    /// The trained layer f gives a point among the class embeddings, and a class is more probable if its embedding is nearer to
    /// the point (Eqs. 15-16): ỹ = softmax(f(z_T)) W_embed and p(y | z_T) ∝ exp(−‖ỹ − u_y‖² / (2σ²)).
    Posterior {
        /// σ, in the units of the embeddings. The paper gives no value.
        sigma: f64,
    },
    /// Bayes' rule over the class embeddings, without trained parameters. It is not from the paper.
    ///
    /// In the forward process z_T | y ~ N(√ᾱ_T u_y, (1 − ᾱ_T) I). If all classes are equally likely a priori, then
    /// p(y | z_T) ∝ exp(−‖z_T − √ᾱ_T u_y‖² / (2 (1 − ᾱ_T))).
    Bayes,
}

impl Readout {
    /// The default σ of [`Self::Posterior`]. It is not from the paper: on held-out images, values from 0.1 to 5 showed no
    /// difference (docs/results.md).
    pub const SIGMA: f64 = 0.5;

    /// Returns whether the readout has a trained linear layer.
    pub fn is_trained(self) -> bool {
        match self {
            Self::Softmax | Self::Posterior { .. } => true,
            Self::Bayes => false,
        }
    }

    /// Returns the class logits [N, classes] of the last embedding `z` [N, d]. `level` returns ᾱ_T and 1 − ᾱ_T, `[1]` each.
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
            (_, None) => {
                let known = "softmax, posterior, posterior:SIGMA, bayes";
                Err(MethodError::unknown("readout", name, known))
            }
        }
    }
}

/// Reads a readout from a file. `posterior` without its σ is refused: in files of the first format it is the name of today's
/// `bayes`.
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

/// Returns −½‖z − u_k‖² without the −½‖z‖² that all classes share, [N, classes]. `z` is [N, d] and `embeddings` is [classes,
/// d].
pub(crate) fn nearness(z: &Tensor, embeddings: &Tensor) -> Result<Tensor> {
    let norms = (embeddings.sqr()?.sum(D::Minus1)?.unsqueeze(0)? * 0.5)?;
    z.matmul(&embeddings.t()?)?.broadcast_sub(&norms)
}

/// Returns the logits of Eq. 16, [N, classes]. `logits` [N, classes] are those of the trained layer. Gradients flow to both
/// tensors.
fn posterior_logits(logits: &Tensor, embeddings: &Tensor, sigma: f64) -> Result<Tensor> {
    let point = softmax(logits)?.matmul(embeddings)?;
    nearness(&point, embeddings)? / (sigma * sigma)
}

/// Returns the logits of Bayes' rule, [N, classes]: −‖z − √ᾱ u_k‖² / (2 (1 − ᾱ)) without the term that all classes share.
///
/// `alpha_bar` is ᾱ and `noise_share` is 1 − ᾱ, `[1]` each. Gradients flow to all four tensors.
fn bayes_logits(
    z: &Tensor,
    embeddings: &Tensor,
    alpha_bar: &Tensor,
    noise_share: &Tensor,
) -> Result<Tensor> {
    let scaled = embeddings.broadcast_mul(&alpha_bar.sqrt()?)?;
    nearness(z, &scaled)?.broadcast_div(noise_share)
}

/// Returns the softmax over the last dimension, computed with differentiable ops; candle-nn's fused softmax has no backward
/// pass.
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

    /// The logits are compared with Bayes' rule with Gaussian densities, computed in f64.
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

    /// The logits are compared with Eqs. 15-16, computed in f64. Bayes' rule on z itself, without the trained layer, gives
    /// other numbers.
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

    /// Compares the gradient of log p(class 0), which `loss` returns, at the numbers `start` with central differences.
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

    /// Returns log p(class 0) of the first row of `logits`.
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

    /// A name in a config file must be read as the same readout. `posterior` without its σ has had two meanings, and is refused
    /// there.
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

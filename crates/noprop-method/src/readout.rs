//! From the last embedding to class probabilities (Eqs. 14-16).

use std::fmt;
use std::str::FromStr;

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::MethodError;

/// p(y | z_T): what the last embedding says of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// softmax(θ_out z_T), a linear layer that is trained (Eq. 14).
    #[default]
    Softmax,
    /// Bayes' rule over the class embeddings, with nothing to train (Eqs. 15-16).
    ///
    /// The forward process says z_T | y ~ N(√ᾱ_T u_y, (1 − ᾱ_T) I), so with all classes equally likely beforehand
    /// p(y | z_T) ∝ exp(−‖z_T − √ᾱ_T u_y‖² / (2 (1 − ᾱ_T))).
    Posterior,
}

impl fmt::Display for Readout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Softmax => "softmax",
            Self::Posterior => "posterior",
        })
    }
}

impl FromStr for Readout {
    type Err = MethodError;

    fn from_str(name: &str) -> std::result::Result<Self, MethodError> {
        match name {
            "softmax" => Ok(Self::Softmax),
            "posterior" => Ok(Self::Posterior),
            _ => Err(MethodError::UnknownName {
                what: "readout",
                name: name.into(),
                known: "softmax, posterior",
            }),
        }
    }
}

/// Logits [N, classes] whose softmax is the posterior: −‖z − √ᾱ u_k‖² / (2 (1 − ᾱ)) without the ‖z‖² that all classes share.
///
/// `z` is [N, d], `embeddings` [classes, d]; `alpha_bar` is ᾱ and `noise_share` 1 − ᾱ, `[1]` each. Gradients flow to all four.
pub(crate) fn posterior_logits(
    z: &Tensor,
    embeddings: &Tensor,
    alpha_bar: &Tensor,
    noise_share: &Tensor,
) -> Result<Tensor> {
    let products = z.matmul(&embeddings.t()?)?.broadcast_mul(&alpha_bar.sqrt()?)?;
    let norms = embeddings.sqr()?.sum(D::Minus1)?.unsqueeze(0)?;
    let norms = norms.broadcast_mul(&(alpha_bar * 0.5)?)?;
    products.broadcast_sub(&norms)?.broadcast_div(noise_share)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::discrete_time::softmax;

    fn one(value: f32) -> Tensor {
        Tensor::new(&[value], &Device::Cpu).unwrap()
    }

    /// Against Bayes' rule with Gaussian densities written out in f64.
    #[test]
    fn it_is_bayes_rule() {
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
            let logits = posterior_logits(&point, &rows, &share, &rest).unwrap();
            let ours = softmax(&logits).unwrap().to_vec2::<f32>().unwrap();
            for (ours, u) in ours[0].iter().zip(&embeddings) {
                let exact = density(u) / total;
                assert!((f64::from(*ours) - exact).abs() < 1e-5, "{alpha_bar}: {ours} {exact}");
            }
        }
    }

    /// With trained embeddings the cross-entropy must reach them: central differences.
    #[test]
    fn its_gradient_reaches_the_embeddings() {
        let cpu = &Device::Cpu;
        let tensor = |values: &[f64]| Tensor::new(values, cpu).unwrap();
        let z = tensor(&[0.4, 0.1]).unsqueeze(0).unwrap();
        let (share, rest) = (tensor(&[0.6]), tensor(&[0.4]));
        let start = [1.0, 0.5, -0.3, 0.8];
        let loss = |u: &Tensor| {
            let logits = posterior_logits(&z, u, &share, &rest).unwrap();
            softmax(&logits).unwrap().get(0).unwrap().get(0).unwrap().log().unwrap()
        };
        let at = |values: [f64; 4]| tensor(&values).reshape((2, 2)).unwrap();
        let var = Var::from_tensor(&at(start)).unwrap();
        let pass = loss(var.as_tensor()).backward().unwrap();
        let gradient = pass.get(&var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (place, gradient) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut values = start;
                values[place] += by;
                loss(&at(values)).to_scalar::<f64>().unwrap()
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((gradient - difference).abs() < 1e-7, "{gradient} {difference}");
            assert!(gradient.abs() > 1e-3);
        }
    }
}

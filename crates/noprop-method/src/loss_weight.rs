//! The weight of each block's error.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::MethodError;
use crate::names::text_form;

/// The factor of a block's mean ‖û − u_y‖².
///
/// The paper's factor at block t is (T/2) η (SNR(t) − SNR(t − 1)) in discrete time (Eq. 8), ½ η SNR'(t) in continuous time (Eq.
/// 9) and 1/(1 − t)² in flow matching, which gives all velocities the same weight (Eq. 11). In each of them the loss is an
/// expectation over t, so in a sum over T blocks each factor is divided by T.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum LossWeight {
    /// The paper's factor. In discrete time it ranges from 0.01 to 3,200 at T = 10 and η = 0.1. This hardly affects a block
    /// that shares nothing, because Adam divides by the size of the gradient, but it affects a shared encoder.
    Snr,
    /// The factor 1 for every block in the sum over blocks. It is not from the paper. Under the expectation over t this is T,
    /// so relative to the sum over T blocks a cross-entropy has 1/T of the weight that it has relative to their mean.
    Uniform,
    /// The paper's factor, limited to this value. It is not from the paper. The largest factors belong to nearly clean
    /// embeddings, from which there is little to learn. It is not Min-SNR-γ, which clips SNR itself.
    Clipped(f64),
}

impl fmt::Display for LossWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snr => f.write_str("snr"),
            Self::Uniform => f.write_str("uniform"),
            Self::Clipped(most) => write!(f, "clipped:{most}"),
        }
    }
}

impl FromStr for LossWeight {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        match name {
            "snr" => Ok(Self::Snr),
            "uniform" => Ok(Self::Uniform),
            // Files of the first format use the name `min-snr:`.
            _ => match name.strip_prefix("clipped:").or_else(|| name.strip_prefix("min-snr:")) {
                Some(most) => {
                    let most = most.parse().unwrap_or(f64::NAN);
                    MethodError::positive("the number after clipped:", most)?;
                    Ok(Self::Clipped(most))
                }
                None => {
                    let known = "snr, uniform, clipped:NUMBER";
                    Err(MethodError::unknown("loss weight", name, known))
                }
            },
        }
    }
}

text_form!(LossWeight);

#[cfg(test)]
mod tests {
    use super::*;

    /// A name in a config file must be read as the same weight, and a wrong name must be refused.
    #[test]
    fn names_are_read_as_they_are_written() {
        for weight in [LossWeight::Snr, LossWeight::Uniform, LossWeight::Clipped(5.0)] {
            assert_eq!(weight.to_string().parse::<LossWeight>().unwrap(), weight);
        }
        assert_eq!("min-snr:5".parse::<LossWeight>().unwrap(), LossWeight::Clipped(5.0));
        for wrong in ["clipped", "clipped:", "clipped:0", "clipped:-1", "clipped:inf", "SNR"] {
            assert!(wrong.parse::<LossWeight>().is_err(), "{wrong}");
        }
    }
}

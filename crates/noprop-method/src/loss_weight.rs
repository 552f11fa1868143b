//! How much each block's error counts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::MethodError;

/// The factor before a block's mean ‖û − u_y‖².
///
/// Continuous time has ½ η SNR'(t) for [`LossWeight::Snr`] (Eq. 9), flow matching 1/(1 − t)², which makes all velocities count
/// alike (Eq. 10).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum LossWeight {
    /// (T/2) η (SNR(t) − SNR(t − 1)): the paper's (Eq. 8). It spans 0.01 to 3,200 at T = 10 and η = 0.1, which a block of its own
    /// does not notice (Adam divides by the gradient's size) but a shared encoder does.
    Snr,
    /// 1 for every block.
    Uniform,
    /// The paper's, but never more than this: its largest values belong to nearly clean embeddings, of which there is little
    /// to learn.
    MinSnr(f64),
}

impl fmt::Display for LossWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snr => f.write_str("snr"),
            Self::Uniform => f.write_str("uniform"),
            Self::MinSnr(most) => write!(f, "min-snr:{most}"),
        }
    }
}

impl FromStr for LossWeight {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        match name {
            "snr" => Ok(Self::Snr),
            "uniform" => Ok(Self::Uniform),
            _ if name.starts_with("min-snr:") => {
                let most = name.trim_start_matches("min-snr:").parse().unwrap_or(f64::NAN);
                MethodError::positive("the number after min-snr:", most)?;
                Ok(Self::MinSnr(most))
            }
            _ => Err(MethodError::UnknownName {
                what: "loss weight",
                name: name.into(),
                known: "snr, uniform, min-snr:NUMBER",
            }),
        }
    }
}

impl TryFrom<String> for LossWeight {
    type Error = MethodError;

    fn try_from(name: String) -> Result<Self, MethodError> {
        name.parse()
    }
}

impl From<LossWeight> for String {
    fn from(weight: LossWeight) -> Self {
        weight.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name in a config file must come back as the same weight, and a wrong one be refused.
    #[test]
    fn names_are_read_as_they_are_written() {
        for weight in [LossWeight::Snr, LossWeight::Uniform, LossWeight::MinSnr(5.0)] {
            assert_eq!(weight.to_string().parse::<LossWeight>().unwrap(), weight);
        }
        for wrong in ["min-snr", "min-snr:", "min-snr:0", "min-snr:-1", "min-snr:inf", "SNR"] {
            assert!(wrong.parse::<LossWeight>().is_err(), "{wrong}");
        }
    }
}

//! How much each block's error counts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::MethodError;

/// The factor before a block's mean ‖û − u_y‖².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum LossWeight {
    /// (T/2) η (SNR(t) − SNR(t − 1)): the paper's (Eq. 8). It spans 0.01 to 3,200 at T = 10 and η = 0.1, which a block of its own
    /// does not notice (Adam divides by the gradient's size) but a shared encoder does.
    Snr,
    /// 1 for every block.
    Uniform,
}

impl fmt::Display for LossWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snr => "snr",
            Self::Uniform => "uniform",
        })
    }
}

impl FromStr for LossWeight {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        match name {
            "snr" => Ok(Self::Snr),
            "uniform" => Ok(Self::Uniform),
            _ => Err(MethodError::UnknownName {
                what: "loss weight",
                name: name.into(),
                known: "snr, uniform",
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

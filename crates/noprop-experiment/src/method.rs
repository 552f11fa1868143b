//! The methods by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A variant of NoProp, or a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Discrete time: T blocks, one noise level each.
    Dt,
    /// Continuous time: one block for all noise levels, and a noise schedule that is learned.
    Ct,
    /// Flow matching: one block that learns the way from noise to label.
    Fm,
    /// The same blocks trained end to end, for comparison.
    Backprop,
    /// A neural ODE: the way of fm, trained end to end by the adjoint method, for comparison.
    Adjoint,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 5] = [Self::Dt, Self::Ct, Self::Fm, Self::Backprop, Self::Adjoint];

    /// Returns whether its time is continuous.
    pub fn is_continuous(self) -> bool {
        matches!(self, Self::Ct | Self::Fm | Self::Adjoint)
    }

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dt => "dt",
            Self::Ct => "ct",
            Self::Fm => "fm",
            Self::Backprop => "backprop",
            Self::Adjoint => "adjoint",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|method| method.name() == name);
        known.ok_or_else(|| {
            format!("unknown method `{name}`: choose {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

//! The errors of schedules.

use std::fmt;

/// The reason why a schedule or one of its steps could not be built.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// This number of steps T is 0, or its T + 1 levels do not fit into memory.
    Steps(usize),
    /// ᾱ does not rise strictly inside [0, 1).
    NotIncreasing {
        /// The first level that breaks the rule.
        t: usize,
        /// ᾱ at that level.
        value: f64,
        /// ᾱ at the level before it (0 where there is none).
        previous: f64,
    },
    /// A step does not lead from one ᾱ to a larger one inside [0, 1).
    NotAStep {
        /// ᾱ before the step.
        from: f64,
        /// ᾱ after the step.
        to: f64,
    },
    /// No schedule has this name.
    UnknownKind(String),
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => {
                write!(f, "steps must be at least 1 and fit into memory, got {steps}")
            }
            Self::NotIncreasing { t, value, previous } => write!(
                f,
                "alpha_bar must rise strictly from at least 0 to below 1, but at t = {t} it is {value} after {previous}"
            ),
            Self::NotAStep { from, to } => write!(
                f,
                "a step must lead from an alpha_bar of at least 0 to a larger one below 1, not from {from} to {to}"
            ),
            Self::UnknownKind(name) => {
                write!(f, "unknown schedule `{name}`: choose one of cosine, linear, notebook")
            }
        }
    }
}

impl std::error::Error for ScheduleError {}

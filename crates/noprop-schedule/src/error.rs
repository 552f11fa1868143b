//! What can be wrong with a schedule.

use crate::MAX_STEPS;

/// Why a schedule could not be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The number of steps T is outside 1..=[`MAX_STEPS`].
    #[error("steps must be between 1 and {MAX_STEPS}, got {steps}")]
    Steps {
        /// The number of steps asked for.
        steps: usize,
    },
    /// ᾱ does not rise strictly inside [0, 1).
    #[error(
        "alpha_bar must rise strictly from at least 0 to below 1, but at t = {t} it is {value} after {previous}"
    )]
    NotIncreasing {
        /// The first level that breaks the rule.
        t: usize,
        /// ᾱ at that level.
        value: f64,
        /// ᾱ at the level before it (0 where there is none).
        previous: f64,
    },
    /// No schedule has this name.
    #[error("unknown schedule `{name}`: choose one of cosine, linear, notebook")]
    UnknownKind {
        /// The name that was given.
        name: String,
    },
}

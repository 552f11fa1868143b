//! The learning rate as a function of the step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The position of a step in a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The step, counted from 0.
    pub step: u64,
    /// The number of steps in the whole training.
    pub steps: u64,
}

/// A learning rate as a function of the step.
pub(crate) type Rate = Arc<dyn Fn(Position) -> f64 + Send + Sync>;

/// The course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// The peak rate to the end, as in the paper.
    Constant,
    /// Half a cosine from the peak to 0 at the last step.
    #[default]
    Cosine,
}

//! The learning rate as a function of the step: linear warm-up, then a constant or a cosine decay to 0.

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

/// A learning rate for every step of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    /// The highest rate.
    pub peak: f64,
    /// The number of steps over which the rate rises linearly to the peak.
    pub warmup_steps: u64,
    /// The course of the rate after the warm-up.
    pub decay: Decay,
    /// The number of steps in the whole training.
    pub total_steps: u64,
}

impl LearningRate {
    /// Returns the rate of step `step`, counted from 0. It is never 0 before the end, so no step is wasted.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine => {
                let length = self.total_steps.saturating_sub(self.warmup_steps).max(1);
                let done = (step - self.warmup_steps).min(length) as f64 / length as f64;
                0.5 * self.peak * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_almost_nothing() {
        let rate =
            LearningRate { peak: 2e-3, warmup_steps: 200, decay: Decay::Cosine, total_steps: 1290 };
        assert!((rate.at(0) - 1e-5).abs() < 1e-12);
        assert!((rate.at(199) - 2e-3).abs() < 1e-12);
        assert!((rate.at(200) - 2e-3).abs() < 1e-12);
        assert!((rate.at(745) - 1e-3).abs() < 1e-9, "half-way down");
        assert!(rate.at(1289) > 0.0 && rate.at(1289) < 1e-8);
        let constant = LearningRate { decay: Decay::Constant, ..rate };
        assert_eq!(constant.at(1289), 2e-3);
    }

    /// A warm-up longer than the training must not divide by zero or go negative.
    #[test]
    fn survives_a_warmup_longer_than_the_training() {
        let rate =
            LearningRate { peak: 1.0, warmup_steps: 10, decay: Decay::Cosine, total_steps: 5 };
        assert!((0..20).all(|step| (0.0..=1.0).contains(&rate.at(step))));
    }
}

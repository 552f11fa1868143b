//! The constants of one optimizer step.

use super::{AdamConfig, Rule};

/// The numbers that a step multiplies by, computed once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coefficients {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// `lr / (1 - β₁ᵏ)`.
    pub rate: f64,
    /// `1 / √(1 - β₂ᵏ)`, so that `√v̂ = √v · root_scale`.
    pub root_scale: f64,
    /// The factor of the parameters: `1 - lr λ` under AdamW, 1 under Adam.
    pub shrink: f64,
    /// The share of the parameters in the gradient: λ under Adam, 0 under AdamW.
    pub penalty: f64,
}

impl Coefficients {
    /// The constants of step `step`, counted from 1.
    pub(crate) fn new(config: &AdamConfig, step: u64, lr: f64) -> Self {
        let k = step as f64;
        let decay = config.weight_decay;
        let (shrink, penalty) = match config.rule {
            Rule::AdamW => (1.0 - lr * decay, 0.0),
            Rule::Adam => (1.0, decay),
        };
        Self {
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            // `libm` rather than the system's power function: resumed runs must not depend on the machine's.
            rate: lr / (1.0 - libm::pow(config.beta1, k)),
            root_scale: 1.0 / libm::sqrt(1.0 - libm::pow(config.beta2, k)),
            shrink,
            penalty,
        }
    }
}

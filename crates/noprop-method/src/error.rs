//! The errors of a method.

/// An error in computing a loss, classifying images, or reading a setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// The number of blocks of the network is not the number of steps of the schedule.
    #[error(
        "the network has {blocks} blocks but the schedule has {steps} steps; they must be equal"
    )]
    Blocks {
        /// The number of blocks of the network.
        blocks: usize,
        /// The number of steps of the schedule.
        steps: usize,
    },
    /// The number of blocks of the network is not the number of intervals of time.
    #[error(
        "the network has {blocks} blocks but time is divided among {intervals}; they must be equal"
    )]
    Intervals {
        /// The number of blocks of the network.
        blocks: usize,
        /// The number of intervals of time.
        intervals: usize,
    },
    /// At least one block would have no step.
    #[error(
        "steps must be at least {fewest}, so that each of the {intervals} intervals has one, got {steps}"
    )]
    FewSteps {
        /// The number of steps of the solver.
        steps: u32,
        /// The number of intervals of time.
        intervals: usize,
        /// The smallest number of steps that is enough.
        fewest: u32,
    },
    /// A setting is outside its range.
    #[error("{name} must be {expected}, got {value}")]
    OutOfRange {
        /// The setting's name, as in the config file.
        name: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The given value.
        value: String,
    },
    /// A name is unknown.
    #[error("unknown {what} `{name}`: choose one of {known}")]
    UnknownName {
        /// The kind of the named thing.
        what: &'static str,
        /// The given name.
        name: String,
        /// The known names.
        known: String,
    },
    /// A file names the readout `posterior` without its σ. In the first format this name meant another readout.
    #[error(
        "readout posterior needs its sigma in a file, as in posterior:0.5; in runs of the first format it means what is now bayes"
    )]
    AmbiguousReadout,
    /// The method needs a learned noise schedule, and the network has none.
    #[error("the network has no learned noise schedule, which continuous time needs")]
    NoSchedule,
    /// The network has no weights to mix a block's prediction with its input.
    #[error("the network has no mixing weights, which back-propagation needs")]
    NoMix,
    /// The solver belongs to another method.
    #[error("solver posterior belongs to ct; fm and adjoint take euler or heun")]
    Solver,
    /// The class probabilities of an image are NaN.
    #[error("the network answers NaN instead of class probabilities, so it classifies nothing")]
    NoAnswer,
    /// The learned noise schedule is not valid.
    #[error("the learned noise schedule cannot be used: {0}")]
    Schedule(#[from] noprop_schedule::ScheduleError),
    /// An error of a fused op.
    #[error(transparent)]
    Kernel(#[from] noprop_kernels::KernelError),
    /// An error of the network or of candle.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl MethodError {
    pub(crate) fn unknown(what: &'static str, name: &str, known: &str) -> Self {
        Self::UnknownName { what, name: name.into(), known: known.into() }
    }

    /// Checks that `value` is positive and that an f32 holds it.
    pub(crate) fn positive(name: &'static str, value: f64) -> Result<(), Self> {
        match not_positive(value) {
            None => Ok(()),
            Some(expected) => Err(Self::OutOfRange { name, expected, value: format!("{value:?}") }),
        }
    }
}

/// Returns the range that `value` should be in, unless it is positive and an f32, in which networks compute, holds it.
pub fn not_positive(value: f64) -> Option<&'static str> {
    match value {
        _ if !(value.is_finite() && value > 0.0) => Some("a positive number"),
        _ if value < f64::from(f32::MIN_POSITIVE) => Some("at least 1.2e-38"),
        _ if value > f64::from(f32::MAX) => Some("at most 3.4e38"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In f32 these would be 0 or infinite, and training would end in not-a-number.
    #[test]
    fn a_positive_number_is_one_in_f32() {
        assert_eq!([1e-30, 0.5, 3e38].map(not_positive), [None; 3]);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
            assert!(not_positive(bad).is_some(), "{bad}");
        }
        let said = MethodError::positive("eta", 1e-300).unwrap_err().to_string();
        assert!(said.contains("at least 1.2e-38") && said.contains("1e-300"), "{said}");
    }
}

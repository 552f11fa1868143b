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

    /// Checks that `value` is a positive finite number.
    pub(crate) fn positive(name: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        Err(Self::OutOfRange { name, expected: "a positive number", value: value.to_string() })
    }
}

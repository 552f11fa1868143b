//! What can go wrong in the method itself.

/// Why a loss could not be computed or an image not be classified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// The network has another number of blocks than the schedule has steps.
    #[error(
        "the network has {blocks} blocks but the schedule has {steps} steps; they must be equal"
    )]
    Blocks {
        /// Blocks of the network.
        blocks: usize,
        /// Steps of the schedule.
        steps: usize,
    },
    /// The network has another number of blocks than time has intervals.
    #[error(
        "the network has {blocks} blocks but time is divided among {intervals}; they must be equal"
    )]
    Intervals {
        /// Blocks of the network.
        blocks: usize,
        /// Intervals of time.
        intervals: usize,
    },
    /// Some block would have no step.
    #[error(
        "steps must be at least {fewest}, so that each of the {intervals} intervals has one, got {steps}"
    )]
    FewSteps {
        /// Steps of the solver.
        steps: u32,
        /// Intervals of time.
        intervals: usize,
        /// The smallest number of steps that will do.
        fewest: u32,
    },
    /// A setting is outside its range.
    #[error("{name} must be {expected}, got {value}")]
    OutOfRange {
        /// The setting's name, as in the config file.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        value: String,
    },
    /// A method that is not one of the known ones.
    #[error("unknown method `{name}`: choose one of {known}")]
    UnknownMethod {
        /// The name that was given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A name that is not one of the known ones.
    #[error("unknown {what} `{name}`: choose one of {known}")]
    UnknownName {
        /// What kind of thing was named.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names that exist.
        known: &'static str,
    },
    /// A file names the readout `posterior` without its σ, which stood for another readout in the first format.
    #[error(
        "readout posterior needs its sigma in a file, as in posterior:0.5; in runs of the first format it means what is now bayes"
    )]
    AmbiguousReadout,
    /// The method needs a learned noise schedule, and the network has none.
    #[error("the network has no learned noise schedule, which continuous time needs")]
    NoSchedule,
    /// The network cannot mix a block's guess with what came before.
    #[error("the network has no mixing weights, which back-propagation needs")]
    NoMix,
    /// The solver belongs to another method.
    #[error("solver posterior belongs to ct; fm and adjoint take euler or heun")]
    Solver,
    /// The noise schedule that was learned is none.
    #[error("the learned noise schedule cannot be used: {0}")]
    Schedule(#[from] noprop_schedule::ScheduleError),
    /// A fused op refused its input.
    #[error(transparent)]
    Kernel(#[from] noprop_kernels::KernelError),
    /// The network or candle refused a tensor.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl MethodError {
    /// Refuses what is not a positive finite number.
    pub(crate) fn positive(name: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        Err(Self::OutOfRange { name, expected: "a positive number", value: value.to_string() })
    }
}

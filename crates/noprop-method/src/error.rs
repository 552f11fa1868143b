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
    /// A fused op refused its input.
    #[error(transparent)]
    Kernel(#[from] noprop_kernels::KernelError),
    /// The network or candle refused a tensor.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

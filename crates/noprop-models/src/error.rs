//! Errors.

use noprop_method::ParameterError;

/// A failure to describe or build a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A setting is outside its range.
    #[error("{name} must be {expected}, got {value}")]
    OutOfRange {
        /// The setting's name, as in the config file.
        name: &'static str,
        /// The values that are allowed.
        expected: String,
        /// The value that was given.
        value: String,
    },
    /// The parameters did not fit the network.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// candle refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl ModelError {
    pub(crate) fn out_of_range(
        name: &'static str,
        expected: impl Into<String>,
        value: impl ToString,
    ) -> Self {
        Self::OutOfRange { name, expected: expected.into(), value: value.to_string() }
    }
}

//! Refusals, in a sentence that a page shows.

use noprop_data::DataError;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why a request cannot be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is not one. The text is the whole reason.
    #[error("{0}")]
    Refused(String),
    /// The request is not the JSON that it should be.
    #[error("the request cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The data refused.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model or the training refused.
    #[error(transparent)]
    Experiment(#[from] noprop_experiment::Error),
    /// candle refused.
    #[error(transparent)]
    Tensor(#[from] noprop_experiment::candle_core::Error),
}

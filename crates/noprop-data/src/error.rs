//! What can be wrong with a data set.

use std::io;
use std::path::PathBuf;

/// Why a data set could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file is not what it claims to be.
    #[error("{path} is no usable data file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Images and labels do not fit each other.
    #[error("{reason}")]
    Mismatch {
        /// What does not fit.
        reason: String,
    },
    /// A validation set that leaves nothing to train on, or holds nothing.
    #[error("validation must be between 1 and {max}, got {asked}")]
    Holdout {
        /// Images asked for.
        asked: usize,
        /// The most there can be.
        max: usize,
    },
    /// candle refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

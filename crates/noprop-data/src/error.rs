//! What can be wrong with a data set or a picture.

use std::io;
use std::path::PathBuf;

/// Why a data set or a picture could not be read.
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
    /// Files of a data set are not there.
    #[error("{name} is not complete in {folder}: {} missing; `noprop fetch {name}` gets it", missing.join(", "))]
    Missing {
        /// The data set.
        name: &'static str,
        /// Where its files should be.
        folder: PathBuf,
        /// Those that are not.
        missing: Vec<String>,
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
    /// A batch of no images.
    #[error("batch-size must be between 1 and {max}, got {asked}")]
    BatchSize {
        /// Images asked for.
        asked: usize,
        /// The images there are.
        max: usize,
    },
    /// A change of training images that cannot be made.
    #[error("augment must be {expected}, got {value}")]
    Augment {
        /// What was asked for.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A share that leaves nothing to train on, or nothing to test on.
    #[error("split must be above 0 and below 1, got {share}")]
    Share {
        /// What was asked for.
        share: f64,
    },
    /// A folder of pictures is not as it should be.
    #[error("{path} cannot be used: {reason}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// An image that is not in the split.
    #[error("there is no image {image} among {count}")]
    NoImage {
        /// Its number.
        image: u32,
        /// The images there are.
        count: usize,
    },
    /// A file is no picture that can be used.
    #[cfg(feature = "datasets")]
    #[error("cannot use {path} as a picture: {fault}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why not.
        fault: crate::picture::PictureFault,
    },
    /// candle refused.
    #[cfg(feature = "datasets")]
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl DataError {
    /// A file that is not what it claims to be.
    pub(crate) fn malformed(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), reason: reason.into() }
    }
}

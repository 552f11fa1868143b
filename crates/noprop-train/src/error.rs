//! What can stop a training.

use std::io;
use std::path::PathBuf;

use noprop_method::MethodError;

use crate::{StateError, WeightsError};

/// Why training stopped or could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is outside its range.
    #[error("{name} must be {expected}, got {value}")]
    OutOfRange {
        /// The setting's name, as in the config file.
        name: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        value: String,
    },
    /// Classes were to be balanced, and one has no training images.
    #[error(
        "class {class} has no training images (classes count from 0), so its weight cannot be balanced: choose class-weights uniform, \
         or hold out fewer images"
    )]
    NoImagesOfClass {
        /// Its label.
        class: usize,
    },
    /// A loss became NaN or infinite.
    #[error("the loss of {part} became {value} in epoch {epoch}, step {step}; {checkpoint}")]
    Diverged {
        /// The part whose loss it is.
        part: String,
        /// Epoch, counted from 1.
        epoch: u32,
        /// Step of the epoch, counted from 1.
        step: u32,
        /// The loss.
        value: f32,
        /// Where the last good state is, in words.
        checkpoint: String,
    },
    /// A trainable variable received no gradient, so the network is not wired as it claims.
    #[error(
        "`{name}` received no gradient: it would never be trained. Is it used in the network's logits or readout?"
    )]
    MissingGradient {
        /// The variable's name.
        name: String,
    },
    /// The run directory exists.
    #[error("{path} already exists")]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// A directory is no run.
    #[error("{path} is no run directory: {reason}")]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Another process is writing the run.
    #[error("{path} is being written by another process")]
    RunLocked {
        /// The directory.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Weights could not be read or do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The saved state could not be read or does not fit.
    #[error(transparent)]
    State(#[from] StateError),
    /// Units could not be trained apart or put together.
    #[error(transparent)]
    Unit(#[from] crate::UnitError),
    /// The settings of a run that several processes write are not these.
    #[error("{path} was begun with other settings")]
    OtherSettings {
        /// The run directory.
        path: PathBuf,
    },
    /// Processes that train together could not go on.
    #[error(transparent)]
    Peers(#[from] crate::PeersError),
    /// The method refused.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The optimizer refused.
    #[error(transparent)]
    Optimizer(#[from] noprop_kernels::optim::OptimError),
    /// The data refused.
    #[error(transparent)]
    Data(#[from] noprop_data::DataError),
    /// candle refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl TrainError {
    pub(crate) fn reading(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action: "read", path, source }
    }

    pub(crate) fn writing(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action: "write", path, source }
    }
}

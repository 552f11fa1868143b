//! What can stop a training.

use std::fmt;
use std::io;
use std::path::PathBuf;

use noprop_method::{MethodError, Part};

use crate::WeightsError;
use crate::unit::{Tie, Unit};

/// The version that files of units carry.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

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
        part: Part,
        /// Epoch, counted from 1.
        epoch: u32,
        /// Step of the epoch, counted from 1.
        step: u32,
        /// The loss.
        value: f64,
        /// The last good state.
        checkpoint: Checkpoint,
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
    Unit(#[from] UnitError),
    /// The settings of a run that several processes write are not these.
    #[error("{path} was begun with other settings")]
    OtherSettings {
        /// The run directory.
        path: PathBuf,
    },
    /// A method whose blocks train the readout was asked for the readout's own loss.
    #[error("this method has no loss of the readout's own")]
    NoReadoutLoss,
    /// Ranks could not go on together.
    #[error(transparent)]
    Ranks(#[from] RanksError),
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

impl From<Tie> for TrainError {
    fn from(tie: Tie) -> Self {
        UnitError::Tied(tie).into()
    }
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

/// The saved state that a diverged training can go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// Nothing was saved.
    None,
    /// The state in a folder.
    Saved {
        /// The folder.
        path: PathBuf,
        /// Epochs done.
        epoch: u32,
        /// Steps of the next epoch done.
        step: u32,
    },
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no checkpoint had been saved yet"),
            Self::Saved { path, epoch, step } => write!(
                f,
                "the last good checkpoint is {} (after epoch {epoch}, step {step})",
                path.display()
            ),
        }
    }
}

/// Why a saved state was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// There is none.
    #[error("{path} holds no saved state to go on from")]
    Missing {
        /// The run directory.
        path: PathBuf,
    },
    /// There is none of a whole training, but units of it were trained apart.
    #[error("{path} holds a training in units, and no state of a whole one")]
    InUnits {
        /// The run directory.
        path: PathBuf,
    },
    /// `progress.json` cannot be understood.
    #[error("{path} cannot be understood: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A trainer has made other steps than the progress that it is to continue from.
    #[error(
        "the trainer is not at epoch {epoch}, step {step}, from where the run continues: restore the run's state first"
    )]
    OtherPosition {
        /// Epochs done.
        epoch: u32,
        /// Steps of the next epoch done.
        step: u32,
    },
    /// The state belongs to other settings.
    #[error(
        "{path} was saved with other settings than config.toml now holds: undo the change, or start a new run"
    )]
    OtherConfig {
        /// The file.
        path: PathBuf,
    },
}

/// Why units could not be trained apart or put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Another process trains the unit.
    #[error("{path} is being written by another process: {unit} is in training there")]
    Locked {
        /// The unit's folder.
        path: PathBuf,
        /// The unit.
        unit: Unit,
    },
    /// The file belongs to a training with other settings.
    #[error("{path} was written with other settings than the config.toml of the run")]
    OtherSettings {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version, which may have computed otherwise.
    #[error(
        "{path} was written by noprop {found}, this is {VERSION}: train all units with one version"
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// The file's notes cannot be understood.
    #[error("{path} is not a file of a unit: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Units that are not done.
    #[error("{path} cannot be merged yet: {units}")]
    Unfinished {
        /// The run directory.
        path: PathBuf,
        /// Each with how far it is.
        units: String,
    },
    /// The training consists of one unit.
    #[error(transparent)]
    Tied(#[from] Tie),
}

/// Why ranks could not go on together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RanksError {
    /// An exchange is larger than the network takes.
    #[error("an exchange of {numbers} numbers is more than the {most} that go at a time")]
    TooLarge {
        /// The numbers in the exchange.
        numbers: u64,
        /// The most that are allowed.
        most: u64,
    },
    /// A rank sent something else than it should.
    #[error(
        "rank {rank} sent {reason}: all ranks need the same version of noprop and the same settings"
    )]
    Malformed {
        /// The rank.
        rank: usize,
        /// What it sent.
        reason: &'static str,
    },
    /// A rank has ended.
    #[error("rank {rank} is gone")]
    Gone {
        /// The rank.
        rank: usize,
    },
}

//! The errors of a training.

use std::fmt;
use std::io;
use std::path::PathBuf;

use noprop_method::{MethodError, Part};

use crate::WeightsError;
use crate::unit::{Tie, Unit};

/// The version that is written into files of units.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An error that stopped a training, or kept it from beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is outside its range.
    #[error("{name} must be {expected}, got {value}")]
    OutOfRange {
        /// The setting's name, as in the config file.
        name: &'static str,
        /// The allowed values.
        expected: String,
        /// The given value.
        value: String,
    },
    /// The class with this label has no training images, so the classes cannot be balanced.
    #[error(
        "class {0} has no training images (classes count from 0), so its weight cannot be balanced: choose class-weights uniform, \
         or hold out fewer images"
    )]
    NoImagesOfClass(usize),
    /// A loss, or weights or their moments, became NaN or infinite.
    #[error("{} in epoch {epoch}, step {step}; {checkpoint}", fault(*part, *loss))]
    Diverged {
        /// The part that the loss or the weights belong to.
        part: Part,
        /// The epoch, counted from 1.
        epoch: u32,
        /// The step of the epoch, counted from 1.
        step: u32,
        /// The loss; `None` if it is a number, and the weights or their moments are not.
        loss: Option<f64>,
        /// The last good state.
        checkpoint: Checkpoint,
    },
    /// The trainable variable of this name received no gradient: the network does not use it, or cuts it from the graph.
    #[error(
        "`{0}` received no gradient: it would never be trained. Is it used in the network's logits or readout?"
    )]
    MissingGradient(String),
    /// The run directory already exists.
    #[error("{0} already exists")]
    RunExists(PathBuf),
    /// A directory is not a run directory.
    #[error("{path} is not a run directory: {reason}")]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// The reason, such as a missing file.
        reason: String,
    },
    /// Another process is writing the run in this directory.
    #[error("{0} is being written by another process")]
    RunLocked(PathBuf),
    /// A file could not be read, created or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// The action that failed.
        action: FileAction,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Weights could not be read, or do not fit the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The saved state could not be read, or does not fit the run.
    #[error(transparent)]
    State(#[from] StateError),
    /// Units could not be trained separately, or could not be merged.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Several processes write the run in this directory, and it was begun with other settings.
    #[error("{0} was begun with other settings")]
    OtherSettings(PathBuf),
    /// The readout has no loss of its own in this method: the losses of the blocks train it.
    #[error("this method has no separate loss for the readout")]
    NoReadoutLoss,
    /// The ranks could not continue.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// An error of the method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// An error of the optimizer.
    #[error(transparent)]
    Optimizer(#[from] noprop_kernels::optim::OptimError),
    /// An error of the data.
    #[error(transparent)]
    Data(#[from] noprop_data::DataError),
    /// An error of candle.
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
        move |source| Self::File { action: FileAction::Read, path, source }
    }

    pub(crate) fn creating(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action: FileAction::Create, path, source }
    }

    pub(crate) fn writing(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action: FileAction::Write, path, source }
    }
}

/// Returns what became of a part that diverged.
fn fault(part: Part, loss: Option<f64>) -> String {
    match loss {
        Some(loss) => format!("the loss of {part} became {loss}"),
        None => format!("the weights of {part} became NaN or infinite"),
    }
}

/// An action on a file that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAction {
    /// Reading it.
    Read,
    /// Creating it at the beginning of a run, before anything was trained.
    Create,
    /// Writing it in a run that has begun. What was saved before is whole.
    Write,
}

impl fmt::Display for FileAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Write => "write",
        })
    }
}

/// The saved state to which a diverged training can return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// No state was saved.
    None,
    /// A state was saved in a folder.
    Saved {
        /// The folder.
        path: PathBuf,
        /// The number of epochs done.
        epoch: u32,
        /// The number of steps done in the next epoch.
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

/// An error of a saved state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// There is no saved state in this run directory.
    #[error("{0} holds no saved state to resume from")]
    Missing(PathBuf),
    /// There is no state of a whole training in this run directory, but its units were trained separately.
    #[error("{0} holds units that are trained separately, and no state of a whole training")]
    InUnits(PathBuf),
    /// `progress.json` cannot be understood.
    #[error("{path} cannot be understood: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
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
    /// The state in this file was saved with other settings.
    #[error(
        "{0} was saved with other settings than config.toml now holds: undo the change, or start a new run"
    )]
    OtherConfig(PathBuf),
}

/// An error of training units separately or of merging them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Another process is training the unit.
    #[error("{path} is being written by another process: {unit} is in training there")]
    Locked {
        /// The unit's folder.
        path: PathBuf,
        /// The unit.
        unit: Unit,
    },
    /// This file belongs to a training with other settings.
    #[error("{0} was written with other settings than the config.toml of the run")]
    OtherSettings(PathBuf),
    /// The file was written by another version, which may compute other results.
    #[error(
        "{path} was written by noprop {found}, this is {VERSION}: train all units with one version"
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// The version that wrote it.
        found: String,
    },
    /// The weights of an epoch that the unit has done are gone.
    #[error("{path} is missing: {unit} wrote it and cannot be merged without it")]
    EpochLost {
        /// The file.
        path: PathBuf,
        /// The unit.
        unit: Unit,
    },
    /// The file's notes cannot be understood.
    #[error("{path} is not a file of a unit: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Some units are not done.
    #[error("{path} cannot be merged yet: {units}")]
    Unfinished {
        /// The run directory.
        path: PathBuf,
        /// The unfinished units, each with its progress.
        units: String,
    },
    /// The training consists of one unit.
    #[error(transparent)]
    Tied(#[from] Tie),
}

/// An error of the exchange between ranks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RanksError {
    /// An exchange is larger than the limit.
    #[error("an exchange of {numbers} numbers is larger than the limit of {most} numbers")]
    TooLarge {
        /// The count of numbers in the exchange.
        numbers: u64,
        /// The largest count that is allowed.
        most: u64,
    },
    /// A rank sent data of the wrong form.
    #[error(
        "rank {rank} sent {reason}: all ranks need the same version of noprop and the same settings"
    )]
    Malformed {
        /// The rank.
        rank: usize,
        /// The data that it sent.
        reason: &'static str,
    },
    /// The MPI library cannot be used.
    #[error("{0}")]
    Mpi(&'static str),
    /// The rank with this number has ended, or its connection is lost.
    #[error("rank {0} is gone")]
    Gone(usize),
}

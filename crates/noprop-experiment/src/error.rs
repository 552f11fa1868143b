//! The errors of an experiment. Their texts name settings as `config.toml` does, and no command.

use std::borrow::Cow;
use std::path::PathBuf;

use noprop_data::DataError;
use noprop_method::{MethodError, ParameterError};
use noprop_models::ModelError;
use noprop_train::{TrainError, WeightsError};

use crate::device::DeviceError;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why an experiment could not begin, go on or be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting has no use beside the other settings, or does not fit the data.
    #[error("{setting} {reason}")]
    Setting {
        /// Its key in `config.toml`, or the name of an option of a call.
        setting: &'static str,
        /// A phrase that goes on after the key.
        reason: Cow<'static, str>,
    },
    /// A setting, a file or a run cannot be used. The text is the whole reason.
    #[error("{0}")]
    Refused(String),
    /// Another error, and the action in which it occurred.
    #[error("{context}: {source}")]
    At {
        /// The action, or the thing that the error makes unusable.
        context: String,
        /// The error.
        source: Box<Error>,
    },
    /// A new run would lie inside the folder of its pictures.
    #[error("the run {run} would be inside {data}, and be read as pictures")]
    RunInsideData {
        /// The run directory.
        run: PathBuf,
        /// The folder of pictures.
        data: PathBuf,
    },
    /// A new run would replace the one that its first weights come from.
    #[error("the new run would replace the run that its weights come from")]
    ReplacesItsStart,
    /// The folder that a new run would replace does not hold a run.
    #[error("{path} is not a run of noprop, so it is not replaced")]
    NotReplaced {
        /// The folder.
        path: PathBuf,
    },
    /// A run was trained, and its saved state is gone.
    #[error(
        "{run} has trained for {epochs} epoch(s), but its saved state is gone, so it cannot go on"
    )]
    StateLost {
        /// The run directory.
        run: PathBuf,
        /// Epochs in its log.
        epochs: usize,
    },
    /// The blocks of a run were trained together, so they cannot be trained apart as well.
    #[error("{run} was trained as a whole: its blocks cannot be trained apart in the same run")]
    TrainedWhole {
        /// The run directory.
        run: PathBuf,
    },
    /// A run holds units that are not merged yet.
    #[error("the units of {run} are not put together yet")]
    NotMerged {
        /// The run directory.
        run: PathBuf,
    },
    /// A run has not come to its end, where its test is needed.
    #[error("{run} is not finished, so it has no accuracy")]
    NotFinished {
        /// The run directory.
        run: PathBuf,
    },
    /// A run has no units, because it was trained as a whole.
    #[error("{run} was trained as a whole, not in units")]
    NoUnits {
        /// The run directory.
        run: PathBuf,
    },
    /// A run is in the place of one that a reproduction would make.
    #[error("the run {run} {fault}{}", cause(source.as_deref()))]
    InTheWay {
        /// The run directory.
        run: PathBuf,
        /// A phrase that goes on after the run.
        fault: String,
        /// The error that makes it unusable, if there is one.
        source: Option<Box<Error>>,
    },
    /// Two data sets have one name, and the runs of a reproduction are named after them.
    #[error("two data sets are called `{name}`, and runs are named after them")]
    SameName {
        /// The name.
        name: String,
    },
    /// The weights of a training do not fit into memory.
    #[error("the weights of this training need {}, and {} are free", size(*needed), size(*free))]
    TooLarge {
        /// Bytes of the weights.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// The steps of a training do not fit into memory.
    #[error("this training needs about {}, and {} are free", size(*needed), size(*free))]
    ShortOfMemory {
        /// Bytes that it needs.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// A device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file of settings is not what it should be.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// Settings could not be written as TOML.
    #[error(transparent)]
    WriteToml(#[from] toml::ser::Error),
    /// JSON could not be read or written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A text could not be put together.
    #[error(transparent)]
    Format(#[from] std::fmt::Error),
    /// The data refused.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Parameters refused.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// The method refused.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The noise schedule refused.
    #[error(transparent)]
    Schedule(#[from] noprop_schedule::ScheduleError),
    /// Training refused.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Weights could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A figure could not be drawn.
    #[cfg(feature = "figures")]
    #[error(transparent)]
    Plot(#[from] noprop_plot::PlotError),
    /// candle refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Refuses a setting, by its key and the rest of the sentence.
    pub(crate) fn setting(setting: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }

    /// Returns whether a disk could not take what was written, because it is full or read-only.
    pub fn is_unwritable_disk(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let source = match self.root() {
            Self::Io(source) => source,
            #[cfg(feature = "figures")]
            Self::Plot(noprop_plot::PlotError::File { source, .. }) => source,
            _ => return false,
        };
        matches!(source.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
    }

    /// Returns the innermost error, without the actions in which it occurred.
    pub fn root(&self) -> &Self {
        match self {
            Self::At { source, .. } => source.root(),
            other => other,
        }
    }
}

/// The cause of an error, to stand behind it.
fn cause(source: Option<&Error>) -> String {
    source.map_or_else(String::new, |source| format!(": {source}"))
}

/// Bytes in words: as gigabytes, or as megabytes where that would be less than one.
pub(crate) fn size(bytes: u64) -> String {
    match bytes as f64 {
        few if few < 1e9 => format!("{:.0} MB", few / 1e6),
        many => format!("{:.1} GB", many / 1e9),
    }
}

/// Names the action in which an error occurred.
pub(crate) trait Context<T> {
    /// Adds `context`.
    fn context(self, context: impl Into<String>) -> Result<T>;

    /// Adds a context that is put together only if there is an error.
    fn with_context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, context: impl Into<String>) -> Result<T> {
        self.with_context(|| context)
    }

    fn with_context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T> {
        let at = |error: E| Error::At { context: context().into(), source: Box::new(error.into()) };
        self.map_err(at)
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, context: impl Into<String>) -> Result<T> {
        self.with_context(|| context)
    }

    fn with_context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.ok_or_else(|| Error::Refused(context().into()))
    }
}

/// Returns [`Error::Refused`] with a formatted text.
macro_rules! bail {
    ($($word:tt)*) => {
        return Err($crate::Error::Refused(format!($($word)*)))
    };
}

/// Returns [`Error::Refused`] with a formatted text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($word:tt)*) => {
        if !$condition {
            $crate::error::bail!($($word)*)
        }
    };
}

pub(crate) use {bail, ensure};

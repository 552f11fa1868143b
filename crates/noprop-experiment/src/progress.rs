//! The progress of a call, for a caller that shows it.

use std::fmt;
use std::path::{Path, PathBuf};

use noprop_data::Notice;
use noprop_method::ScheduleKind;
use noprop_train::{Observer, Silent};

use crate::error::size;
use crate::ink::Opposite;

/// Sees the progress of a call; as an [`Observer`] it sees the steps of a training, and may stop it.
pub trait Progress: Observer {
    /// Something that does not stop the call.
    fn remark(&mut self, remark: Remark);

    /// A training begins, or goes on, in the run directory `run`.
    fn begin(&mut self, run: &Path, length: Length) {
        let _ = (run, length);
    }

    /// The steps of a training are over; the test may follow.
    fn end(&mut self) {}
}

impl Progress for Silent {
    fn remark(&mut self, _: Remark) {}
}

/// The length of a training, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Epochs of the whole training.
    pub epochs: u32,
    /// Steps of an epoch.
    pub steps_per_epoch: u32,
    /// Steps that are done already.
    pub done: u64,
}

/// Something that does not stop a call. Its text names settings as `config.toml` does, and no command.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Remark {
    /// A step of the call.
    Note(String),
    /// A result must not be read without this.
    Warning(String),
    /// The settings that were fitted to the data.
    Fitted(String),
    /// Remarks on a data set.
    Data(Vec<Notice>),
    /// No data set was named, and MNIST is not there: the bundled sample takes its place.
    SampleInstead {
        /// The folder in which MNIST would be.
        folder: PathBuf,
    },
    /// Training starts from noise that still holds a part of the label.
    LabelInNoise {
        /// KL(q(z_0|y) ‖ N(0, I)) in nats.
        kl: f64,
        /// The noise schedule.
        schedule: ScheduleKind,
    },
    /// A training probably needs more memory than is free.
    Memory {
        /// Bytes that it needs.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// A picture of a folder cannot be used and has no answer.
    LeftOut(String),
    /// Files of folders that are not pictures.
    PassedOver(Vec<PathBuf>),
    /// Pictures look like the opposite of those that the run learned.
    Opposite(Opposite),
    /// The command that a reproduction carries out next.
    Command(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(text)
            | Self::Warning(text)
            | Self::Fitted(text)
            | Self::LeftOut(text)
            | Self::Command(text) => f.write_str(text),
            Self::Data(notices) => {
                let all: Vec<String> = notices.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("\n"))
            }
            Self::SampleInstead { folder } => write!(
                f,
                "there is no MNIST in {}: this trains on the bundled sample of 5,000 images",
                folder.display()
            ),
            Self::LabelInNoise { kl, schedule } => write!(
                f,
                "KL(q(z_0|y) || N(0, I)) is {kl:.2} nats with schedule {schedule}: training starts from noise that still holds a part of the label, and classification does not; the schedule cosine has no such gap (docs/method.md)"
            ),
            Self::Memory { needed, free } => write!(
                f,
                "this training needs about {}, and {} are free",
                size(*needed),
                size(*free)
            ),
            Self::PassedOver(paths) => {
                let all: Vec<String> =
                    paths.iter().map(|path| path.display().to_string()).collect();
                f.write_str(&all.join("\n"))
            }
            Self::Opposite(opposite) => opposite.fmt(f),
        }
    }
}

//! The commands of a reproduction, and the worker that carries them out.

use std::path::{Path, PathBuf};

use noprop_data::{DatasetName, Half};
use noprop_method::SamplerKind;
use noprop_train::Existing;

use super::target::Change;
use crate::error::Error;
use crate::preset::Preset;
use crate::progress::Remark;
use crate::settings::Setup;
use crate::source::Source;

/// A classification with a trained network, from noise of its own for every seed.
#[derive(Debug, Clone, Copy)]
pub struct Classification {
    /// The images.
    pub images: Images,
    /// The sampler.
    pub sampler: SamplerKind,
    /// The seed.
    pub seed: u32,
}

/// The images that are classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Those that the network was trained on.
    Training,
    /// The test images.
    Test,
}

impl Images {
    /// The half of the data set.
    pub fn half(self) -> Half {
        match self {
            Self::Training => Half::Train,
            Self::Test => Half::Test,
        }
    }
}

/// One training of an item.
#[derive(Debug, Clone)]
pub struct Training {
    /// The images.
    pub data: Source,
    /// The preset of its settings.
    pub preset: Preset,
    /// The change of an ablation.
    pub change: Change,
    /// The solver's steps in place of the preset's.
    pub steps: Option<u32>,
    /// The number of images held out, in place of the preset's.
    pub validation: Option<usize>,
    /// The epochs.
    pub epochs: u32,
    /// The seed.
    pub seed: u32,
    /// The run directory.
    pub run: PathBuf,
    pub(super) expected: Setup,
}

impl Training {
    /// The settings of the run, before they are fitted to the data.
    pub fn expected(&self) -> &Setup {
        &self.expected
    }
}

/// A command of a reproduction.
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// A new training.
    Train {
        /// Its settings and its run.
        training: &'a Training,
        /// The treatment of a run that is there already.
        existing: Existing,
    },
    /// A training that goes on from its saved state.
    Resume {
        /// Its run.
        run: &'a Path,
        /// Its images.
        data: &'a Source,
    },
    /// A classification with a trained network.
    Classify {
        /// Its run.
        run: &'a Path,
        /// Its images.
        data: &'a Source,
        /// The images of the data set, the sampler and the seed.
        asked: Classification,
        /// The solver's steps in place of the run's.
        steps: Option<u32>,
    },
}

/// Carries out the commands of a reproduction, each in a process of its own: a row is then what its command is, and a peak of memory
/// belongs to one training.
pub trait Worker {
    /// Carries out a command to its end. A classification returns its answer as JSON, an object with the key `accuracy`.
    ///
    /// # Errors
    /// [`Halt`].
    fn run(&self, command: Command<'_>) -> Result<String, Halt>;

    /// The command as one types it.
    fn typed(&self, command: Command<'_>) -> String;

    /// The command that gets a data set, in a phrase such as "run … first".
    fn fetching(&self, name: DatasetName) -> String;

    /// Returns whether somebody asked to stop.
    fn stop_is_asked(&self) -> bool;

    /// Something that does not stop the reproduction.
    fn remark(&self, remark: Remark);
}

/// The reason why the work on a row did not go on.
#[derive(Debug)]
pub enum Halt {
    /// Somebody asked to stop: the whole reproduction stops.
    Stopped,
    /// The row's command failed; other rows are not concerned.
    Refused(Refusal),
    /// The reproduction itself cannot go on.
    Broken(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// The failure of a command.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its exit code: 2 for what the user can mend.
    pub code: i32,
    /// Its error.
    pub line: String,
}

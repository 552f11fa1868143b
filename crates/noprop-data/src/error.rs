//! The errors of data sets and pictures.

mod content;
mod fault;

use std::io;
use std::path::{Path, PathBuf};

pub use content::Content;
pub(crate) use fault::MAX_FILE;
pub use fault::{MAX_PIXELS, MAX_SIDE, PictureFault};

/// The reason why a data set or a picture cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gives.
        source: io::Error,
    },
    /// The content of a file breaks the rules of its format.
    #[error("{path} is not a usable data file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        reason: String,
    },
    /// Files of a data set are missing.
    #[error("{name} is not complete in {folder}: {} missing", missing.join(", "))]
    Missing {
        /// The data set.
        name: &'static str,
        /// The folder where its files should be.
        folder: PathBuf,
        /// The names of the missing files.
        missing: Vec<String>,
    },
    /// Images, labels or settings do not fit each other; the text names the two things that do not.
    #[error("{0}")]
    Mismatch(String),
    /// A validation set that is empty, or leaves nothing to train on.
    #[error("validation must be between 1 and {max}, got {asked}")]
    Holdout {
        /// The number of images asked for.
        asked: usize,
        /// The largest number that there can be.
        max: usize,
    },
    /// A change of training images that cannot be made.
    #[error("augment must be {expected}, got {value}")]
    Augment {
        /// The change asked for.
        value: String,
        /// The changes that can be made.
        expected: String,
    },
    /// A share that leaves nothing to train on, or nothing to test on.
    #[error("split must be above 0 and below 1, got {0}")]
    Share(f64),
    /// A folder of pictures cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The reason, and how to mend it.
        reason: String,
        /// The setting that helps, if one does.
        remedy: Option<Remedy>,
    },
    /// A class without a training image.
    #[error("class number {class} has no training image that could be its prototype")]
    EmptyClass {
        /// The number of the class, from 0.
        class: usize,
    },
    /// A number that is not the number of an image.
    #[error("there is no image {image} among {count}")]
    NoImage {
        /// The number.
        image: u32,
        /// The number of images.
        count: usize,
    },
    /// A file cannot be used as a picture.
    #[error("cannot use {path} as a picture: {fault}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// The reason.
        fault: PictureFault,
    },
    /// A data set of the Hugging Face Hub cannot be used.
    #[cfg(feature = "candle-datasets")]
    #[error("{id} cannot be loaded from the hub: {reason}")]
    Hub {
        /// The data set, as `owner/name`.
        id: String,
        /// The reason.
        reason: String,
    },
    /// An error of candle.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A setting that helps against an error. A program names it as its user knows it: the texts of errors name no flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Fetch the data set of this name.
    Fetch(&'static str),
    /// Scale the pictures to one size, with [`FolderOptions::size`](crate::FolderOptions::size).
    Scale,
    /// Scale the pictures to a smaller size, or use fewer.
    ScaleDown,
    /// Test on a share of each class, with [`TestPictures::Share`](crate::TestPictures::Share).
    Share,
    /// Do not ask for a share to test on.
    NoShare,
    /// Hold out fewer training images.
    HoldOutFewer,
}

impl DataError {
    /// The setting that helps, if one does.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Missing { name, .. } => Some(Remedy::Fetch(name)),
            Self::Folder { remedy, .. } => *remedy,
            Self::EmptyClass { .. } => Some(Remedy::HoldOutFewer),
            _ => None,
        }
    }

    /// A file that breaks the rules of its format.
    pub(crate) fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), reason: reason.into() }
    }

    /// A folder or file among pictures that cannot be used.
    pub(crate) fn folder(path: &Path, reason: impl Into<String>) -> Self {
        Self::Folder { path: path.into(), reason: reason.into(), remedy: None }
    }

    /// The same, with a setting that helps.
    pub(crate) fn folder_with(path: &Path, reason: impl Into<String>, remedy: Remedy) -> Self {
        Self::Folder { path: path.into(), reason: reason.into(), remedy: Some(remedy) }
    }
}

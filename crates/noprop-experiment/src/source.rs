//! The source of images: a known data set, a folder of a person's pictures, or the memory of a program.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use noprop_data::{Dataset, DatasetName, FolderOptions, load, open_folder};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A known data set by its name, `folder:PATH`, or `memory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// A known data set.
    Known(DatasetName),
    /// A folder of pictures.
    Folder(PathBuf),
    /// Images that a program gave: [`crate::Stepwise::of_images`]. They are not kept.
    Memory,
}

/// The name of images that a program gave.
const MEMORY: &str = "memory";

impl Source {
    /// Loads the images; `options` are for a folder.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if files are missing or are not what they should be; [`crate::Error::Refused`] for images that a program
    /// gave.
    pub fn load(&self, data_dir: &Path, options: &FolderOptions) -> Result<Dataset> {
        Ok(match self {
            Self::Known(name) => load(*name, data_dir)?,
            Self::Folder(path) => open_folder(path, options)?,
            Self::Memory => return Err(Self::gone()),
        })
    }

    /// The error of images that a program gave.
    pub(crate) fn gone() -> Error {
        Error::Refused(format!(
            "the images of the data set `{MEMORY}` were given by a program, and are not kept: name a known data set, or folder:PATH"
        ))
    }

    /// A short name, for titles and folders.
    pub fn name(&self) -> String {
        match self {
            Self::Known(name) => name.to_string(),
            Self::Folder(path) => path
                .file_name()
                .map_or_else(|| "folder".into(), |name| name.to_string_lossy().into()),
            Self::Memory => MEMORY.into(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => name.fmt(f),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Memory => f.write_str(MEMORY),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.strip_prefix("folder:") {
            Some("") => Err("name the folder, as in folder:PATH".into()),
            Some(path) if path.starts_with("~/") => Err(format!(
                "the shell does not replace ~ after folder: - use folder:$HOME{}",
                &path[1..]
            )),
            Some(path) => Ok(Self::Folder(path.into())),
            None if name == MEMORY => Ok(Self::Memory),
            None => {
                name.parse().map(Self::Known).map_err(|error| format!("{error}, or folder:PATH"))
            }
        }
    }
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

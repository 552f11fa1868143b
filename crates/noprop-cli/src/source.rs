//! Where images come from: a known data set, or a folder of a person's own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;
use noprop_data::{Dataset, DatasetName, FolderOptions, Notice, load, open_folder};
use serde::{Deserialize, Serialize};

use crate::output::note;
use crate::shell::shown;

/// Pictures that were left out and are named one by one.
const NAMED: usize = 10;

/// A known data set by its name, or `folder:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    Known(DatasetName),
    Folder(PathBuf),
}

impl Source {
    /// Loads it; `options` are for a folder.
    pub fn load(&self, data_dir: &Path, options: &FolderOptions) -> Result<Dataset> {
        Ok(match self {
            Self::Known(name) => load(*name, data_dir)?,
            Self::Folder(path) => open_folder(path, options)?,
        })
    }

    /// A short name, for titles and folders.
    pub fn name(&self) -> String {
        match self {
            Self::Known(name) => name.to_string(),
            Self::Folder(path) => path
                .file_name()
                .map_or_else(|| "folder".into(), |name| name.to_string_lossy().into()),
        }
    }
}

/// Prints the remarks on a data set.
pub fn announce(notices: &[Notice]) {
    let left_out = |notice: &&Notice| matches!(notice, Notice::LeftOut(_));
    let (files, others): (Vec<_>, Vec<_>) = notices.iter().partition(left_out);
    for notice in files.iter().take(NAMED).chain(&others) {
        note!("warning: {}", shown(&notice.to_string()));
    }
    if files.len() > NAMED {
        note!("warning: left out: {} more files", files.len() - NAMED);
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => name.fmt(f),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.strip_prefix("folder:") {
            Some("") => Err("say which folder, as in folder:PATH".into()),
            Some(path) if path.starts_with("~/") => Err(format!(
                "the shell does not replace ~ after folder: - use folder:$HOME{}",
                &path[1..]
            )),
            Some(path) => Ok(Self::Folder(path.into())),
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

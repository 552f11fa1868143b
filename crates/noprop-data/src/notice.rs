//! Remarks on a data set that can be used but has something unusual in it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::DataError;

/// The most files of a kind that are named.
const NAMED: usize = 3;

/// A remark on a data set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// A file that is not a usable picture was left out, as the options allow.
    LeftOut(Arc<DataError>),
    /// These files and folders, which operating systems and archives leave behind, were passed over.
    Litter(Vec<PathBuf>),
    /// A folder inside a class was not read: the pictures of a class must be in its folder itself.
    Nested {
        /// The folder.
        path: PathBuf,
        /// The number of its files.
        files: usize,
    },
    /// These pictures, which lie outside of every class, were not read.
    Loose(Vec<PathBuf>),
    /// These folders, beside those for training and testing, were not read.
    Beside(Vec<PathBuf>),
    /// The names of these classes differ in upper and lower case alone.
    Alike(Vec<PathBuf>),
    /// Files of a known data set differ from the published ones.
    Unpublished {
        /// The data set.
        name: &'static str,
        /// The names of the files.
        files: Vec<&'static str>,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut(error) => write!(f, "left out: {error}"),
            Self::Litter(paths) => {
                write!(f, "passed over, since systems leave such files behind: {}", some(paths))
            }
            Self::Nested { path, files } => write!(
                f,
                "not read: the folder {} inside a class, with {files} file(s); move its pictures up into the class",
                path.display()
            ),
            Self::Loose(paths) => {
                write!(f, "not read, since they are outside of every class: {}", some(paths))
            }
            Self::Beside(paths) => {
                write!(f, "not read, since they are neither train, test nor val: {}", some(paths))
            }
            Self::Alike(paths) => write!(
                f,
                "these are different classes, although their names differ in upper and lower case alone: {}",
                some(paths)
            ),
            Self::Unpublished { name, files } => write!(
                f,
                "these are not the published files of {name} (another SHA-256): {}",
                files.join(", ")
            ),
        }
    }
}

fn some(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    first_few(&names, NAMED)
}

/// The first `most` names, and the number of the others.
pub(crate) fn first_few(names: &[String], most: usize) -> String {
    match names.split_at_checked(most) {
        Some((named, [_, ..])) => {
            format!("{} and {} more", named.join(", "), names.len() - most)
        }
        _ => names.join(", "),
    }
}

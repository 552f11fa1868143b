//! Whether files are still those that were read.

use std::path::PathBuf;
use std::time::SystemTime;

/// The lengths and times of files; nothing for one that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<(u64, Option<SystemTime>)>>);

impl Stamp {
    /// The stamp of `files` as they are now.
    pub fn of(files: &[PathBuf]) -> Self {
        let stamp = |file: &PathBuf| {
            let metadata = file.metadata().ok()?;
            Some((metadata.len(), metadata.modified().ok()))
        };
        Self(files.iter().map(stamp).collect())
    }
}

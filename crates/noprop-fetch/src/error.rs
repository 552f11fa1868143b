//! The errors of a fetch.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The reason why a data set could not be fetched. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The data set is bundled with `noprop-data`.
    #[error("{name} comes with the program: there is nothing to fetch")]
    Bundled {
        /// The data set.
        name: &'static str,
    },
    /// The folder given as a mirror does not exist.
    #[error("{path} is not a folder")]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Another fetch writes to the same folder.
    #[error("{folder} is being fetched by another command; wait for it")]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {path}: {source}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The reason that the operating system gives.
        source: io::Error,
    },
    /// No source had the right bytes.
    #[error("cannot get {file}: {}", list(attempts))]
    Exhausted {
        /// The file.
        file: String,
        /// The sources that were tried, and why each failed.
        attempts: Vec<Attempt>,
    },
}

impl FetchError {
    pub(crate) fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.into(), source }
    }

    /// Returns true if the request itself is wrong, so that a program should exit with 2 rather than 1.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Bundled { .. } | Self::NoFolder { .. })
    }
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A source that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from}: {fault}")]
pub struct Attempt {
    /// The source.
    pub from: String,
    /// The reason.
    pub fault: Fault,
}

/// The reason why a source failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The folder does not have the file.
    #[error("the file is not there, packed or unpacked")]
    NotThere,
    /// The folder has the file, but it cannot be read, for the operating system's reason.
    #[error("it cannot be read ({0})")]
    Unreadable(String),
    /// The server refuses, with this status code of HTTP.
    #[error("the server answers {0}")]
    Status(u16),
    /// There is no connection, or none that can be trusted, for the network's reason.
    #[error("no connection ({0})")]
    Unreachable(String),
    /// The server did not send anything in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke off several times. The bytes that have arrived, of this number, are kept.
    #[error("the connection broke after {0} bytes; the same command continues from there")]
    Broken(u64),
    /// The server sent another part of the file.
    #[error("the server answers with another part of the file than was asked for")]
    WrongRange,
    /// More bytes than the file can have.
    #[error("it is larger than the {0} bytes it can have")]
    Oversized(u64),
    /// Fewer bytes than the file must have.
    #[error("{file} ends after {got} of {expected} bytes")]
    Truncated {
        /// The unpacked file.
        file: String,
        /// The bytes that there are.
        got: u64,
        /// The bytes that there must be.
        expected: u64,
    },
    /// The right number of bytes, but not the right ones.
    #[error("{file} has the wrong SHA-256: {got}, not {expected}")]
    WrongHash {
        /// The unpacked file.
        file: String,
        /// Its hash.
        got: String,
        /// The hash it must have.
        expected: String,
    },
    /// The packing is damaged, for the unpacker's reason.
    #[error("it cannot be unpacked ({0})")]
    Damaged(String),
    /// The archive lacks this file.
    #[error("{0} is not in the archive")]
    Incomplete(String),
}

/// The way in which an attempt fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The next source is tried.
    #[error(transparent)]
    Source(#[from] Fault),
    /// The whole fetch ends.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// The text of an error on one line.
pub(crate) fn one_line(error: &dyn fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

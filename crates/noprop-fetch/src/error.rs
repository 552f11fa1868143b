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
    let each: Vec<_> = attempts.iter().map(ToString::to_string).collect();
    each.join("; ")
}

/// A source that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The source.
    pub from: String,
    /// The reason.
    pub fault: Fault,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.from, self.fault)
    }
}

/// The reason why a source failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The folder does not have the file.
    #[error("the file is not there, packed or unpacked")]
    NotThere,
    /// The folder has the file, but it cannot be read.
    #[error("it cannot be read ({reason})")]
    Unreadable {
        /// The reason that the operating system gives.
        reason: String,
    },
    /// The server refuses.
    #[error("the server answers {status}")]
    Status {
        /// The status code of HTTP.
        status: u16,
    },
    /// There is no connection, or none that can be trusted.
    #[error("no connection ({reason})")]
    Unreachable {
        /// The reason that the network gives.
        reason: String,
    },
    /// The server did not send anything in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke off several times.
    #[error("the connection broke after {got} bytes; the same command continues from there")]
    Broken {
        /// The bytes that have arrived and are kept.
        got: u64,
    },
    /// The server sent another part of the file.
    #[error("the server answers with another part of the file than was asked for")]
    WrongRange,
    /// More bytes than the file can have.
    #[error("it is larger than the {limit} bytes it can have")]
    Oversized {
        /// The limit in bytes.
        limit: u64,
    },
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
    /// The packing is damaged.
    #[error("it cannot be unpacked ({reason})")]
    Damaged {
        /// The reason that the unpacker gives.
        reason: String,
    },
    /// The archive lacks a file.
    #[error("{file} is not in the archive")]
    Incomplete {
        /// The file.
        file: String,
    },
}

/// The way in which an attempt fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The next source is tried.
    Source(Fault),
    /// The whole fetch ends.
    Fetch(FetchError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Source(fault)
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

/// The text of an error on one line.
pub(crate) fn one_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

//! What can go wrong while a data set is fetched.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a data set could not be fetched. The text is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is nothing to fetch.
    #[error("{name} comes with the program: there is nothing to fetch")]
    Bundled {
        /// The data set.
        name: &'static str,
    },
    /// The folder given as a mirror is not there.
    #[error(
        "{path} is no folder: --mirror takes a folder that holds the files, or an address that starts with https://"
    )]
    NoFolder {
        /// What was given.
        path: PathBuf,
    },
    /// Another fetch writes to the same folder.
    #[error("{folder} is being fetched by another command; wait for it")]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk refuses.
    #[error("cannot write {path}: {source}{}", advice(source))]
    Disk {
        /// What was being written.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// No source had the right bytes.
    #[error(
        "cannot get {file}: {}; check the network, or give another source with --mirror URL-OR-DIR",
        list(attempts)
    )]
    Exhausted {
        /// The file.
        file: String,
        /// What was tried.
        attempts: Vec<Attempt>,
    },
}

impl FetchError {
    pub(super) fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.into(), source }
    }

    /// Whether what was asked for cannot be: exit code 2 rather than 1.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Bundled { .. } | Self::NoFolder { .. })
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room, or choose another place with --data-dir"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            "; choose another place with --data-dir"
        }
        _ => "",
    }
}

fn list(attempts: &[Attempt]) -> String {
    let each: Vec<_> = attempts.iter().map(ToString::to_string).collect();
    each.join("; ")
}

/// One source that did not work out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The source.
    pub from: String,
    /// Why not.
    pub fault: Fault,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.from, self.fault)
    }
}

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The folder does not hold the file.
    #[error("the file is not there, packed or unpacked")]
    NotThere,
    /// The folder holds it, but it cannot be read.
    #[error("it cannot be read ({reason})")]
    Unreadable {
        /// The operating system's reason.
        reason: String,
    },
    /// The server refuses.
    #[error("the server answers {status}")]
    Status {
        /// HTTP's status code.
        status: u16,
    },
    /// No connection, or none that can be trusted.
    #[error("no connection ({reason})")]
    Unreachable {
        /// The network's reason.
        reason: String,
    },
    /// The server is silent.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke off, again and again.
    #[error("the connection broke after {got} bytes; the same command goes on from there")]
    Broken {
        /// Bytes that are here and kept.
        got: u64,
    },
    /// The answer makes no sense.
    #[error("the server answers with another part of the file than was asked for")]
    WrongRange,
    /// More bytes than the file can have.
    #[error("it is larger than the {limit} bytes it can have")]
    Oversized {
        /// The bound.
        limit: u64,
    },
    /// Fewer bytes than the file must have.
    #[error("{file} ends after {got} of {expected} bytes")]
    Truncated {
        /// The unpacked file.
        file: String,
        /// Bytes there are.
        got: u64,
        /// Bytes there must be.
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
    /// It is not packed as it should be.
    #[error("it cannot be unpacked ({reason})")]
    Damaged {
        /// The unpacker's reason.
        reason: String,
    },
    /// The archive lacks a file.
    #[error("{file} is not in the archive")]
    Incomplete {
        /// The file.
        file: String,
    },
}

/// How one attempt ends badly: with the next source, or at once.
#[derive(Debug)]
pub(super) enum Step {
    Fault(Fault),
    Stop(FetchError),
}

impl From<Fault> for Step {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<FetchError> for Step {
    fn from(error: FetchError) -> Self {
        Self::Stop(error)
    }
}

/// An error's text on one line.
pub(super) fn one_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

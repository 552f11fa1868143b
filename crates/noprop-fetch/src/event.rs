//! The events of a fetch, for a program that shows its progress.

use std::path::Path;

use crate::error::Fault;

/// An event of a fetch.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file begins to arrive, or continues to.
    Begin {
        /// The name of the file at the source.
        file: &'a str,
        /// The source.
        from: &'a str,
        /// Bytes that an earlier attempt has left.
        done: u64,
        /// The size in bytes, if the source gives it.
        total: Option<u64>,
    },
    /// More of the file has arrived.
    Advance {
        /// The number of bytes that have come since the last event.
        bytes: u64,
    },
    /// A source failed. The next one is tried, if there is one.
    Failed {
        /// The name of the file at the source.
        file: &'a str,
        /// The source.
        from: &'a str,
        /// The reason.
        fault: &'a Fault,
    },
    /// A file of the same name but with other content was in the way. It is kept under another name.
    SetAside {
        /// The new path of the file.
        path: &'a Path,
    },
}

/// A receiver of events. It is called often and should be quick.
pub(crate) type Watch<'a> = dyn FnMut(Event<'_>) + 'a;

//! The errors of figures.

use std::io;
use std::path::PathBuf;

/// The reason why a figure was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// There is nothing to draw.
    #[error("nothing to draw: {what}")]
    Empty {
        /// The missing content.
        what: &'static str,
    },
    /// A picture's bytes do not fit its size.
    #[error(
        "a picture of {width} x {height} pixels with {channels} channels does not hold {bytes} bytes"
    )]
    Picture {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// 1 or 3.
        channels: u32,
        /// Bytes given.
        bytes: usize,
    },
    /// The drawing library refused.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

//! Errors.

use std::io;
use std::path::PathBuf;

use noprop_method::MethodError;

/// A result whose error is [`ExportError`].
pub type Result<T, E = ExportError> = std::result::Result<T, E>;

/// The reason why a network could not be written as ONNX.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A setting of the run has no form in ONNX here.
    #[error("{setting} {value} cannot be written as ONNX by this version")]
    Unsupported {
        /// Its key in `config.toml`.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// The file would be larger than a protocol buffer can be.
    #[error("the file would have {} MB, and an ONNX file has at most {} MB", bytes / 1_000_000, most / 1_000_000)]
    TooLarge {
        /// Bytes of its tensors.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The network lacks a tensor that the graph needs.
    #[error("the network has no tensor `{0}`, or one of another shape")]
    Missing(String),
    /// The network has a tensor that the graph does not use, so the graph would compute something else.
    #[error("the graph has no place for the tensor `{0}`")]
    Unused(String),
    /// The steps of the chain contradict each other. This is a fault in this crate.
    #[error("the steps of the chain contradict each other")]
    Steps,
    /// The file exists.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The run refused.
    #[error(transparent)]
    Run(#[from] noprop_experiment::Error),
    /// The method refused.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// candle refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

//! Errors as Python's exceptions.

use noprop_experiment::Error;
use noprop_train::TrainError;
use pyo3::exceptions::{PyException, PyFileExistsError, PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    noprop,
    NoPropError,
    PyException,
    "A training that failed, or weights that cannot be used."
);

/// The exception for what a caller gave: settings or arrays.
pub fn of_input(error: Error) -> PyErr {
    match error.root() {
        Error::TooLarge { .. } | Error::ShortOfMemory { .. } => {
            PyMemoryError::new_err(error.to_string())
        }
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// The exception for work that failed.
pub fn of_work(error: Error) -> PyErr {
    NoPropError::new_err(error.to_string())
}

/// The exception for a run that could not be written.
pub fn of_writing(error: Error) -> PyErr {
    let text = error.to_string();
    let of_system = |source: &std::io::Error| match source.raw_os_error() {
        // With the number Python makes the right class, such as PermissionError.
        Some(number) => PyOSError::new_err((number, text.clone())),
        None => PyOSError::new_err(text.clone()),
    };
    match error.root() {
        Error::Train(TrainError::RunExists(_)) => PyFileExistsError::new_err(text),
        Error::Train(TrainError::File { source, .. }) | Error::Io(source) => of_system(source),
        _ => NoPropError::new_err(text),
    }
}

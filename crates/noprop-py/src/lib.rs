//! The extension module of the Python package `noprop`: a training on arrays, and a model that answers. The estimator itself is Python,
//! in `python/noprop/`.
//!
//! Without the feature `python` the crate is empty, so that the workspace builds without Python.
#![cfg(feature = "python")]

mod arrays;
mod call;
mod errors;
mod model;
mod sample;
mod training;

use pyo3::prelude::*;

/// Returns the module, which Python imports as `noprop._noprop`.
#[pymodule]
mod _noprop {
    #[pymodule_export]
    use crate::errors::NoPropError;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::sample::mnist_sample;
    #[pymodule_export]
    use crate::training::Training;
}

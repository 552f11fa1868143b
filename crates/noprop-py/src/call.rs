//! Calls that compute: without Python's lock, on their own threads, and without a panic that reaches Python.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors::NoPropError;

/// The most threads of a call: each takes memory before it does anything.
const MAX_THREADS: usize = 512;

/// The threads of a call or of a training. They belong to it, so that a process that was forked has its own.
pub struct Threads(ThreadPool);

impl Threads {
    /// As many threads as asked for, else one for each core.
    pub fn new(asked: Option<NonZeroUsize>) -> PyResult<Self> {
        let count = asked.map_or(0, NonZeroUsize::get);
        if count > MAX_THREADS {
            let reason = format!("threads must be between 1 and {MAX_THREADS}, got {count}");
            return Err(PyValueError::new_err(reason));
        }
        let pool = ThreadPoolBuilder::new().num_threads(count).build();
        pool.map(Self).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// Does `work` on these threads while other threads of Python run.
    ///
    /// # Errors
    /// [`NoPropError`] if it panics.
    pub fn detached<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce() -> T + Send,
    ) -> PyResult<T> {
        py.detach(|| catch_unwind(AssertUnwindSafe(|| self.0.install(work)))).map_err(
            |panic: Box<dyn Any + Send>| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let text = text.unwrap_or("no reason is known");
                NoPropError::new_err(format!("this is a fault of noprop: {text}"))
            },
        )
    }
}

//! How many threads the whole process computes with.
//!
//! Our kernels and candle's matrix products run on rayon's global pool; candle's element-wise ops have a pool of their
//! own. Both read their size from the environment when they start, so it has to be said before the first tensor.
//!
//! candle's pool is set to one thread: between two of its ops its workers wait actively, and take a core away from the
//! kernels (a training step on two cores took 15 ms with its two threads, 12 ms with one).
//!
//! A program that does its work inside [`rayon::scope`] runs on a thread of the pool and hands work over at less cost.

use std::num::NonZeroUsize;

/// Why the number of threads could not be set.
#[derive(Debug, thiserror::Error)]
pub enum ThreadsError {
    /// Other threads exist, so changing the environment could race with them reading it.
    #[error(
        "the number of compute threads must be set before any other thread starts, but {running} are running; \
         set RAYON_NUM_THREADS and CANDLE_NUM_THREADS in the environment instead"
    )]
    TooLate {
        /// Threads in the process.
        running: usize,
    },
    /// The thread pool could not be started.
    #[error("could not start the thread pool: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
}

/// Makes the whole process compute with `threads` threads. Call it first thing in `main`.
///
/// Sets `RAYON_NUM_THREADS` to `threads` and `CANDLE_NUM_THREADS` to 1 for the process and its children, and starts
/// rayon's global pool.
/// Results do not depend on the number.
///
/// # Errors
/// [`ThreadsError::TooLate`] when other threads exist (checked on Linux), [`ThreadsError::Pool`] when the pool exists
/// already or cannot start.
pub fn configure(threads: NonZeroUsize) -> Result<(), ThreadsError> {
    if let Some(running) = running_threads()
        && running > 1
    {
        return Err(ThreadsError::TooLate { running });
    }
    set_for_process("RAYON_NUM_THREADS", &threads.to_string());
    set_for_process("CANDLE_NUM_THREADS", "1");
    rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global()?;
    Ok(())
}

#[expect(unsafe_code, reason = "candle reads its pool size from the environment only")]
fn set_for_process(name: &str, value: &str) {
    // SAFETY: the environment may only be changed while no other thread reads it. On Linux this is the only thread,
    // as the caller has just checked; elsewhere `configure` is documented as the first thing in `main`.
    unsafe { std::env::set_var(name, value) }
}

/// Threads of this process, where the system says.
fn running_threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test harness has threads of its own, so a change of the environment must be refused, and not made.
    #[test]
    #[cfg(target_os = "linux")]
    fn refuses_once_other_threads_run() {
        let other = std::thread::spawn(std::thread::park);
        let refused = configure(NonZeroUsize::MIN);
        assert!(matches!(refused, Err(ThreadsError::TooLate { running }) if running > 1));
        other.thread().unpark();
        other.join().unwrap();
    }
}

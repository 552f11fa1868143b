//! Requests to stop: Ctrl-C, SIGTERM of a job scheduler, SIGHUP of a terminal that was closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use noprop_experiment::reproduce::{Processes, STOP_WITH_STDIN};

/// A request this soon after the first is the first one again: terminals, `timeout` and job schedulers send a signal to a process and
/// once more to its group.
const SAME_REQUEST: Duration = Duration::from_millis(500);

/// This program's commands in processes of their own, to which requests to stop and the end of stdin are handed on.
///
/// # Errors
/// As of [`on_request`], or the operating system's, if it does not name this program.
pub fn processes() -> Result<Processes> {
    let requests = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&requests);
    on_request(move |number| counted.store(number, Ordering::SeqCst))?;
    let counted = Arc::clone(&requests);
    on_end_of_stdin(move || {
        counted.fetch_max(1, Ordering::SeqCst);
    });
    Ok(Processes::new(std::env::current_exe()?, requests))
}

/// Calls `then` once, when stdin ends, if [`STOP_WITH_STDIN`] is set.
pub fn on_end_of_stdin(then: impl FnOnce() + Send + 'static) {
    if std::env::var_os(STOP_WITH_STDIN).is_none() {
        return;
    }
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        then();
    });
}

/// Calls `then` with 1 for the first request, 2 for the second, and so on, from a thread of its own.
///
/// # Errors
/// The operating system's, if there is a handler already.
pub fn on_request(mut then: impl FnMut(u32) + Send + 'static) -> Result<()> {
    let mut requests = Requests::default();
    ctrlc::set_handler(move || {
        if let Some(number) = requests.count(Instant::now()) {
            then(number);
        }
    })?;
    Ok(())
}

/// The requests so far, and the time of the first.
#[derive(Default)]
struct Requests {
    first: Option<Instant>,
    number: u32,
}

impl Requests {
    /// The number of the request that came at `now`; none if it is the first one again.
    fn count(&mut self, now: Instant) -> Option<u32> {
        let first = *self.first.get_or_insert(now);
        if self.number > 0 && now.duration_since(first) < SAME_REQUEST {
            return None;
        }
        self.number += 1;
        Some(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal that comes twice at once must not end a training without saving.
    #[test]
    fn a_signal_that_comes_twice_at_once_is_one_request() {
        let mut requests = Requests::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let counted = [0, 1, 499, 500, 501].map(|time| requests.count(at(time)));
        assert_eq!(counted, [Some(1), None, None, Some(2), Some(3)]);
    }
}

//! Faults that no error describes: a panic, and memory that the system refuses. Each is a line on stderr and exit code 1.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::process::ExitCode;

use crate::output::note;

/// Carries out the program, and ends it with exit code 1 after a panic or an abort.
pub fn guard(program: impl FnOnce() -> ExitCode) -> ExitCode {
    let report = take_hook();
    set_hook(Box::new(move |panic| {
        note!("error: {}", line(panic));
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            report(panic);
        }
    }));
    // Where memory is refused the standard library says so and aborts. Without this handler, which is a courtesy, the exit code would be
    // that of a crash.
    #[cfg(unix)]
    let _ = signal_hook::flag::register_conditional_shutdown(
        signal_hook::consts::SIGABRT,
        1,
        std::sync::Arc::new(true.into()),
    );
    catch_unwind(AssertUnwindSafe(program)).unwrap_or(ExitCode::FAILURE)
}

/// Returns the line about a panic.
fn line(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
    let reason = panic.payload_as_str().unwrap_or("it gave no reason");
    crate::one_line(&format!(
        "noprop panicked at {place}: {reason}; this is a fault of noprop, please report it; what was saved before is whole"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that tries a training again must not take a fault for a mistake in its command, which has exit code 2.
    #[test]
    fn a_panic_ends_the_program_with_exit_code_1() {
        let ended = |program: fn() -> ExitCode| format!("{:?}", guard(program));
        assert_eq!(ended(|| ExitCode::SUCCESS), format!("{:?}", ExitCode::SUCCESS));
        let worker = || {
            rayon::scope(|scope| scope.spawn(|_| panic!("a worker")));
            ExitCode::SUCCESS
        };
        assert_eq!(ended(worker), format!("{:?}", ExitCode::FAILURE));
    }
}

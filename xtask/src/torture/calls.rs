//! Calls of the system: a kill at each of them, and an error from each of them (strace).

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::MOST_FAULTS;
use super::lab::{Lab, Reference, Training};
use crate::workspace::{quiet, report};

/// A disturbance of a training at a call.
struct Fault {
    call: &'static str,
    /// In the words of strace.
    injected: &'static str,
    /// The distance from one disturbed call to the next: some calls are too many to try each.
    every: usize,
}

const fn at_each(call: &'static str, injected: &'static str) -> Fault {
    Fault { call, injected, every: 1 }
}

const FAULTS: [Fault; 13] = [
    at_each("mkdir", "signal=KILL"),
    at_each("fsync", "signal=KILL"),
    at_each("renameat,renameat2", "signal=KILL"),
    at_each("unlinkat", "signal=KILL"),
    at_each("ftruncate", "signal=KILL"),
    at_each("mkdir", "error=ENOSPC"),
    at_each("fsync", "error=EIO"),
    at_each("renameat,renameat2", "error=EIO"),
    at_each("unlinkat", "error=EACCES"),
    at_each("ftruncate", "error=EIO"),
    at_each("flock", "error=ENOLCK"),
    at_each("clone3", "error=EAGAIN"),
    Fault { call: "write", injected: "error=ENOSPC", every: 13 },
];

/// Makes all trials unless too many fail, and returns the number of trainings that came to another end or failed without a word.
pub fn all(lab: &Lab) -> Result<u32> {
    if quiet(Command::new("strace").arg("-V")).status().is_err() {
        report("not tried: kills and errors at every call, because strace is not installed");
        return Ok(0);
    }
    let mut faults = 0;
    for training in lab.of_one_process() {
        let (training, reference) = training?;
        for fault in FAULTS {
            let (mut made, mut failed) = (0, 0);
            for number in (1..).step_by(fault.every) {
                match one(lab, training, &reference, &fault, number) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        let (name, call, what) = (training.name, fault.call, fault.injected);
                        report(&format!(
                            "FAILED  {name}, {what} at {call} number {number}: {error:#}"
                        ));
                        failed += 1;
                        if faults + failed == MOST_FAULTS {
                            report(&format!("given up after {MOST_FAULTS} failed trials"));
                            return Ok(MOST_FAULTS);
                        }
                    }
                }
                made += 1;
            }
            report(&format!(
                "{:28} {} at {made} calls of {}, {failed} failed",
                training.name, fault.injected, fault.call
            ));
            faults += failed;
        }
    }
    Ok(faults)
}

/// Disturbs a training when one of its threads makes a call for the `number`-th time, lets it go on, and compares. Returns whether there was such a call.
fn one(
    lab: &Lab,
    training: &Training,
    reference: &Reference,
    fault: &Fault,
    number: usize,
) -> Result<bool> {
    let (run, log) = (lab.place(training.name), lab.folder.join("strace"));
    let Fault { call, injected, .. } = fault;
    let (trace, inject) =
        (format!("trace={call}"), format!("inject={call}:{injected}:when={number}"));
    let log_file = log.display().to_string();
    let tracer = ["strace", "-f", "-qq", "-o", &log_file, "-e", &trace, "-e", &inject];
    let tracer = tracer.map(str::to_owned);
    let mut command = lab.command(training, 0, &run, &tracer);
    // A strace that fails must not leave the log of the trial before.
    fs::write(&log, "")?;
    let ended = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let (said, log) = (String::from_utf8_lossy(&ended.stderr), fs::read_to_string(&log)?);
    let is_made = is_made(injected, ended.status.code(), &said, &log)?;
    lab.end(training, reference, &run, ended.status.success())?;
    Ok(is_made)
}

/// Returns whether a fault was made, by the exit code of the training under strace, what it said on its stderr, and the log of strace.
///
/// # Errors
/// The training failed in another way than by the fault and a line about it, or strace failed.
fn is_made(injected: &str, code: Option<i32>, said: &str, log: &str) -> Result<bool> {
    let has_error = log.contains("(INJECTED)");
    match code {
        Some(0) => Ok(has_error),
        // What a signal ends has no code, and strace ends as the training does.
        None if injected.starts_with("signal") => Ok(true),
        _ => {
            // The line itself may be what could not be written.
            let is_lost = log.lines().any(|l| l.contains(" write(2,") && l.ends_with("(INJECTED)"));
            let is_said = said.contains("error: ") || is_lost;
            let is_a_line = matches!(code, Some(1 | 2)) && is_said;
            ensure!(has_error && is_a_line, "it ended with the code {code:?}: {said}");
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where strace may not trace, every trial would pass, and there would be no last one.
    #[test]
    fn a_strace_that_fails_is_an_error() {
        let said = "strace: test_ptrace_get_syscall_info: PTRACE_TRACEME: Operation not permitted";
        for injected in ["signal=KILL", "error=EIO"] {
            assert!(is_made(injected, Some(1), said, "").is_err());
            assert!(!is_made(injected, Some(0), "", "").unwrap(), "there is no such call");
        }
        assert!(is_made("signal=KILL", None, "", "").unwrap());
    }

    /// An injected error may be survived, or ends the training with a line.
    #[test]
    fn an_error_is_survived_or_said() {
        let made = |code, said, log| is_made("error=EIO", code, said, log);
        let log = "7 fsync(3) = -1 EIO (Input/output error) (INJECTED)\n";
        assert!(made(Some(0), "", log).unwrap());
        assert!(made(Some(1), "error: cannot write x", log).unwrap());
        let of_the_line = "7 write(2, \"error\", 5) = -1 EIO (Input/output error) (INJECTED)\n";
        assert!(made(Some(1), "", of_the_line).unwrap());
        assert!(made(Some(1), "", log).is_err());
        assert!(made(Some(101), "error: a panic", log).is_err());
        assert!(made(None, "error: a crash", log).is_err());
    }
}

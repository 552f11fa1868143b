//! Calls of the system: a kill at each of them, and an error from each of them (strace).

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

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

/// Makes all trials, and returns the number of trainings that came to another end or failed without a word.
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
    let ended = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let log = fs::read_to_string(&log)?;
    let is_made = !ended.status.success() || log.contains("(INJECTED)");
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        // The line itself may be what could not be written.
        let is_lost = log.lines().any(|l| l.contains(" write(2,") && l.ends_with("(INJECTED)"));
        let is_said = said.contains("error: ") || is_lost;
        let is_a_line = matches!(ended.status.code(), Some(1 | 2)) && is_said;
        ensure!(injected.starts_with("signal") || is_a_line, "{}: {said}", ended.status);
    }
    lab.end(training, reference, &run, ended.status.success())?;
    Ok(is_made)
}

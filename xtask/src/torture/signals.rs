//! Signals that ask a training to end, or that hold it up.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;

use super::lab::{Lab, Reference, Training, last_line, start};
use crate::workspace::{report, signal};

/// The ways in which signals come.
const WAYS: [(&str, &[&str]); 5] = [
    ("SIGTERM", &["-TERM"]),
    ("SIGHUP", &["-HUP"]),
    ("SIGINT", &["-INT"]),
    ("SIGINT twice", &["-INT", "-INT"]),
    ("SIGSTOP, then SIGCONT", &["-STOP", "-CONT"]),
];
/// The time between two signals of a trial. Two requests within half a second are one to the program.
const APART: Duration = Duration::from_millis(600);
/// Trials of each way with each training.
const TIMES: u32 = 8;

/// Makes all trials, and returns the number of those that failed.
pub fn all(lab: &Lab, seed: u64) -> Result<u32> {
    let mut rng = Rng::with_seed(seed);
    let mut faults = 0;
    for training in lab.of_one_process() {
        let (training, reference) = training?;
        for (name, signals) in WAYS {
            let mut failed = 0;
            for trial in 1..=TIMES {
                let moment = reference.took.mul_f64(rng.f64());
                if let Err(error) = one(lab, training, &reference, signals, moment) {
                    report(&format!("FAILED  {}, {name}, trial {trial}: {error:#}", training.name));
                    failed += 1;
                }
            }
            report(&format!("{:28} {name}: {TIMES} trials, {failed} failed", training.name));
            faults += failed;
        }
    }
    Ok(faults)
}

fn one(
    lab: &Lab,
    training: &Training,
    reference: &Reference,
    signals: &[&str],
    moment: Duration,
) -> Result<()> {
    let run = lab.place(training.name);
    let mut child = start(&mut lab.command(training, 0, &run, &[]))?;
    sleep(moment);
    for which in signals {
        if child.try_wait()?.is_none() {
            signal(which, child.id())?;
            sleep(APART);
        }
    }
    let status = child.wait()?;
    ensure!(may_end(status.code(), signals, &run), "{status}: {}", last_line(&mut child));
    let has_ended = status.success() && run.join("README.md").is_file();
    lab.end(training, reference, &run, has_ended)
}

/// Returns whether a training may end with this exit code after these signals, with what it has written in `run`.
fn may_end(code: Option<i32>, signals: &[&str], run: &Path) -> bool {
    // A pause asks for nothing.
    let requests = signals.iter().filter(|which| !matches!(**which, "-STOP" | "-CONT")).count();
    match code {
        Some(0) => true,
        // A second request, and one before the program listens, ends it at once: by the signal itself, or with the code of Ctrl-C.
        None | Some(130) => requests > 1 || requests == 1 && !run.join("config.toml").is_file(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A training that is paused and then fails was not asked to, and neither was one that panics.
    #[test]
    fn only_requests_end_a_training_early() {
        let dir = tempfile::tempdir().unwrap();
        let may = |code| WAYS.map(|(_, signals)| may_end(code, signals, dir.path()));
        let (at_once, all) = ([true, true, true, true, false], [true; 5]);
        assert_eq!([None, Some(130), Some(0)].map(may), [at_once, at_once, all]);
        std::fs::write(dir.path().join("config.toml"), "").unwrap();
        let twice = [false, false, false, true, false];
        assert_eq!([None, Some(130), Some(0)].map(may), [twice, twice, all]);
        assert_eq!([Some(1), Some(101)].map(may), [[false; 5]; 2]);
    }
}

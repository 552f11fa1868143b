//! Signals that ask a training to end, or that hold it up.

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
            sleep(Duration::from_millis(100));
        }
    }
    let status = child.wait()?;
    // A second signal, and one before the program listens, ends it at once, as a kill does.
    let asked = status.success() || signals.len() == 2 || !run.join("config.toml").is_file();
    ensure!(asked, "{status}: {}", last_line(&mut child));
    let has_ended = status.success() && run.join("README.md").is_file();
    lab.end(training, reference, &run, has_ended)
}

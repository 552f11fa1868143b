//! Limits of a process: too little memory, too few open files (prlimit).

use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};

use super::lab::{Lab, Reference, Training};
use crate::workspace::{quiet, report};

/// A limit, from the lowest value in steps to the first that is enough.
struct Limit {
    name: &'static str,
    flag: &'static str,
    lowest: u64,
    step: u64,
    highest: u64,
}

const LIMITS: [Limit; 2] = [
    Limit { name: "memory", flag: "--as", lowest: 60 << 20, step: 3 << 20, highest: 2 << 30 },
    Limit { name: "open files", flag: "--nofile", lowest: 4, step: 1, highest: 200 },
];

/// Makes all trials, and returns the number of those that failed.
pub fn all(lab: &Lab) -> Result<u32> {
    if quiet(Command::new("prlimit").arg("--version")).status().is_err() {
        report("not tried: limits, because prlimit is not installed");
        return Ok(0);
    }
    let mut faults = 0;
    for training in lab.of_one_process() {
        let (training, reference) = training?;
        for limit in LIMITS {
            let (mut made, mut failed) = (0, 0);
            let mut most = limit.lowest;
            loop {
                made += 1;
                match one(lab, training, &reference, &limit, most) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => {
                        report(&format!("FAILED  {}, {error:#}", training.name));
                        failed += 1;
                    }
                }
                most += limit.step;
                if most > limit.highest {
                    bail!("{} of {most} are not enough", limit.name);
                }
            }
            let Limit { name, .. } = limit;
            report(&format!("{:28} {made} limits of {name}, {failed} failed", training.name));
            faults += failed;
        }
    }
    Ok(faults)
}

/// Trains within a limit, and without it to the end. Returns whether the limit was enough.
fn one(
    lab: &Lab,
    training: &Training,
    reference: &Reference,
    limit: &Limit,
    most: u64,
) -> Result<bool> {
    let run = lab.place(training.name);
    let within = ["prlimit".to_owned(), format!("{}={most}", limit.flag)];
    let mut command = lab.command(training, 0, &run, &within);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let ended = command.output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        // 127: the system cannot load the program and its libraries.
        let is_a_line = matches!(ended.status.code(), Some(1 | 2 | 127)) && !said.trim().is_empty();
        ensure!(is_a_line, "{} {most}: {}: {said}", limit.name, ended.status);
    }
    lab.end(training, reference, &run, ended.status.success())?;
    Ok(ended.status.success())
}

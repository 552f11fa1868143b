//! The place of a run, which changes while it trains.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Result, ensure};

use super::lab::{Lab, Reference, Training, files, last_line, start};
use crate::mpi::PATIENCE;
use crate::workspace::{output, quiet, report, run, wait};

/// The size of the disk that becomes full. A run of the training takes about a quarter of it.
const DISK: u64 = 64 << 20;

/// A trial; false where it cannot be made here.
type Trial = fn(&Bench) -> Result<bool>;

const TRIALS: [(&str, Trial); 5] = [
    ("a disk that becomes full", Bench::full),
    ("a disk that turns read-only", Bench::read_only),
    ("a folder that is renamed", Bench::renamed),
    ("a second process", Bench::second),
    ("a clock that is set back", Bench::set_back),
];

/// Makes all trials, and returns the number of those that failed.
pub fn all(lab: Lab) -> Result<u32> {
    let Some(training) = lab.trainings().next() else { return Ok(0) };
    let reference = lab.reference(training)?;
    let bench = Bench { lab, training, reference };
    let mut faults = 0;
    for (name, trial) in TRIALS {
        let result = match trial(&bench) {
            Ok(true) => "passed".into(),
            Ok(false) => {
                "not tried: it needs Linux, with root, or with faketime for the clock".into()
            }
            Err(error) => {
                faults += 1;
                format!("FAILED: {error:#}")
            }
        };
        report(&format!("{name}: {result}"));
    }
    Ok(faults)
}

struct Bench {
    lab: Lab,
    training: &'static Training,
    reference: Reference,
}

/// A disk in memory, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts a disk, where that is allowed.
    fn mount(at: PathBuf) -> Result<Option<Self>> {
        fs::create_dir_all(&at)?;
        let size = format!("size={DISK}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "noprop-torture"]).arg(&at);
        let mounted = quiet(&mut mount).status().is_ok_and(|status| status.success());
        Ok(mounted.then_some(Self(at)))
    }

    fn remount(&self, how: &str) -> Result<()> {
        run(quiet(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0)))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = quiet(Command::new("umount").arg("-l").arg(&self.0)).status();
    }
}

impl Bench {
    /// Starts the training, and waits until an epoch of it is saved.
    fn begin(&self, run: &Path) -> Result<Child> {
        let mut child = start(&mut self.lab.command(self.training, 0, run, &[]))?;
        let saved = run.join("state/progress.json");
        wait("the first epoch", PATIENCE, || Ok(saved.is_file() || child.try_wait()?.is_some()))?;
        ensure!(child.try_wait()?.is_none(), "it ended too early: {}", last_line(&mut child));
        Ok(child)
    }

    /// Goes on with the training, and compares its end.
    fn end(&self, run: &Path) -> Result<()> {
        output(&mut self.lab.command(self.training, 0, run, &[]))?;
        self.reference.compare(run)
    }

    /// Checks that the training ended by an error, with a line that has one of these words.
    fn failed(&self, child: &mut Child, status: ExitStatus, words: &[&str]) -> Result<()> {
        let line = last_line(child);
        ensure!(status.code() == Some(1), "{status}: {line}");
        ensure!(words.iter().any(|word| line.contains(word)), "the line is: {line}");
        report(&format!("  {line}"));
        Ok(())
    }

    fn full(&self) -> Result<bool> {
        let Some(disk) = Disk::mount(self.lab.place("full"))? else { return Ok(false) };
        let run = disk.0.join("run");
        let mut child = self.begin(&run)?;
        let filler = disk.0.join("filler");
        // An error shows that the disk is full.
        let _ = std::io::copy(&mut std::io::repeat(0), &mut File::create(&filler)?);
        let status = child.wait()?;
        self.failed(&mut child, status, &["No space left"])?;
        fs::remove_file(filler)?;
        self.end(&run)?;
        Ok(true)
    }

    fn read_only(&self) -> Result<bool> {
        let Some(disk) = Disk::mount(self.lab.place("read-only"))? else { return Ok(false) };
        let run = disk.0.join("run");
        let mut child = self.begin(&run)?;
        // While a file is open for writing, the disk cannot be turned.
        wait("a moment without an open file", PATIENCE, || Ok(disk.remount("ro").is_ok()))?;
        let status = child.wait()?;
        self.failed(&mut child, status, &["Read-only file system"])?;
        disk.remount("rw")?;
        self.end(&run)?;
        Ok(true)
    }

    fn renamed(&self) -> Result<bool> {
        let (run, moved) = (self.lab.place("renamed"), self.lab.place("moved"));
        let mut child = self.begin(&run)?;
        fs::rename(&run, &moved)?;
        let status = child.wait()?;
        self.failed(&mut child, status, &["No such file", "not there", "moved", "renamed"])?;
        ensure!(!run.exists(), "the training made the folder again: {:?}", files(&run));
        self.end(&moved)?;
        Ok(true)
    }

    fn second(&self) -> Result<bool> {
        let run = self.lab.place("second");
        let mut first = self.begin(&run)?;
        let mut second = start(&mut self.lab.command(self.training, 0, &run, &[]))?;
        let status = second.wait()?;
        let line = last_line(&mut second);
        ensure!(status.code() == Some(2) && line.contains("another process"), "{status}: {line}");
        ensure!(first.wait()?.success(), "the first process: {}", last_line(&mut first));
        self.reference.compare(&run)?;
        Ok(true)
    }

    /// The clock jumps back by a day in the middle of a training, which is then killed, and goes on with a clock of the day before that. All
    /// its files are then of the future.
    fn set_back(&self) -> Result<bool> {
        let Some(library) = faketime()? else { return Ok(false) };
        let (run, clock) = (self.lab.place("set-back"), self.lab.folder.join("clock"));
        let with_clock = |days: i32| -> Result<Command> {
            fs::write(&clock, format!("{:+}", days * 24 * 60 * 60))?;
            let mut command = self.lab.command(self.training, 0, &run, &[]);
            command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &clock);
            command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            Ok(command)
        };
        let mut child = start(&mut with_clock(0)?)?;
        let saved = run.join("state/progress.json");
        wait("the first epoch", PATIENCE, || Ok(saved.is_file() || child.try_wait()?.is_some()))?;
        let before = fs::read(&saved)?;
        fs::write(&clock, format!("{}", -24 * 60 * 60))?;
        wait("the next epoch", PATIENCE, || Ok(fs::read(&saved).is_ok_and(|now| now != before)))?;
        ensure!(child.try_wait()?.is_none(), "it ended too early: {}", last_line(&mut child));
        child.kill()?;
        child.wait()?;
        output(&mut with_clock(-2)?)?;
        let log = fs::read_to_string(run.join("metrics.jsonl"))?;
        let times = log.lines().filter_map(|line| {
            line.split_once("\"unix_time\":")?.1.split([',', '}']).next()?.parse::<u64>().ok()
        });
        let times: Vec<u64> = times.collect();
        let jumps = times.windows(2).filter(|pair| pair[1] + 3600 < pair[0]).count();
        ensure!(jumps == 1, "the clock was not set back: {times:?}");
        self.reference.compare(&run)?;
        Ok(true)
    }
}

/// The library that changes a program's clock; none if it is not installed.
fn faketime() -> Result<Option<String>> {
    let Ok(found) = Command::new("faketime").args(["-f", "+0", "env"]).output() else {
        return Ok(None);
    };
    let environment = String::from_utf8(found.stdout)?;
    Ok(environment.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=")).map(str::to_owned))
}

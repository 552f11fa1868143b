//! The place of a run, which changes while it trains.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, SystemTime};

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
            Ok(false) => "not tried: it needs root on Linux".into(),
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

    /// After a kill, all files are of tomorrow.
    fn set_back(&self) -> Result<bool> {
        let run = self.lab.place("set-back");
        let mut child = self.begin(&run)?;
        child.kill()?;
        child.wait()?;
        let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
        for file in files(&run)? {
            File::options().append(true).open(run.join(file))?.set_modified(tomorrow)?;
        }
        self.end(&run)?;
        Ok(true)
    }
}

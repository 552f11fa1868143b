//! The files that a killed process leaves on disk.

use std::fs;
use std::path::{Path, PathBuf};

use noprop_train::{Control, Observer, RunDirectory, StepReport};

/// Copies a run as it is on disk at the end of a step, before that step is saved.
pub struct KilledAfter {
    steps: u32,
    run: PathBuf,
    left: PathBuf,
}

impl KilledAfter {
    /// Copies `run` to `left` after the first `steps` steps.
    pub fn new(steps: u32, run: &RunDirectory, left: &Path) -> Self {
        Self { steps, run: run.path().into(), left: left.into() }
    }
}

impl Observer for KilledAfter {
    fn step(&mut self, _: &[StepReport]) -> Control {
        self.steps = self.steps.wrapping_sub(1);
        if self.steps == 0 {
            copy(&self.run, &self.left);
        }
        Control::Continue
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

//! The trainings that are disturbed, and their results without a disturbance.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use noprop_files::UNFINISHED;

use crate::mpi::{self, mpirun};
use crate::workspace::{self, BadUsage, output, quiet, report};

/// The way in which a training is carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By one process.
    Whole,
    /// Some of the blocks after the others, then merged.
    Merged,
    /// By two ranks under mpirun.
    TwoRanks,
}

/// A training that takes about a second.
pub struct Training {
    pub name: &'static str,
    pub way: Way,
    settings: &'static str,
}

/// Ten steps of 50 images in an epoch: the rest of an epoch is saving.
const COMMON: &str =
    "--dataset mnist-sample --validation 3000 --batch-size 50 --seed 3 --threads 1";

pub const TRAININGS: [Training; 8] = [
    whole("dt, shared encoder", "--steps 3 --epochs 4"),
    whole("dt, an encoder per block", "--encoder per-block --steps 2 --epochs 3"),
    whole("dt, learned embeddings", "--embedding learned:20 --steps 2 --epochs 3"),
    whole("dt, moving average", "--ema 0.9 --steps 2 --epochs 3"),
    whole("ct", "--method ct --steps 3 --epochs 3"),
    whole("fm", "--method fm --steps 3 --epochs 3"),
    Training {
        name: "blocks, merged",
        way: Way::Merged,
        settings: "--encoder per-block --steps 3 --epochs 2",
    },
    Training {
        name: "two ranks",
        way: Way::TwoRanks,
        settings: "--embedding learned:20 --steps 2 --epochs 3",
    },
];

const fn whole(name: &'static str, settings: &'static str) -> Training {
    Training { name, way: Way::Whole, settings }
}

/// A fault that is made on purpose after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    /// A file of the saved state is cut in half.
    HalfAFile,
    /// The training goes on with another seed.
    AnotherSeed,
    /// A figure of the finished run is not there.
    LostFigure,
    /// The last bit of the weights is another.
    OtherBit,
}

/// The result of a training without a disturbance.
pub struct Reference {
    weights: Vec<u8>,
    files: Vec<String>,
    /// The time that it took.
    pub took: Duration,
}

/// The program, the folder of the runs, and the wanted trainings.
pub struct Lab {
    pub program: PathBuf,
    pub folder: PathBuf,
    only: String,
    has_mpi: bool,
}

impl Lab {
    pub fn new(only: &str) -> Result<Self> {
        let root = workspace::root()?;
        let mpirun = quiet(Command::new("mpirun").arg("--version")).status().is_ok();
        let built = workspace::noprop(root, if mpirun { "mpi" } else { "" })?;
        let folder = workspace::fresh_folder(root, "torture", &[&built])?;
        let program = workspace::copy(&built, &folder, "noprop")?;
        let against = mpi::reason_against(&program)?;
        let has_mpi = against.is_none();
        if let Some(reason) = against {
            report(&format!("not tried: two ranks, because {reason}"));
        }
        let lab = Self { program, folder, only: only.into(), has_mpi };
        ensure!(
            lab.trainings().count() > 0,
            BadUsage(format!("no training has `{only}` in its name"))
        );
        Ok(lab)
    }

    /// The trainings to try.
    pub fn trainings(&self) -> impl Iterator<Item = &'static Training> {
        TRAININGS.iter().filter(|training| {
            training.name.contains(&self.only) && (self.has_mpi || training.way != Way::TwoRanks)
        })
    }

    /// The trainings of one process, each with its result without a disturbance.
    pub fn of_one_process(&self) -> impl Iterator<Item = Result<(&'static Training, Reference)>> {
        let whole = self.trainings().filter(|training| training.way == Way::Whole);
        whole.map(|training| Ok((training, self.reference(training)?)))
    }

    /// Lets a disturbed training go on if it has not come to its end, compares the end, and removes the run.
    pub fn end(
        &self,
        training: &Training,
        reference: &Reference,
        run: &Path,
        has_ended: bool,
    ) -> Result<()> {
        if !has_ended {
            output(&mut self.command(training, 0, run, &[]))?;
        }
        reference.compare(run)?;
        Ok(fs::remove_dir_all(run)?)
    }

    /// A free place for a run.
    pub fn place(&self, name: &str) -> PathBuf {
        let name: String = name.split([',', ' ']).collect::<Vec<_>>().join("-");
        let numbered = |number| self.folder.join(format!("{name}-{number}"));
        (1..).map(numbered).find(|path| !path.exists()).unwrap_or_default()
    }

    /// Trains without a disturbance.
    pub fn reference(&self, training: &Training) -> Result<Reference> {
        let run = self.place(training.name);
        let began = Instant::now();
        for part in 0..training.parts() {
            output(&mut self.command(training, part, &run, &[]))?;
        }
        let took = began.elapsed();
        let weights = fs::read(run.join("model.safetensors"))?;
        Ok(Reference { weights, files: files(&run)?, took })
    }

    /// Part `part` of a training into `run`: it begins, or goes on with what is there. `tracer` is a program that starts noprop.
    pub fn command(
        &self,
        training: &Training,
        part: usize,
        run: &Path,
        tracer: &[String],
    ) -> Command {
        let mut words: Vec<String> = tracer.to_vec();
        words.push(self.program.display().to_string());
        let (program, arguments) = words.split_first().unwrap_or_else(|| unreachable!());
        let mut command = match training.way {
            Way::TwoRanks => {
                let mut mpirun = mpirun();
                mpirun.args(["-n", "2"]).arg(program);
                mpirun
            }
            _ => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::null());
        if training.way == Way::Merged && part == 2 {
            command.arg("merge").arg(run);
            return command;
        }
        command.args(["train", "--quiet"]);
        let begun = run.join("config.toml").is_file();
        if begun && training.way != Way::Merged {
            command.args(["--threads", "1", "--resume"]).arg(run);
        } else {
            command.args(COMMON.split_whitespace()).args(training.settings.split_whitespace());
            command.arg("--out").arg(run);
        }
        match (training.way, part) {
            (Way::TwoRanks, _) => command.args(["--distributed", "mpi"]),
            (Way::Merged, 0) => command.args(["--blocks", "3,1"]),
            (Way::Merged, _) => command.args(["--blocks", "readout,2"]),
            (Way::Whole, _) => &mut command,
        };
        command
    }
}

impl Training {
    /// The number of commands that it takes.
    pub fn parts(&self) -> usize {
        if self.way == Way::Merged { 3 } else { 1 }
    }
}

impl Reference {
    /// Checks that a run has come to the same end.
    pub fn compare(&self, run: &Path) -> Result<()> {
        let weights = fs::read(run.join("model.safetensors")).context("no weights")?;
        ensure!(weights == self.weights, "the weights are others");
        let files = all_files(run)?;
        for file in &self.files {
            ensure!(files.contains(file), "{file} is missing");
        }
        if let Some(left) = files.iter().find(|file| file.contains(UNFINISHED)) {
            bail!("{left} was left");
        }
        Ok(())
    }
}

/// The files of a run outside its state, whose folder has another name after another number of saves, by their paths in it.
pub fn files(run: &Path) -> Result<Vec<String>> {
    let mut found = all_files(run)?;
    found.retain(|file| !Path::new(file).starts_with("state"));
    Ok(found)
}

/// All files of a run by their paths in it.
pub fn all_files(run: &Path) -> Result<Vec<String>> {
    let (mut found, mut folders) = (Vec::new(), vec![run.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(run)?.display().to_string()),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Starts a command whose words are kept for later.
pub fn start(command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_owned();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    child.with_context(|| format!("cannot start {}", program.display()))
}

/// The last line that a command wrote to its stderr.
pub fn last_line(child: &mut Child) -> String {
    let text = child.stderr.take().and_then(|stderr| std::io::read_to_string(stderr).ok());
    text.unwrap_or_default().lines().next_back().unwrap_or("it failed without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No temporary file may be left, wherever it was written.
    #[test]
    fn a_temporary_file_is_found_in_the_state_too() {
        let dir = tempfile::tempdir().unwrap();
        let (run, state) = (dir.path(), dir.path().join("state/7"));
        fs::create_dir_all(&state).unwrap();
        fs::write(run.join("model.safetensors"), "weights").unwrap();
        fs::write(state.join("readout.safetensors"), "state").unwrap();
        let files = files(run).unwrap();
        assert_eq!(files, ["model.safetensors"]);
        let reference = Reference { weights: b"weights".to_vec(), files, took: Duration::ZERO };
        reference.compare(run).unwrap();
        fs::write(state.join(format!("{UNFINISHED}x")), "half").unwrap();
        assert!(reference.compare(run).unwrap_err().to_string().contains(UNFINISHED));
    }
}

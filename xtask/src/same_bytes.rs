//! `cargo xtask same-bytes OLD NEW`: two builds of noprop train the same weights, byte for byte.
//!
//! A change of the code that is not meant to change the mathematics must not change a bit of `model.safetensors`. Short trainings on the
//! bundled sample, one of each kind, show whether it did. Different processors give different bits, so nothing is compared with a
//! recorded value: both programs train here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::mpi::{self, PATIENCE, mpirun};
use crate::workspace::{self, BadUsage, output, quiet, report, signal, wait};

/// The two programs and the trainings to compare.
#[derive(clap::Args)]
pub struct Options {
    /// The program from before the change
    #[arg(value_name = "OLD-BINARY")]
    old: PathBuf,
    /// The program from after the change
    #[arg(value_name = "NEW-BINARY")]
    new: PathBuf,
    /// Compare only the trainings whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// The way in which a training is carried out.
enum Way {
    /// By one process without a stop.
    Whole,
    /// Stopped by SIGTERM after the first epoch and resumed, each program on its own.
    Resumed,
    /// Stopped when trained by the old program, and resumed by the new one; the old one without a stop is the reference.
    ResumedAcross,
    /// Some of the blocks after the others, then merged.
    Merged,
    /// By two ranks under mpirun.
    TwoRanks,
}

/// Twenty steps of 50 images, so that groups of eight steps leave a rest.
const COMMON: &str =
    "--dataset mnist-sample --validation 3000 --batch-size 50 --seed 3 --threads 2";

/// Name, way and settings of each training. Those that are resumed have three epochs, so that there is time to stop them.
const TRAININGS: [(&str, Way, &str); 19] = [
    ("dt, shared encoder", Way::Whole, "--encoder shared --steps 4 --epochs 1"),
    ("dt, an encoder per block", Way::Whole, "--encoder per-block --steps 3 --epochs 1"),
    ("dt, frozen encoder", Way::Whole, "--encoder frozen --schedule linear --steps 5 --epochs 1"),
    ("dt, learned embeddings", Way::Whole, "--embedding learned:20 --steps 3 --epochs 1"),
    (
        "dt, prototype embeddings",
        Way::Whole,
        "--embedding prototype --schedule notebook --readout posterior:0.5 --steps 3 --epochs 1",
    ),
    ("dt, Algorithm 1's order", Way::Whole, "--order paper --steps 2 --epochs 1"),
    (
        "dt, changed and weighted images",
        Way::Whole,
        "--augment flip+shift:2 --normalize channel --class-weights balanced --padding 1 --steps 3 --epochs 1",
    ),
    ("dt, products in bf16", Way::Whole, "--precision bf16 --encoder frozen --steps 3 --epochs 1"),
    ("ct", Way::Whole, "--method ct --steps 5 --epochs 1"),
    ("ct, three intervals", Way::Whole, "--method ct --intervals 3 --steps 6 --epochs 1"),
    ("fm", Way::Whole, "--method fm --steps 5 --epochs 1"),
    (
        "fm, two intervals, embeddings",
        Way::Whole,
        "--method fm --intervals 2 --embedding learned:20 --path-noise 0.1 --steps 4 --epochs 1",
    ),
    ("backprop", Way::Whole, "--method backprop --steps 3 --epochs 1"),
    ("adjoint", Way::Whole, "--method adjoint --steps 3 --epochs 1"),
    ("resumed, shared encoder", Way::Resumed, "--encoder shared --steps 3 --epochs 3"),
    ("resumed, ct", Way::Resumed, "--method ct --steps 5 --epochs 3"),
    (
        "begun by OLD, resumed by NEW",
        Way::ResumedAcross,
        "--embedding learned:20 --encoder per-block --steps 2 --epochs 3",
    ),
    ("blocks merged", Way::Merged, "--encoder per-block --steps 3 --epochs 1"),
    ("two ranks of MPI", Way::TwoRanks, "--embedding learned:20 --steps 4 --epochs 1"),
];

/// Trains everything with both programs, and fails if a training differs.
pub fn run(options: &Options) -> Result<()> {
    let root = workspace::root()?;
    let folder = workspace::fresh_folder(root, "same-bytes", &[&options.old, &options.new])?;
    let old = workspace::copy(&options.old, &folder, "old")?;
    let new = workspace::copy(&options.new, &folder, "new")?;
    let bench = Bench { old, new, folder };
    let wanted = || TRAININGS.iter().filter(|(name, ..)| name.contains(&options.only));
    ensure!(
        wanted().count() > 0,
        BadUsage(format!("no training has `{}` in its name", options.only))
    );
    let mut different = 0;
    for (name, way, settings) in wanted() {
        let (state, detail) = match bench.compare(way, settings) {
            Ok(Outcome::Equal(hash)) => ("equal", hash),
            Ok(Outcome::Different { old, new }) => ("DIFFERENT", format!("{old} {new}")),
            Ok(Outcome::NotRun(reason)) => ("not run", reason),
            Err(error) => ("FAILED", format!("{error:#}")),
        };
        different += usize::from(matches!(state, "DIFFERENT" | "FAILED"));
        report(&format!("{state:9}  {name:30}  {detail}"));
    }
    ensure!(
        different == 0,
        "{different} trainings differ; their runs are in {}",
        bench.folder.display()
    );
    fs::remove_dir_all(&bench.folder)?;
    Ok(())
}

/// The result of one comparison. Hashes are the first digits of the weights' SHA-256.
enum Outcome {
    Equal(String),
    Different { old: String, new: String },
    NotRun(String),
}

/// The programs, and the folder that holds their runs.
struct Bench {
    old: PathBuf,
    new: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn compare(&self, way: &Way, settings: &str) -> Result<Outcome> {
        let (old, new) = (&*self.old, &*self.new);
        let (old, new) = match way {
            Way::Whole => (self.whole(old, settings)?, self.whole(new, settings)?),
            Way::Resumed => (self.resumed(old, old, settings)?, self.resumed(new, new, settings)?),
            Way::ResumedAcross => (self.whole(old, settings)?, self.resumed(old, new, settings)?),
            Way::Merged => (self.merged(old, settings)?, self.merged(new, settings)?),
            Way::TwoRanks => {
                for program in [old, new] {
                    if let Some(reason) = mpi::reason_against(program)? {
                        return Ok(Outcome::NotRun(reason));
                    }
                }
                (self.two_ranks(old, settings)?, self.two_ranks(new, settings)?)
            }
        };
        if fs::read(old.join("model.safetensors"))? == fs::read(new.join("model.safetensors"))? {
            return Ok(Outcome::Equal(hash(&new)?));
        }
        Ok(Outcome::Different { old: hash(&old)?, new: hash(&new)? })
    }

    /// A free folder for a run, named after its `way` and the program.
    fn out(&self, way: &str, program: &Path) -> PathBuf {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let numbered = |number| self.folder.join(format!("{way}-{name}-{number}"));
        (1..).map(numbered).find(|path| !path.exists()).unwrap_or_default()
    }

    fn whole(&self, program: &Path, settings: &str) -> Result<PathBuf> {
        let out = self.out("whole", program);
        output(train(Command::new(program), settings).arg("--out").arg(&out))?;
        Ok(out)
    }

    fn resumed(&self, begin: &Path, end: &Path, settings: &str) -> Result<PathBuf> {
        let out = self.out("resumed", end);
        let mut command = train(Command::new(begin), settings);
        let mut training = quiet(command.arg("--out").arg(&out)).spawn()?;
        let saved = out.join("state/progress.json");
        let begun = wait("the first epoch", PATIENCE, || {
            Ok(saved.is_file() || training.try_wait()?.is_some())
        });
        // If it has ended by itself, its log shows that.
        let _ = signal("-TERM", training.id());
        begun?;
        ensure!(training.wait()?.success(), "a training that was to stop failed");
        let events = fs::read_to_string(out.join("metrics.jsonl"))?;
        ensure!(events.contains("\"event\":\"stop\""), "the training ended before it was stopped");
        let resume = ["train", "--quiet", "--threads", "2", "--resume"];
        output(Command::new(end).args(resume).arg(&out))?;
        Ok(out)
    }

    fn merged(&self, program: &Path, settings: &str) -> Result<PathBuf> {
        let out = self.out("merged", program);
        for blocks in ["3,1", "readout,2"] {
            let mut command = train(Command::new(program), settings);
            output(command.args(["--blocks", blocks, "--out"]).arg(&out))?;
        }
        output(Command::new(program).arg("merge").arg(&out))?;
        Ok(out)
    }

    fn two_ranks(&self, program: &Path, settings: &str) -> Result<PathBuf> {
        let out = self.out("ranks", program);
        let mut mpirun = mpirun();
        mpirun.args(["-n", "2"]).arg(program);
        let mut command = train(mpirun, settings);
        output(command.args(["--distributed", "mpi", "--out"]).arg(&out))?;
        Ok(out)
    }
}

/// `command`, which is a program or starts one, with the arguments of a training.
fn train(mut command: Command, settings: &str) -> Command {
    command.args(["train", "--quiet"]);
    command.args(COMMON.split_whitespace()).args(settings.split_whitespace());
    command
}

fn hash(run: &Path) -> Result<String> {
    let hash = noprop_files::sha256_of(File::open(run.join("model.safetensors"))?)?;
    Ok(hash.chars().take(12).collect())
}

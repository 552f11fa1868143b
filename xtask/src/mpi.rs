//! `cargo xtask test-mpi`: `noprop train --distributed mpi` under a real mpirun, on this machine.
//!
//! Any number of ranks must give the bytes of one process, also across a stop. A rank that is lost must end the job, because the
//! others would wait for it for ever. Nothing listens beyond the loopback address, and every job has a time limit.
//! NOPROP may name a program that was built with the feature `mpi`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, report, signal, wait};

/// The time limit of a job; none takes a minute.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// The time within which a job that lost a rank must end.
const AT_ONCE: Duration = Duration::from_secs(5);

/// An mpirun that keeps all ranks on this machine and on the loopback address, and ends after [`PATIENCE`].
pub fn mpirun() -> Command {
    let arguments = "--allow-run-as-root --oversubscribe --mca btl self,vader,tcp \
        --mca btl_tcp_if_include lo --mca oob_tcp_if_include lo --timeout";
    let mut mpirun = Command::new("mpirun");
    mpirun.args(arguments.split_whitespace()).arg(PATIENCE.as_secs().to_string());
    mpirun
}

/// Returns the reason why a program cannot train over MPI here, if there is one.
pub fn reason_against(program: &Path) -> Result<Option<String>> {
    if Command::new("mpirun").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(Some("mpirun is not installed".into()));
    }
    // Zero epochs are refused, so nothing is trained. Without the feature the error names the feature.
    let mut command = Command::new(program);
    command.args(["train", "--quiet", "--epochs", "0", "--distributed", "mpi", "--out", "refused"]);
    let refused = command.stdin(Stdio::null()).output()?;
    if String::from_utf8_lossy(&refused.stderr).contains("feature mpi") {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        return Ok(Some(format!("{name} was built without the feature mpi")));
    }
    Ok(None)
}

/// The settings of every training here: few images, so that there are few steps.
const SMALL: &str = "--dataset mnist-sample --batch-size 250 --validation 1000 --seed 3";
/// Blocks that share class embeddings and an encoder.
const LEARNED: &str = "--embedding learned:20 --steps 4 --epochs 2";
/// Names and settings of the other trainings that must not depend on the number of ranks.
const TRAININGS: [(&str, &str); 4] = [
    ("prototype embeddings", "--embedding prototype --encoder per-block --steps 4 --epochs 1"),
    ("ct", "--method ct --intervals 2 --epochs 1"),
    ("back-propagation", "--method backprop --steps 2 --epochs 1"),
    ("blocks that share nothing", "--encoder per-block --steps 4 --epochs 1"),
];
const SIZES: [usize; 3] = [1, 2, 4];
/// A training that is long enough to be stopped.
const LONG: &str = "--embedding learned:20 --steps 4 --epochs 1000";

pub fn run() -> Result<()> {
    let root = workspace::root()?;
    Command::new("mpirun").arg("--version").stdout(Stdio::null()).status().context(
        "mpirun is not installed: apt-get install --no-install-recommends openmpi-bin libopenmpi-dev libclang-dev",
    )?;
    let built = workspace::noprop(root, "mpi")?;
    let folder = workspace::fresh_folder(root, "mpi", &[&built])?;
    let noprop = workspace::copy(&built, &folder, "noprop")?;
    let bench = Bench { noprop, folder };
    bench.same_bytes("learned embeddings", LEARNED)?;
    for (name, training) in TRAININGS {
        bench.same_bytes(name, training)?;
    }
    bench.stopped_by_four_resumed_by_two()?;
    bench.a_panic_ends_all()?;
    bench.an_error_ends_all()?;
    bench.a_mistake_of_one_ends_all()?;
    bench.a_kill_ends_all()?;
    // Kept where something failed.
    fs::remove_dir_all(&bench.folder)?;
    Ok(())
}

/// The program, and the folder in which its jobs run.
struct Bench {
    noprop: PathBuf,
    folder: PathBuf,
}

impl Bench {
    /// `noprop train` in one process, or with this number of ranks.
    fn command(&self, ranks: Option<usize>, args: &str) -> Command {
        let train = "train --quiet --threads 1";
        let Some(ranks) = ranks else {
            let mut command = Command::new(&self.noprop);
            command.args(train.split(' ')).args(args.split_whitespace());
            return command;
        };
        let mut mpirun = mpirun();
        mpirun.args(["-n", &ranks.to_string()]).arg(&self.noprop).args(train.split(' '));
        mpirun.args(["--distributed", "mpi"]).args(args.split_whitespace());
        mpirun
    }

    /// Starts four ranks of a long training into `out`, and waits until an epoch is saved.
    fn start(&self, out: &str, training: &str) -> Result<Job> {
        let args = format!("{SMALL} {training} --out {out}");
        let mut job = self.spawn(self.command(Some(4), &args), out)?;
        job.wait_for(&self.folder.join(out).join("state/progress.json"))?;
        Ok(job)
    }

    /// Starts a job whose stderr goes to a file named after `out`.
    fn spawn(&self, mut command: Command, out: &str) -> Result<Job> {
        let stderr = self.folder.join(format!("{out}.txt"));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&stderr)?);
        Ok(Job { child: command.spawn()?, stderr })
    }

    /// Trains into `out` and waits for the end.
    fn train(&self, ranks: Option<usize>, out: &str, args: &str) -> Result<Duration> {
        let started = Instant::now();
        let mut job = self.spawn(self.command(ranks, args), out)?;
        ensure!(job.wait(PATIENCE)?.success(), "{out} failed: {}", job.stderr());
        Ok(started.elapsed())
    }

    fn model(&self, run: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(run).join("model.safetensors");
        fs::read(&path).with_context(|| path.display().to_string())
    }

    fn same_bytes(&self, name: &str, training: &str) -> Result<()> {
        let out = |ranks: usize| format!("{}-{ranks}", name.replace(' ', "-"));
        let args = |ranks: usize| format!("{SMALL} {training} --out {}", out(ranks));
        let mut seconds = vec![self.train(None, &out(0), &args(0))?.as_secs_f64()];
        let whole = self.model(&out(0))?;
        for ranks in SIZES {
            seconds.push(self.train(Some(ranks), &out(ranks), &args(ranks))?.as_secs_f64());
            let same = whole == self.model(&out(ranks))?;
            ensure!(same, "{name}: {ranks} ranks gave other weights than one process");
        }
        report(&format!(
            "{name}: {SIZES:?} ranks gave the bytes of one process, in {seconds:.1?} s"
        ));
        Ok(())
    }

    /// A signal to one rank stops all of them, and they save at a common step.
    fn stopped_by_four_resumed_by_two(&self) -> Result<()> {
        // One epoch is saved: half of the training is left to interrupt.
        let mut job = self.start("stopped", LEARNED)?;
        signal("-TERM", job.ranks(4)?[2])?;
        ensure!(job.wait(PATIENCE)?.success(), "ranks that were to stop failed: {}", job.stderr());
        let events = fs::read_to_string(self.folder.join("stopped/metrics.jsonl"))?;
        ensure!(events.contains("\"event\":\"stop\""), "a rank was asked to stop, and none saved");
        self.train(Some(2), "stopped-again", "--resume stopped")?;
        let same = self.model("stopped")? == self.model("learned-embeddings-0")?;
        ensure!(same, "four ranks and then two gave other weights than one process");
        report("stopped with 4 ranks, resumed with 2: the bytes of one process");
        Ok(())
    }

    fn a_panic_ends_all(&self) -> Result<()> {
        let args = format!("{SMALL} {LONG} --out panic");
        let mut command = self.command(Some(4), &args);
        command.env("NOPROP_TEST_PANIC", "2:9");
        self.spawn(command, "panic")?
            .ends_with("a rank that panics", &["rank 2: ", "asked for by NOPROP_TEST_PANIC"])
    }

    /// Rank 0 cannot write, in the middle of a training, while the others wait for its next message.
    fn an_error_ends_all(&self) -> Result<()> {
        let job = self.start("disk", LONG)?;
        fs::rename(self.folder.join("disk"), self.folder.join("disk-gone"))?;
        File::create(self.folder.join("disk"))?;
        job.ends_with("a rank that cannot write", &["error: ", "disk"])
    }

    /// One rank is started with an invalid setting.
    fn a_mistake_of_one_ends_all(&self) -> Result<()> {
        let train = "train --quiet --threads 1 --distributed mpi --out mistake";
        let mut command = mpirun();
        for (ranks, epochs) in [("2", "1"), ("1", "0")] {
            command.args(["-n", ranks]).arg(&self.noprop).args(train.split_whitespace());
            command.args(SMALL.split_whitespace()).args(["--epochs", epochs, ":"]);
        }
        let job = self.spawn(command, "mistake")?;
        job.ends_with("a rank with a mistake in its settings", &["rank 2: ", "error: "])
    }

    fn a_kill_ends_all(&self) -> Result<()> {
        let mut job = self.start("killed", LONG)?;
        let ranks = job.ranks(4)?;
        signal("-9", ranks[1])?;
        let killed = Instant::now();
        ensure!(!job.wait(AT_ONCE)?.success(), "a job whose rank was killed succeeded");
        let lives = |id: &u32| Path::new(&format!("/proc/{id}")).exists();
        wait("the end of all ranks after one was killed", AT_ONCE, || {
            Ok(!ranks.iter().any(lives))
        })?;
        report(&format!(
            "a rank that is killed ends the job in {:.1} s",
            killed.elapsed().as_secs_f64()
        ));
        Ok(())
    }
}

/// A training, or the mpirun of one. Dropping it ends it with its ranks.
struct Job {
    child: Child,
    stderr: PathBuf,
}

impl Job {
    fn stderr(&self) -> String {
        fs::read(&self.stderr)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let ended = wait("its end", patience, || Ok(self.child.try_wait()?.is_some()));
        ended.with_context(|| self.stderr())?;
        Ok(self.child.wait()?)
    }

    /// Waits for a file that the job writes.
    fn wait_for(&mut self, path: &Path) -> Result<()> {
        let what = path.display().to_string();
        let come = wait(&what, PATIENCE, || {
            let ended = self.child.try_wait()?.is_some();
            ensure!(!ended || path.is_file(), "{what}: it ended too early");
            Ok(path.is_file())
        });
        come.with_context(|| self.stderr())
    }

    /// Checks that the job prints `words`, and then ends at once without success.
    fn ends_with(mut self, what: &str, words: &[&str]) -> Result<()> {
        let printed = wait(&format!("{what} prints {words:?}"), PATIENCE, || {
            let ended = self.child.try_wait()?.is_some();
            let printed = self.stderr();
            let all = words.iter().all(|words| printed.contains(words));
            ensure!(!ended || all, "{what} did not print {words:?}");
            Ok(all)
        });
        printed.with_context(|| self.stderr())?;
        let printed = Instant::now();
        ensure!(!self.wait(AT_ONCE)?.success(), "{what}: the job succeeded");
        let seconds = printed.elapsed().as_secs_f64();
        report(&format!("{what} ends the job {seconds:.1} s after its message"));
        Ok(())
    }

    /// The processes that mpirun started.
    fn ranks(&self, count: usize) -> Result<Vec<u32>> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let tasks = fs::read_dir(tasks).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let lists = lists.collect::<String>();
        let ids: Vec<u32> = lists.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        ensure!(ids.len() == count, "{} ranks run where {count} should", ids.len());
        Ok(ids)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let ranks = self.ranks(4).unwrap_or_default();
        if matches!(self.child.try_wait(), Ok(None)) {
            // mpirun ends its ranks too, unless it is killed.
            let _ = signal("-TERM", self.child.id());
            if self.wait(2 * AT_ONCE).is_ok() {
                return;
            }
            for id in ranks {
                let _ = signal("-9", id);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

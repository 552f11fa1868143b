//! `cargo xtask test-mpi`: `noprop train --distributed mpi` under a real mpirun, on this machine.
//!
//! Any number of ranks must give the bytes of one process, also across a stop. A rank that is lost must end the job, because the
//! others would wait for it for ever. Nothing listens beyond the loopback address, and every job has a time limit.
//! NOPROP may name a program that was built with the feature `mpi`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, report};

/// The time limit of a job; none takes a minute.
const PATIENCE: Duration = Duration::from_secs(300);
/// The time within which a job that lost a rank must end.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Arguments that keep all ranks on this machine and on the loopback address.
pub const MPIRUN: [&str; 11] = [
    "--allow-run-as-root",
    "--oversubscribe",
    "--mca",
    "btl",
    "self,vader,tcp",
    "--mca",
    "btl_tcp_if_include",
    "lo",
    "--mca",
    "oob_tcp_if_include",
    "lo",
];

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
    let folder = workspace::fresh_folder(root, "mpi")?;
    let noprop = workspace::copy(&workspace::noprop(root, "mpi")?, &folder, "noprop")?;
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
    /// Starts `noprop train` into `out`, in one process or with this number of ranks. Its stderr goes to a file.
    fn start(&self, ranks: Option<usize>, out: &str, args: &str) -> Result<Job> {
        self.start_with(ranks, out, args, "")
    }

    /// [`Self::start`] with a variable, such as `NAME=value`, in its environment.
    fn start_with(
        &self,
        ranks: Option<usize>,
        out: &str,
        args: &str,
        environment: &str,
    ) -> Result<Job> {
        let mut command = match ranks {
            None => Command::new(&self.noprop),
            Some(ranks) => {
                let mut mpirun = Command::new("mpirun");
                mpirun.args(MPIRUN).args(["--timeout", &PATIENCE.as_secs().to_string()]);
                mpirun.args(["-n", &ranks.to_string()]).arg(&self.noprop);
                mpirun
            }
        };
        command.args(["train", "--quiet", "--threads", "1"]).args(args.split_whitespace());
        if ranks.is_some() {
            command.args(["--distributed", "mpi"]);
        }
        if let Some((name, value)) = environment.split_once('=') {
            command.env(name, value);
        }
        self.spawn(command, out)
    }

    fn spawn(&self, mut command: Command, out: &str) -> Result<Job> {
        let stderr = self.folder.join(format!("{out}.txt"));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&stderr)?);
        Ok(Job { child: command.spawn()?, stderr })
    }

    /// Trains into `out` and waits for the end.
    fn train(&self, ranks: Option<usize>, out: &str, args: &str) -> Result<Duration> {
        let started = Instant::now();
        let mut job = self.start(ranks, out, args)?;
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
        let mut job =
            self.start(Some(4), "stopped", &format!("{SMALL} {LEARNED} --out stopped"))?;
        // One epoch is saved: half of the training is left to interrupt.
        job.wait_for(&self.saved("stopped"))?;
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
        let job = self.start_with(Some(4), "panic", &args, "NOPROP_TEST_PANIC=2:9")?;
        job.ends_with("a rank that panics", &["rank 2: ", "asked for by NOPROP_TEST_PANIC"])
    }

    /// Rank 0 cannot write, in the middle of a training, while the others wait for its next message.
    fn an_error_ends_all(&self) -> Result<()> {
        let mut job = self.start(Some(4), "disk", &format!("{SMALL} {LONG} --out disk"))?;
        job.wait_for(&self.saved("disk"))?;
        fs::rename(self.folder.join("disk"), self.folder.join("disk-gone"))?;
        File::create(self.folder.join("disk"))?;
        job.ends_with("a rank that cannot write", &["error: ", "disk"])
    }

    /// One rank is started with an invalid setting.
    fn a_mistake_of_one_ends_all(&self) -> Result<()> {
        let train = "train --quiet --threads 1 --distributed mpi --out mistake";
        let mut command = Command::new("mpirun");
        command.args(MPIRUN).args(["--timeout", &PATIENCE.as_secs().to_string()]);
        for (ranks, epochs) in [("2", "1"), ("1", "0")] {
            command.args(["-n", ranks]).arg(&self.noprop).args(train.split_whitespace());
            command.args(SMALL.split_whitespace()).args(["--epochs", epochs, ":"]);
        }
        let job = self.spawn(command, "mistake")?;
        job.ends_with("a rank with a mistake in its settings", &["rank 2: ", "error: "])
    }

    fn a_kill_ends_all(&self) -> Result<()> {
        let mut job = self.start(Some(4), "killed", &format!("{SMALL} {LONG} --out killed"))?;
        job.wait_for(&self.saved("killed"))?;
        let ranks = job.ranks(4)?;
        signal("-9", ranks[1])?;
        let killed = Instant::now();
        ensure!(!job.wait(AT_ONCE)?.success(), "a job whose rank was killed succeeded");
        while ranks.iter().any(|id| Path::new(&format!("/proc/{id}")).exists()) {
            ensure!(killed.elapsed() < AT_ONCE, "ranks live on after one was killed");
            sleep(TICK);
        }
        report(&format!(
            "a rank that is killed ends the job in {:.1} s",
            killed.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// A file that exists as soon as an epoch of a run is saved.
    fn saved(&self, run: &str) -> PathBuf {
        self.folder.join(run).join("state/progress.json")
    }
}

/// The time between two looks at a condition.
const TICK: Duration = Duration::from_millis(20);

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
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            let stderr = || self.stderr();
            ensure!(started.elapsed() < patience, "no end in {patience:?}: {}", stderr());
            sleep(TICK);
        }
    }

    /// Waits for a file that the job writes.
    fn wait_for(&mut self, path: &Path) -> Result<()> {
        let started = Instant::now();
        while !path.is_file() {
            ensure!(self.child.try_wait()?.is_none(), "it ended too early: {}", self.stderr());
            ensure!(started.elapsed() < PATIENCE, "{} does not come", path.display());
            sleep(TICK);
        }
        Ok(())
    }

    /// Checks that the job prints `words`, and then ends at once without success.
    fn ends_with(mut self, what: &str, words: &[&str]) -> Result<()> {
        let started = Instant::now();
        let prints = |job: &Self| {
            let printed = job.stderr();
            words.iter().all(|words| printed.contains(words))
        };
        while !prints(&self) {
            let ended = self.child.try_wait()?.is_some();
            ensure!(!ended || prints(&self), "{what} did not print {words:?}: {}", self.stderr());
            ensure!(started.elapsed() < PATIENCE, "{what} prints nothing: {}", self.stderr());
            sleep(TICK);
        }
        let printed = Instant::now();
        ensure!(!self.wait(AT_ONCE)?.success(), "{what}: the job succeeded");
        report(&format!(
            "{what} ends the job {:.1} s after its message",
            printed.elapsed().as_secs_f64()
        ));
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

fn signal(which: &str, id: u32) -> Result<()> {
    let done = Command::new("kill").args([which, &id.to_string()]).status()?;
    ensure!(done.success(), "cannot signal {id}");
    Ok(())
}

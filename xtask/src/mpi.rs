//! `cargo xtask test-mpi`: `noprop train --distributed mpi` under a real mpirun, on this machine.
//!
//! Any number of ranks must give the bytes of one process, also across a stop; and a rank that is lost must end the job, for the
//! others would wait for it for ever. Nothing listens beyond the loopback address.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Nothing here takes a minute; a hung job must not hang the caller.
const PATIENCE: Duration = Duration::from_secs(300);
/// A job that lost a rank ends within this, or it would not end.
const AT_ONCE: Duration = Duration::from_secs(5);

const MPIRUN: [&str; 11] = [
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

/// Blocks that share class embeddings and an encoder.
const DT: &str =
    "--embedding learned:20 --steps 4 --epochs 2 --batch-size 500 --validation 500 --seed 3";
/// Blocks that share a noise schedule.
const CT: &str = "--method ct --intervals 2 --epochs 1 --batch-size 500 --validation 500 --seed 3";
/// Long enough to be killed.
const LONG: &str =
    "--embedding learned:20 --steps 4 --epochs 1000 --batch-size 500 --validation 500";

pub fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    Command::new("mpirun").arg("--version").stdout(Stdio::null()).status().context(
        "mpirun is not installed: apt-get install --no-install-recommends openmpi-bin libopenmpi-dev libclang-dev",
    )?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    // Of its own, or it would take the place of the noprop that people run.
    let target = target.join("mpi");
    let built = Command::new(env!("CARGO"))
        .args(["build", "-p", "noprop-cli", "--features", "mpi", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .status()?;
    ensure!(built.success(), "noprop does not build with the feature mpi");
    let folder = target.join("runs");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let bench = Bench { noprop: target.join("debug/noprop").canonicalize()?, folder };
    bench.same_bytes("dt", DT, &[1, 2, 4])?;
    bench.same_bytes("ct", CT, &[2])?;
    bench.stopped_by_four_resumed_by_two()?;
    bench.a_panic_ends_all()?;
    bench.a_kill_ends_all()
}

/// Where the jobs run, and what.
struct Bench {
    noprop: PathBuf,
    folder: PathBuf,
}

impl Bench {
    /// `noprop train` by itself, or by so many ranks.
    fn train(&self, ranks: Option<usize>, args: &str) -> Command {
        let mut command = match ranks {
            None => Command::new(&self.noprop),
            Some(ranks) => {
                let mut mpirun = Command::new("mpirun");
                mpirun.args(MPIRUN).args(["-n", &ranks.to_string()]).arg(&self.noprop);
                mpirun
            }
        };
        command.args(["train", "--quiet", "--threads", "1"]).args(args.split_whitespace());
        if ranks.is_some() {
            command.args(["--distributed", "mpi"]);
        }
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn model(&self, run: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(run).join("model.safetensors");
        fs::read(&path).with_context(|| path.display().to_string())
    }

    fn same_bytes(&self, name: &str, training: &str, sizes: &[usize]) -> Result<()> {
        let training = format!("--dataset mnist-sample {training}");
        let out = |ranks: usize| format!("{name}-{ranks}");
        let alone = self.train(None, &format!("{training} --out {}", out(0))).status()?;
        ensure!(alone.success(), "{name}: the training by one process failed");
        for &ranks in sizes {
            let started = Instant::now();
            let spawned =
                self.train(Some(ranks), &format!("{training} --out {}", out(ranks))).spawn()?;
            ensure!(Job(spawned).wait(PATIENCE)?.success(), "{name}: {ranks} ranks failed");
            let same = self.model(&out(0))? == self.model(&out(ranks))?;
            ensure!(same, "{name}: {ranks} ranks gave other weights than one process");
            let seconds = started.elapsed().as_secs_f64();
            println!("{name}: {ranks} ranks gave the bytes of one process, in {seconds:.1} s");
        }
        Ok(())
    }

    /// What one rank is asked, all do: they save at a common step.
    fn stopped_by_four_resumed_by_two(&self) -> Result<()> {
        let training = format!("--dataset mnist-sample {DT} --out stopped");
        let job = Job(self.train(Some(4), &training).spawn()?);
        // One epoch is saved: half of the training is left to interrupt.
        let progress = self.folder.join("stopped/state/progress.json");
        wait("an epoch is saved", PATIENCE, || progress.is_file())?;
        let ranks = children(job.0.id());
        signal("-TERM", *ranks.get(2).context("the ranks are gone")?)?;
        ensure!(job.wait(PATIENCE)?.success(), "ranks that were asked to stop failed");
        ensure!(!self.folder.join("stopped/README.md").exists(), "it was finished, not stopped");
        let events = fs::read_to_string(self.folder.join("stopped/metrics.jsonl"))?;
        ensure!(
            events.contains("\"event\":\"stop\""),
            "it did not save when a rank was asked to stop"
        );
        let again = Job(self.train(Some(2), "--resume stopped").spawn()?);
        ensure!(again.wait(PATIENCE)?.success(), "two ranks cannot go on where four stopped");
        let same = self.model("stopped")? == self.model("dt-0")?;
        ensure!(same, "four ranks and then two gave other weights than one process");
        println!("stopped with 4 ranks, resumed with 2: the bytes of one process");
        Ok(())
    }

    fn a_panic_ends_all(&self) -> Result<()> {
        let mut command =
            self.train(Some(4), &format!("--dataset mnist-sample {LONG} --out panic"));
        let said = command.env("NOPROP_TEST_PANIC", "2:9").stderr(Stdio::piped()).spawn()?;
        let mut job = Job(said);
        let mut stderr = job.0.stderr.take().context("stderr is piped")?;
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        let mut panicked = None;
        loop {
            let read = stderr.read(&mut buffer)?;
            text.extend_from_slice(&buffer[..read]);
            if panicked.is_none() && String::from_utf8_lossy(&text).contains("asked for") {
                panicked = Some(Instant::now());
            }
            if read == 0 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let panicked = panicked.with_context(|| format!("nobody panicked: {text}"))?;
        let status = job.wait(PATIENCE)?;
        let seconds = panicked.elapsed();
        ensure!(!status.success(), "a job whose rank panicked succeeded");
        ensure!(text.contains("rank 2"), "who panicked is not said: {text}");
        ensure!(seconds < AT_ONCE, "the job lived {seconds:?} after a panic");
        println!("a rank that panics ends the job in {:.1} s", seconds.as_secs_f64());
        Ok(())
    }

    fn a_kill_ends_all(&self) -> Result<()> {
        let training = format!("--dataset mnist-sample {LONG} --out killed");
        let job = Job(self.train(Some(4), &training).stderr(Stdio::null()).spawn()?);
        let progress = self.folder.join("killed/state/progress.json");
        wait("an epoch is saved", PATIENCE, || progress.is_file())?;
        let ranks = children(job.0.id());
        ensure!(ranks.len() == 4, "{} ranks run where 4 should", ranks.len());
        signal("-9", ranks[1])?;
        let killed = Instant::now();
        let status = job.wait(AT_ONCE)?;
        ensure!(!status.success(), "a job whose rank was killed succeeded");
        wait("no rank is left", AT_ONCE, || {
            ranks.iter().all(|id| !Path::new(&format!("/proc/{id}")).exists())
        })?;
        println!("a rank that is killed ends the job in {:.1} s", killed.elapsed().as_secs_f64());
        Ok(())
    }
}

/// An mpirun; it ends when this is dropped, and with it its ranks.
struct Job(Child);

impl Job {
    fn wait(mut self, patience: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            ensure!(started.elapsed() < patience, "the job did not end in {patience:?}");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // mpirun takes its ranks with it, if it is asked in a way that it can hear.
            let _ = signal("-TERM", self.0.id());
            let _ = self.0.wait();
        }
    }
}

fn wait(what: &str, patience: Duration, done: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !done() {
        ensure!(started.elapsed() < patience, "{what}: did not happen");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn signal(which: &str, id: u32) -> Result<()> {
    let done = Command::new("kill").args([which, &id.to_string()]).status()?;
    ensure!(done.success(), "cannot signal {id}");
    Ok(())
}

/// The processes that `id` started.
fn children(id: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let ids = lists.flat_map(|list| {
        list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()
    });
    ids.collect()
}

//! `cargo xtask test-slurm`: the scripts of `scripts/slurm` on real daemons.
//!
//! Two nodes run on this machine and listen on the loopback address only. A task is killed with -9, then a node is lost with everything on
//! it. The merged weights must have the bytes of one process. All daemons are stopped at the end, also after a failure. NOPROP may name a
//! program that is built already.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::mpi::PATIENCE;
use crate::workspace::{self, quiet, report, signal};

const TRAINING: &str =
    "--dataset mnist-sample --encoder per-block --steps 4 --epochs 3 --validation 500 --seed 3";
/// The readout and four blocks.
const UNITS: usize = 5;

pub fn run() -> Result<()> {
    let root = workspace::root()?;
    for program in ["munged", "slurmctld", "slurmd", "sbatch"] {
        let mut version = Command::new(program);
        version.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().with_context(|| {
            format!(
                "{program} is not installed: apt-get install slurmctld slurmd slurm-client munge"
            )
        })?;
    }
    let noprop = workspace::noprop(root, "")?;
    let folder = workspace::fresh_folder(root, "slurm", &[&noprop])?;
    let cluster = Cluster::start(&folder)?;
    let train = |out: &str| {
        let mut train = Command::new(&noprop);
        train.args(["train", "--quiet", "--threads", "1", "--out", out]).args(TRAINING.split(' '));
        train.current_dir(&folder);
        train
    };
    workspace::run(train("whole").stdout(Stdio::null()))?;

    let submit = root.join("scripts/slurm/submit.sh");
    let mut submitting = cluster.command(&submit);
    submitting.args(["apart", "0-4"]).args(TRAINING.split(' ')).env("NOPROP", &noprop);
    workspace::run(&mut submitting)?;
    let started = Instant::now();
    let units = folder.join("apart/units");
    let epochs =
        |unit: &str| fs::read_dir(units.join(unit).join("epochs")).map_or(0, Iterator::count);
    wait("block 2 has an epoch", || epochs("block.2") > 0)?;
    let block_2 = || cluster.tasks("--blocks\u{0}2\u{0}");
    let victim = block_2().first().copied().context("block 2 does not run")?;
    signal("-9", victim)?;
    report(&format!("killed block 2 after {:.1} s", started.elapsed().as_secs_f64()));
    let another = || block_2().into_iter().find(|&id| id != victim);
    wait("block 2 is restarted", || another().is_some())?;
    report(&format!("restarted after {:.1} s", started.elapsed().as_secs_f64()));
    let again = another().context("block 2 does not run")?;
    cluster.lose_node_of(again)?;
    report(&format!("lost a node after {:.1} s", started.elapsed().as_secs_f64()));
    let merged = folder.join("apart/README.md");
    wait("the merge", || merged.is_file())?;
    report(&format!("merged after {:.1} s", started.elapsed().as_secs_f64()));

    let bytes = |run: &str| fs::read(folder.join(run).join("model.safetensors"));
    ensure!(bytes("whole")? == bytes("apart")?, "the merged weights are not those of one process");
    let logs: String = (0..UNITS)
        .filter_map(|task| fs::read_to_string(folder.join(format!("apart.logs/{task}.txt"))).ok())
        .collect();
    ensure!(logs.contains("requeued"), "no task was requeued: nothing was tested\n{logs}");
    report("a killed task and a lost node: the bytes of one process");
    Ok(())
}

/// Waits until `done` returns true.
fn wait(what: &str, done: impl Fn() -> bool) -> Result<()> {
    workspace::wait(what, PATIENCE, || Ok(done()))
}

/// The processes of the cluster with this configuration, which all have it in their environment. Root may end any process, so no others are
/// looked at: those of another cluster may have the same words and nodes of the same names.
fn processes_of(config: &Path) -> Vec<u32> {
    let variable = format!("SLURM_CONF={}", config.display());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|&id| has_variable(id, &variable)).collect()
}

/// Returns whether a process has this variable, such as `NAME=value`, in its environment.
fn has_variable(id: u32, variable: &str) -> bool {
    content(id, "environ").split('\0').any(|other| other == variable)
}

/// The content of a file of a process in `/proc`; nothing if it has ended.
fn content(id: u32, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The daemons; they end when this is dropped.
struct Cluster {
    folder: PathBuf,
    config: PathBuf,
    daemons: Vec<Child>,
    nodes: Vec<Child>,
}

impl Cluster {
    fn start(folder: &Path) -> Result<Self> {
        let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let host = name.trim();
        let ports = free_ports(3)?;
        let [control, first, second] = ports[..] else { bail!("three ports were asked for") };
        let config = folder.join("slurm.conf");
        let key = folder.join("munge.key");
        // Only this test uses it.
        fs::write(&key, [7; 1024])?;
        // munge refuses a key that others can read.
        workspace::run(Command::new("chmod").arg("600").arg(&key))?;
        for name in ["state", "spool-np1", "spool-np2"] {
            fs::create_dir(folder.join(name))?;
        }
        let at = folder.display();
        fs::write(
            &config,
            format!(
                "ClusterName=noprop\n\
                 SlurmctldHost={host}(127.0.0.1)\n\
                 SlurmUser=root\n\
                 SlurmdUser=root\n\
                 SlurmctldPort={control}\n\
                 CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
                 AuthType=auth/munge\n\
                 CryptoType=crypto/munge\n\
                 AuthInfo=socket={at}/munge.sock,cred_expire=5\n\
                 StateSaveLocation={at}/state\n\
                 SlurmdSpoolDir={at}/spool-%n\n\
                 SlurmctldPidFile={at}/slurmctld.pid\n\
                 SlurmdPidFile={at}/slurmd-%n.pid\n\
                 SlurmctldLogFile={at}/slurmctld.log\n\
                 SlurmdLogFile={at}/slurmd-%n.log\n\
                 ProctrackType=proctrack/linuxproc\n\
                 TaskPlugin=task/none\n\
                 SelectType=select/cons_tres\n\
                 SelectTypeParameters=CR_CPU\n\
                 SlurmdParameters=config_overrides\n\
                 MpiDefault=none\n\
                 ReturnToService=2\n\
                 JobRequeue=1\n\
                 SlurmdTimeout=10\n\
                 KillWait=2\n\
                 MinJobAge=300\n\
                 NodeName=np1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1\n\
                 NodeName=np2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1\n\
                 PartitionName=all Nodes=np[1-2] Default=YES MaxTime=INFINITE State=UP\n"
            ),
        )?;
        let mut cluster =
            Self { folder: folder.into(), config, daemons: Vec::new(), nodes: Vec::new() };
        let file = |name: &str| folder.join(name).display().to_string();
        let mut munged = Command::new("munged");
        munged
            .args(["--foreground", "--force"])
            .args(["--key-file", &file("munge.key"), "--socket", &file("munge.sock")])
            .args(["--pid-file", &file("munge.pid"), "--log-file", &file("munge.log")])
            .args(["--seed-file", &file("munge.seed")]);
        cluster.daemons.push(spawn(&mut munged)?);
        wait("munged listens", || folder.join("munge.sock").exists())?;
        let control = spawn(cluster.command("slurmctld").args(["-D", "-c"]))?;
        cluster.daemons.push(control);
        for node in ["np1", "np2"] {
            let daemon = spawn(cluster.command("slurmd").args(["-D", "-N", node]))?;
            cluster.nodes.push(daemon);
        }
        wait("both nodes are idle", || {
            let answer = cluster.command("sinfo").args(["-h", "-o", "%T %D"]).output();
            answer.is_ok_and(|answer| answer.stdout.starts_with(b"idle 2"))
        })
        .with_context(|| format!("see the logs in {}", folder.display()))?;
        Ok(cluster)
    }

    /// A command that uses these daemons.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", &self.config).current_dir(&self.folder);
        command
    }

    /// Its processes whose command line contains `words`; words are separated by NUL there.
    fn tasks(&self, words: &str) -> Vec<u32> {
        let mut tasks = processes_of(&self.config);
        tasks.retain(|&id| content(id, "cmdline").contains(words));
        tasks
    }

    /// Ends the node on which process `id` runs, with everything on it, as a power failure would.
    fn lose_node_of(&self, id: u32) -> Result<()> {
        let running = |number: usize| {
            let name = format!("SLURMD_NODENAME=np{}", number + 1);
            let mut running = processes_of(&self.config);
            running.retain(|&id| has_variable(id, &name));
            running
        };
        let nodes = (0..self.nodes.len()).map(|number| (number, running(number)));
        let node = nodes.into_iter().find(|(_, running)| running.contains(&id));
        let (number, running) = node.context("the process runs on no node")?;
        signal("-9", self.nodes.get(number).context("no such node")?.id())?;
        // First the step daemons, which would report that a task has ended.
        let leaders = running.iter().filter_map(|&id| parent(id)).filter(|&id| is_step_daemon(id));
        let leaders: Vec<u32> = leaders.collect();
        for id in leaders.into_iter().chain(running) {
            // Some end by themselves when their parents do.
            let _ = signal("-9", id);
        }
        Ok(())
    }
}

fn parent(id: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn is_step_daemon(id: u32) -> bool {
    fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.starts_with(b"slurmstepd"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command("scancel").args(["--me"]).status();
        for daemon in self.nodes.iter_mut().chain(self.daemons.iter_mut().rev()) {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        for id in processes_of(&self.config) {
            let _ = signal("-9", id);
        }
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    quiet(command).spawn().with_context(|| format!("cannot start {:?}", command.get_program()))
}

/// Different ports that are free.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let bound: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    Ok(bound.iter().map(|port| Ok(port.local_addr()?.port())).collect::<std::io::Result<_>>()?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The chore kills with -9, as root.
    #[test]
    fn processes_of_another_cluster_are_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let sleeping = |config: &Path| {
            Command::new("sleep").arg("60").env("SLURM_CONF", config).spawn().unwrap()
        };
        let config = dir.path().join("slurm.conf");
        let (mut own, mut other) =
            (sleeping(&config), sleeping(&dir.path().join("slurm.conf.other")));
        let begun = |child: &Child| !content(child.id(), "environ").is_empty();
        let waited = wait("both processes", || begun(&own) && begun(&other));
        let found = processes_of(&config);
        for child in [&mut own, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        waited.unwrap();
        assert_eq!(found, [own.id()]);
    }
}

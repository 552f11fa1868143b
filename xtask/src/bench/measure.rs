//! The measurements.

mod versus;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use noprop_files::{DatasetName, Presence};
use serde_json::Value;
use versus::Versus;

use super::row::{Goal, Row, Target, Unit};
use super::side::Side;
use super::torch::Torch;
use super::{Built, Device, Options};
use crate::workspace::{output, report};

/// Blocks of the networks, unless their number is what is measured.
const BLOCKS: usize = 10;
/// Steps per round.
const STEPS: usize = 5;
/// Seeds of trainings.
const SEEDS: [u32; 3] = [0, 1, 2];

/// Everything a measurement needs.
pub struct Bench {
    built: Built,
    /// The folder of trainings, and of weights and data that our worker writes for peers.
    folder: PathBuf,
    threads: usize,
    rounds: usize,
    /// The image branch, as `--network` of `noprop train` names it.
    network: String,
    /// A data directory that has MNIST.
    mnist: Option<PathBuf>,
    peers: Vec<Peer>,
    date: String,
    machine: String,
}

/// A peer.
pub enum Peer {
    Torch(Torch),
    /// Our own worker on candle's ops.
    Candle,
}

impl Peer {
    fn name(&self) -> &'static str {
        match self {
            Self::Torch(_) => "torch",
            Self::Candle => "candle",
        }
    }
}

/// The network of a measurement.
#[derive(Clone, Copy)]
struct Network {
    encoder: &'static str,
    blocks: usize,
    device: Device,
    precision: &'static str,
    /// The way in which PyTorch computes; see the beginning of `torch_peer.py`.
    way: &'static str,
}

const PER_BLOCK: Network = Network {
    encoder: "per-block",
    blocks: BLOCKS,
    device: Device::Cpu,
    precision: "f32",
    way: "eager",
};
const SHARED: Network = Network { encoder: "shared", ..PER_BLOCK };
const FROZEN: Network = Network { encoder: "frozen", ..PER_BLOCK };

impl Bench {
    pub fn new(root: &Path, built: Built, options: &Options, peers: Vec<Peer>) -> Result<Self> {
        let folder = root.join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let mnist = match DatasetName::Mnist.presence(&options.data_dir) {
            Presence::Complete { .. } => Some(std::path::absolute(&options.data_dir)?),
            _ => {
                report(
                    "no MNIST in the data directory: steps, inference, memory and epochs on a GPU are those of the bundled sample, other epochs and trainings are left out",
                );
                None
            }
        };
        let (threads, rounds) = (options.threads.get(), options.rounds.get());
        let (network, machine) = (options.network.clone(), machine(threads));
        let date = time::OffsetDateTime::now_utc().date().to_string();
        Ok(Self { built, folder, threads, rounds, network, mnist, peers, date, machine })
    }

    /// `name`, with the network unless it is the paper's, and with the data unless they are MNIST.
    fn named(&self, name: &str) -> String {
        match self.network.as_str() {
            "paper" => self.on_data(name),
            network => self.on_data(&format!("{name} {network}")),
        }
    }

    /// `what`, with the data unless they are MNIST.
    fn on_data(&self, what: &str) -> String {
        match self.mnist {
            Some(_) => what.into(),
            None => format!("{what}, the sample"),
        }
    }

    /// The bounds of a training's ratio: those of the paper's network, or of another.
    fn training_target(&self, [must, aim]: [f64; 2]) -> Target {
        match self.network.as_str() {
            "paper" => Target::Ratio { must, aim },
            _ => Target::Ratio { must: 0.80, aim: 0.50 },
        }
    }

    /// One training step of a paper block: image branch and head, forward, backward, update.
    pub fn step(&self) -> Result<Vec<Row>> {
        let target = self.training_target([0.30, 0.20]);
        let what = match self.network.as_str() {
            "paper" => "one training step of a paper block, batch 128".to_owned(),
            network => format!("one training step of a block with {network}, batch 128"),
        };
        let (name, what) = (self.named("step"), self.on_data(&what));
        let (network, rounds) = (PER_BLOCK, self.rounds);
        let versus = Versus { name: &name, what: &what, network, rounds, target };
        self.against_all(&versus, |side| side.seconds("step", STEPS))
    }

    /// All test images from noise to classes.
    pub fn inference(&self) -> Result<Vec<Row>> {
        let target = Target::Ratio { must: 0.6, aim: 0.4 };
        let what = match self.mnist {
            Some(_) => "eval of 10,000 images, T = 10, shared encoder",
            None => "eval of 1,000 images, T = 10, shared encoder",
        };
        let what = &self.named(what);
        let (network, rounds) = (SHARED, self.rounds);
        let name = self.named("inference");
        let versus = Versus { name: &name, what, network, rounds, target };
        self.against_all(&versus, |side| side.seconds("eval", 1))
    }

    /// An epoch of MNIST, with a shared and with a frozen encoder.
    pub fn epoch(&self) -> Result<Vec<Row>> {
        if self.mnist.is_none() {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        let target = self.training_target([0.33, 0.25]);
        let what = self.named("one epoch of MNIST (55,000 images), shared encoder, T = 10");
        let work = |side: &mut Side| side.seconds("epoch", 1);
        let (network, rounds) = (SHARED, self.rounds.div_ceil(3));
        let name = self.named("epoch");
        let versus = Versus { name: &name, what: &what, network, rounds, target };
        for peer in self.peers.iter().filter(|peer| matches!(peer, Peer::Torch(_))) {
            rows.push(self.against(peer, &versus, work)?);
        }
        let mut ours = self.ours(FROZEN, None)?;
        let seconds = repeated(self.rounds, || work(&mut ours))?;
        let what = self.named("one epoch of MNIST, frozen encoder, features cached");
        let target = (self.network == "paper").then_some(Target::Ours { must: 3.0, aim: 1.5 });
        let key = self.named("frozen epoch");
        rows.push(self.row(&key, &what, Unit::Seconds, seconds, None, target));
        Ok(rows)
    }

    fn torch(&self) -> impl Iterator<Item = &Torch> {
        self.peers.iter().filter_map(|peer| match peer {
            Peer::Torch(torch) => Some(torch),
            Peer::Candle => None,
        })
    }

    /// A process that has imported PyTorch.
    fn torch_side(&self, torch: &Torch) -> Result<Side> {
        Side::start("torch", torch.command(), self.threads)
    }

    /// An epoch of MNIST on a GPU, all ten per-block encoders, in each precision, against each way of the peer.
    pub fn gpu_epoch(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for precision in ["f32", "tf32", "bf16"] {
            for (way, must, aim) in
                [("eager", 0.25, 0.10), ("compiled", 0.8, 0.5), ("vmap", 0.8, 0.5)]
            {
                let network = Network { device: Device::Cuda, precision, way, ..PER_BLOCK };
                let what = self.named(&format!(
                    "one epoch{}, per-block encoders, T = 10, on CUDA in {precision}, the peer's way: {way}",
                    if self.mnist.is_some() { " of MNIST" } else { "" }
                ));
                let name = self.named(&format!("cuda epoch {precision} {way}"));
                let target = Target::Ratio { must, aim };
                let rounds = self.rounds;
                let versus = Versus { name: &name, what: &what, network, rounds, target };
                match self.against_all(&versus, |side| side.seconds("epoch", 1)) {
                    Ok(measured) => rows.extend(measured),
                    // Every version of the peer has this way.
                    Err(error) if way == "eager" => return Err(error.context(what)),
                    // It may lack the others, which are measured where they are there.
                    Err(error) => report(&format!("left out: {what}: {error:#}")),
                }
            }
        }
        Ok(rows)
    }

    /// `noprop train` from start to end, with the fewest epochs that reach an accuracy with every seed.
    pub fn time_to_accuracy(&self) -> Result<Vec<Row>> {
        let (Some(data), "paper") = (&self.mnist, self.network.as_str()) else {
            return Ok(Vec::new());
        };
        let goals = [(0.9878, 1, 40.0, 20.0), (0.99, 2, 60.0, 30.0), (0.994, 6, 120.0, 60.0)];
        let mut rows = Vec::new();
        for (wanted, epochs, must, aim) in goals {
            let (mut seconds, mut accuracies) = (Vec::new(), Vec::new());
            for seed in SEEDS {
                let begun = Instant::now();
                let trained = self.train(data, epochs, seed)?;
                seconds.push(begun.elapsed().as_secs_f64());
                accuracies.push(
                    trained["test_accuracy"].as_f64().context("train gave no test accuracy")?,
                );
            }
            let (goal, missed) = match accuracies.iter().all(|&accuracy| accuracy >= wanted) {
                true => (Goal::Reached, ""),
                false => (Goal::Missed, ", so the accuracy is missed"),
            };
            let shown: Vec<_> = accuracies.iter().map(|a| format!("{:.2}", 100.0 * a)).collect();
            let percent = 100.0 * wanted;
            let key = format!("time to {percent:.2} %");
            let what = format!(
                "`noprop train --epochs {epochs}` from start to end, for {percent:.2} % on MNIST's test images"
            );
            let target = Some(Target::Ours { must, aim });
            let mut row = self.row(&key, &what, Unit::Seconds, seconds, None, target);
            row.goal = goal;
            row.note = Some(format!("seeds 0, 1, 2 reach {} %{missed}", shown.join(", ")));
            rows.push(row);
        }
        Ok(rows)
    }

    /// Peak memory of a training of the paper's network, and its growth by thirty more blocks.
    pub fn memory(&self) -> Result<Vec<Row>> {
        if self.network != "paper" {
            return Ok(Vec::new());
        }
        let rounds = self.rounds.div_ceil(3);
        let mut rows = Vec::new();
        let target = Target::Ratio { must: 0.35, aim: 0.20 };
        for torch in self.torch() {
            // Writes the data that the peer loads.
            drop(self.ours(PER_BLOCK, Some(&self.folder))?);
            let (mut b, mut without) = (Vec::new(), Vec::new());
            let a = repeated(rounds, || {
                let ours = self.peak(self.ours(PER_BLOCK, None)?)?;
                let mut side = self.torch_side(torch)?;
                let imported = side.peak()?;
                side.ask(&self.setup(PER_BLOCK, None, None, Some(&self.folder)))?;
                let peak = self.peak(side)?;
                b.push(peak);
                without.push(peak - imported);
                Ok(vec![ours])
            })?;
            let what = "peak resident memory, training the paper's network, all ten blocks";
            let (key, what) =
                (format!("{} against torch", self.named("memory")), self.on_data(what));
            let peer = Some(("torch", b));
            rows.push(self.row(&key, &what, Unit::Bytes, a.clone(), peer, Some(target)));
            let what = format!("{what}, without what `import torch` takes");
            let key = format!("{key} without the import");
            rows.push(self.row(&key, &what, Unit::Bytes, a, Some(("torch", without)), None));
        }
        let growth = repeated(rounds, || {
            let (few, few_parameters) = self.peak_of_blocks(BLOCKS)?;
            let (many, many_parameters) = self.peak_of_blocks(4 * BLOCKS)?;
            // A parameter and its two moments, f32 each.
            let expected = 12.0 * (many_parameters - few_parameters);
            Ok(vec![(many - few) - expected])
        })?;
        let what = "growth of peak memory from T = 10 to T = 40 beyond parameters and moments, shared encoder";
        let (key, what) = (self.named("memory growth"), self.on_data(what));
        rows.push(self.row(&key, &what, Unit::Bytes, growth, None, None));
        Ok(rows)
    }

    /// `noprop info` from start to finish.
    pub fn startup(&self) -> Result<Vec<Row>> {
        if self.network != "paper" {
            return Ok(Vec::new());
        }
        let run = self.folder.join("startup");
        if !run.join("model.safetensors").is_file() {
            let arguments = ["--dataset", "mnist-sample", "--epochs", "1", "--out"];
            let mut train = Command::new(&self.built.program);
            train.arg("train").args(arguments).arg(&run).args(["--force", "--quiet"]);
            output(&mut train)?;
        }
        let seconds = repeated(2 * self.rounds, || {
            let begun = Instant::now();
            output(Command::new(&self.built.program).args(["info", "--run"]).arg(&run))?;
            Ok(vec![begun.elapsed().as_secs_f64()])
        })?;
        let target = Target::Ours { must: 0.060, aim: 0.020 };
        let what = "`noprop info` from start to finish";
        Ok(vec![self.row("startup", what, Unit::Seconds, seconds, None, Some(target))])
    }

    /// The peak memory of a process after a few steps of all blocks.
    fn peak(&self, mut side: Side) -> Result<f64> {
        side.seconds("step-all", 2 * STEPS)?;
        side.peak()
    }

    /// Peak memory and number of parameters of a training with `blocks` blocks and a shared encoder.
    fn peak_of_blocks(&self, blocks: usize) -> Result<(f64, f64)> {
        let mut side = Side::start("our worker", Command::new(&self.built.worker), self.threads)?;
        let network = Network { blocks, ..SHARED };
        let setup = self.setup(network, None, self.mnist.as_deref(), None);
        let parameters = side.part(&setup, "parameters")?;
        Ok((self.peak(side)?, parameters))
    }

    fn train(&self, data: &Path, epochs: u32, seed: u32) -> Result<Value> {
        let mut train = Command::new(&self.built.program);
        train
            .args(["train", "--json", "--quiet", "--force", "--dataset", "mnist", "--data-dir"])
            .arg(data)
            .arg("--out")
            .arg(self.folder.join("train"))
            .args(["--epochs", &epochs.to_string(), "--seed", &seed.to_string()])
            .args(["--threads", &self.threads.to_string()]);
        Ok(serde_json::from_slice(&output(&mut train)?)?)
    }

    fn row(
        &self,
        key: &str,
        what: &str,
        unit: Unit,
        ours: Vec<f64>,
        peer: Option<(&str, Vec<f64>)>,
        target: Option<Target>,
    ) -> Row {
        Row {
            key: key.into(),
            what: what.into(),
            unit,
            ours,
            peer: peer.map(|(name, samples)| (name.into(), samples)),
            target,
            goal: Goal::Reached,
            note: None,
            date: self.date.clone(),
            machine: self.machine.clone(),
        }
    }
}

/// The samples of `rounds` rounds of `work`.
fn repeated(rounds: usize, mut work: impl FnMut() -> Result<Vec<f64>>) -> Result<Vec<f64>> {
    let samples: Vec<_> = (0..rounds).map(|_| work()).collect::<Result<_>>()?;
    Ok(samples.concat())
}

/// Processor, threads, system.
fn machine(threads: usize) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim())
        })
    };
    let mut processor = value("model name").unwrap_or(std::env::consts::ARCH).to_owned();
    // Cloud providers give several kinds of processors the same name.
    if let (Some(family), Some(model)) = (value("cpu family"), value("model")) {
        processor = format!("{processor} (family {family}, model {model})");
    }
    format!("{processor}, {threads} threads, {}", std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A measurement on the sample, or of another network, must not take the place of the one of the paper's network on MNIST.
    #[test]
    fn a_key_has_the_network_and_the_data() {
        let key = |network: &str, mnist: Option<&str>| {
            let bench = Bench {
                built: Built { program: PathBuf::new(), worker: PathBuf::new() },
                folder: PathBuf::new(),
                threads: 1,
                rounds: 1,
                network: network.into(),
                mnist: mnist.map(PathBuf::from),
                peers: Vec::new(),
                date: String::new(),
                machine: String::new(),
            };
            bench.named("memory")
        };
        assert_eq!(key("paper", Some("data")), "memory");
        assert_eq!(key("resnet:32", Some("data")), "memory resnet:32");
        assert_eq!(key("paper", None), "memory, the sample");
        assert_eq!(key("resnet:32", None), "memory resnet:32, the sample");
    }
}

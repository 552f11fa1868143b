//! `cargo xtask bench`: ours and a peer in turn (A B A B …), on the same network, data and threads.
//!
//! | file | subject |
//! | --- | --- |
//! | `side.rs` | a process that answers requests: our worker, or a peer |
//! | `torch.rs` | the PyTorch peer, installed on first use |
//! | `measure.rs` | the measurements; `measure/versus.rs` takes both sides in turn |
//! | `layers.rs` | single layers |
//! | `row.rs` | one result: samples, ratio, target |
//! | `report.rs` | `docs/benchmarks.md`, the JSON beside it, the figure |
//!
//! Times are taken only after both sides gave the same logits for the same images and weights.

mod layers;
mod measure;
mod report;
mod row;
mod side;
mod torch;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::workspace::{self, BadUsage, report};
use measure::{Bench, Peer};
use row::Row;

/// The measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Every fused op alone (cargo bench of noprop-kernels), then the layers of a residual network and of a transformer against PyTorch; prints the times and writes no file
    Ops,
    /// One training step of a block
    Step,
    /// One epoch, with a shared and with a frozen encoder
    Epoch,
    /// From the start of `noprop train` to an accuracy
    TimeToAccuracy,
    /// Classifying the test images
    Inference,
    /// Peak memory, and how it grows with the number of blocks
    Memory,
    /// `noprop info` from start to finish
    Startup,
    /// All of these but the single ops
    All,
}

/// The peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// PyTorch in its fastest way (eager, channels_last or compiled), installed from PyPI into target/peers on first use
    Torch,
    /// candle's own ops, in the same trainer
    Candle,
}

/// The device of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// The processor
    Cpu,
    /// The first GPU by NVIDIA: an epoch of all ten blocks, in each precision; CUDA's compiler is needed (docs/gpu.md)
    Cuda,
}

#[derive(Args)]
pub struct Options {
    /// Measurement to make
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// Peers, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "torch")]
    against: Vec<Against>,
    /// Image branch. With another one than the paper's, only steps, epochs and inference are measured: paper, resnet:W or vit:W,D,P. Without a peer
    /// it may be any of `noprop train`
    #[arg(long, value_name = "NETWORK", default_value = "paper")]
    network: String,
    /// Device of both sides
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Folder with the programs noprop and bench_worker, built on another machine; then nothing is built
    #[arg(long, value_name = "DIR")]
    built: Option<PathBuf>,
    /// A Python with PyTorch, NumPy and safetensors, instead of one that is installed for the benchmark
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// Threads of each side
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
    /// Folder that holds the data sets; measurements that need MNIST are left out if it is not there
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Rounds of every measurement (an epoch's are a third)
    #[arg(long, default_value = "9")]
    rounds: NonZeroUsize,
}

pub fn run(options: &Options) -> Result<()> {
    let built_in = workspace::root()?;
    // A program that was built on another machine is started in a checkout.
    let root = if built_in.is_dir() { built_in } else { Path::new(".") };
    if options.what == What::Ops {
        return ops(root, options);
    }
    let built = match &options.built {
        Some(folder) => {
            Built { program: folder.join("noprop"), worker: folder.join("bench_worker") }
        }
        None => build(root, options.device)?,
    };
    let mut peers = Vec::new();
    if options.against.contains(&Against::Torch) {
        match torch::find(root, options.python.as_deref()) {
            Ok(torch) => peers.push(Peer::Torch(torch)),
            Err(error) => report(&format!("left out: everything against PyTorch ({error:#})")),
        }
    }
    if options.against.contains(&Against::Candle) {
        peers.push(Peer::Candle);
    }
    let bench = Bench::new(root, built, options, peers)?;
    let all = options.what == What::All;
    let save = |rows: Vec<Row>| {
        rows.iter().for_each(|row| report(&row.line()));
        report::write(root, rows)
    };
    if options.device == Device::Cuda {
        ensure!(
            all || options.what == What::Epoch,
            BadUsage(
                "on CUDA an epoch is what is measured: cargo xtask bench epoch --device cuda"
                    .into()
            )
        );
        return save(bench.gpu_epoch()?);
    }
    type Measure = fn(&Bench) -> Result<Vec<Row>>;
    let measures: [(What, Measure); 6] = [
        (What::Startup, Bench::startup),
        (What::Step, Bench::step),
        (What::Inference, Bench::inference),
        (What::Memory, Bench::memory),
        (What::Epoch, Bench::epoch),
        (What::TimeToAccuracy, Bench::time_to_accuracy),
    ];
    for (_, measure) in measures.iter().filter(|(what, _)| all || options.what == *what) {
        // Saved after each, so that a long run that is stopped leaves its results.
        save(measure(&bench)?)?;
    }
    Ok(())
}

/// The programs that are measured.
struct Built {
    program: PathBuf,
    worker: PathBuf,
}

fn build(root: &Path, device: Device) -> Result<Built> {
    report("building the program and the benchmark's worker");
    for what in ["-p noprop-cli", "-p noprop-train --example bench_worker"] {
        let mut build = workspace::cargo(root, "build --quiet");
        build.args(what.split_whitespace());
        if device == Device::Cuda {
            build.args(["--features", "cuda"]);
        }
        workspace::run(&mut build)?;
    }
    let [program, worker] =
        ["noprop", "examples/bench_worker"].map(|name| workspace::built_program(root, name));
    Ok(Built { program, worker })
}

fn ops(root: &Path, options: &Options) -> Result<()> {
    let threads = options.threads.get();
    let mut bench = workspace::cargo(root, "bench --profile dev -p noprop-kernels --bench ops");
    bench.env("RAYON_NUM_THREADS", threads.to_string()).env("CANDLE_NUM_THREADS", "1");
    workspace::run(&mut bench)?;
    workspace::run(&mut workspace::cargo(
        root,
        "build --quiet -p noprop-kernels --example layers",
    ))?;
    let ours = Command::new(workspace::built_program(root, "examples/layers"));
    let torch = match options.against.contains(&Against::Torch) {
        true => torch::find(root, options.python.as_deref()).map(|torch| torch.layers()),
        false => Err(anyhow::anyhow!("not asked for")),
    };
    if let Err(error) = &torch {
        report(&format!("left out: PyTorch's layers ({error:#})"));
    }
    layers::run(ours, torch.ok(), threads, options.rounds.get())
}

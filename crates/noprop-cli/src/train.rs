//! `noprop train`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::Device;
use noprop_kernels::threads::Workers;
use noprop_method::Seed;
use noprop_models::Network;
use noprop_train::{
    Existing, Fitting, Grouping, Outcome, PeakMemory, Peers, Progress, RunDirectory, Trainer, fit,
};

use crate::args::{Form, Train};
use crate::blocks;
use crate::config::RunConfig;
use crate::distributed;
use crate::images::bad_pictures;
use crate::output::note;
use crate::progress::{self, Verbosity};
use crate::task::Task;

pub fn run(args: &Train, peers: &dyn Peers) -> Result<()> {
    if let Some(blocks) = &args.blocks {
        return blocks::run(args, blocks);
    }
    // Everything is checked before a directory is made, so that a mistake leaves nothing behind.
    let (task, network, run, start) = match &args.resume {
        Some(path) => {
            let run = match peers.is_first() {
                true => RunDirectory::open_to_write(path)?,
                false => RunDirectory::open(path)?,
            };
            let task =
                Task::of_run(&run, &args.data_dir, bad_pictures(args.skip_bad), args.compute)?;
            let network = task.config.network(task.config.fresh(&task.device))?;
            (task, network, run, Start::Resumed)
        }
        None => {
            let task = Task::asked(args)?;
            let network = task.network()?;
            let config = task.config.to_toml()?;
            let run = match args.distributed {
                Some(_) => distributed::create(args, peers, &config, existing(args))?,
                None => {
                    let out = args.out.clone().unwrap_or_else(|| next_run(&task.config));
                    RunDirectory::create(&out, existing(args), &config)?
                }
            };
            (task, network, run, Start::Fresh)
        }
    };
    distributed::warn_of_no_shares(&network, &*task.objective, peers);
    match train(&task, &network, (&run, start), args, peers)? {
        Outcome::Finished(report) => {
            let peak = PeakMemory::until_now(&task.device);
            task.finish(&run, Form::of(args.json), &report, peak)
        }
        Outcome::Stopped { .. } if !peers.is_first() => Ok(()),
        Outcome::Stopped { epoch, step } => {
            let path = run.path().display();
            note!(
                "stopped after {epoch} epoch(s) and {step} step(s); go on with: noprop train --resume {path}"
            );
            Ok(())
        }
        // The first process has all the weights.
        Outcome::Trained => Ok(()),
    }
}

#[derive(PartialEq)]
enum Start {
    Fresh,
    Resumed,
}

/// What becomes of a run that is there.
pub fn existing(args: &Train) -> Existing {
    if args.force { Existing::Replace } else { Existing::Refuse }
}

fn train(
    task: &Task,
    network: &Network,
    (run, start): (&RunDirectory, Start),
    args: &Train,
    peers: &dyn Peers,
) -> Result<Outcome> {
    let config = &task.config;
    if peers.is_first() {
        task.warn_of_a_label_in_the_noise(network)?;
    }
    let identity = config.to_json()?;
    let progress = match start {
        Start::Resumed => Progress::read(run, &identity)?,
        Start::Fresh => Progress::start(&identity),
    };
    let seed = Seed(config.seed);
    let mut trainer = Trainer::new(network, &*task.objective, &task.train, config.train(), seed)?
        .block_workers(workers(args))
        .among(peers)
        .grouping(grouping(&task.device, args))?;
    if start == Start::Resumed {
        progress.restore(run, &mut trainer)?;
    }
    let fitting = Fitting {
        run,
        validation: &task.validation,
        sampler: config.sampler(),
        metadata: &identity,
        save_every: args.save_every.0,
    };
    let steps = trainer.steps_per_epoch();
    let done = u64::from(progress.epoch) * u64::from(steps) + u64::from(progress.step);
    let verbosity = if peers.is_first() { verbosity(args) } else { Verbosity::Quiet };
    let mut shown = progress::Progress::new(verbosity, config.epochs, steps, done)?;
    Ok(fit(&mut trainer, &fitting, progress, &mut shown)?)
}

/// On a GPU a launch costs as much as its work, so there all blocks share them, unless one at a time was asked for.
fn grouping(device: &Device, args: &Train) -> Grouping {
    match (device, args.block_workers.map(NonZeroUsize::get)) {
        (Device::Cpu, _) | (_, Some(1)) => Grouping::OneByOne,
        (Device::Cuda(_) | Device::Metal(_), _) => Grouping::SideBySide,
    }
}

/// How many blocks train at a time.
pub fn workers(args: &Train) -> Workers {
    args.block_workers.map_or(Workers::Auto, Workers::Exactly)
}

pub fn verbosity(args: &Train) -> Verbosity {
    if args.quiet { Verbosity::Quiet } else { Verbosity::Normal }
}

/// The first free folder `runs/DATASET-METHOD-NUMBER`.
fn next_run(config: &RunConfig) -> PathBuf {
    let path = |number: u32| {
        let method = config.method.name();
        Path::new("runs").join(format!("{}-{method}-{number}", config.dataset.name()))
    };
    (1..).map(path).find(|path| !path.exists()).unwrap_or_else(|| path(0))
}

//! `noprop train`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::Device;
use noprop_kernels::threads::Workers;
use noprop_method::Seed;
use noprop_models::Network;
use noprop_train::{
    Engine, Event, Existing, Fitting, MetricsLog, Outcome, PeakMemory, Progress, Ranks,
    RunDirectory, Trainer, fit,
};

use crate::args::{Form, Train};
use crate::blocks;
use crate::config::RunConfig;
use crate::distributed;
use crate::memory;
use crate::output::note;
use crate::progress::{self, Verbosity};
use crate::shell::quoted;
use crate::source::Source;
use crate::task::Task;

pub fn run(args: &Train, peers: &Arc<dyn Ranks>) -> Result<()> {
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
            let task = Task::of_run(&run, &args.now())?;
            task.config.check_resumable(path)?;
            memory::check(&task, workers(args))?;
            let (network, start) = match has_saved(&run)? {
                true => (task.config.network(task.config.fresh(&task.device))?, Start::Resumed),
                false => (task.network()?, Start::Again),
            };
            (task, network, run, start)
        }
        None => {
            let task = Task::asked(args)?;
            refuse_own_start(args)?;
            memory::check(&task, workers(args))?;
            let network = task.network()?;
            let config = task.config.to_toml()?;
            let run = match args.distributed {
                Some(_) => distributed::create(args, &**peers, (&task, &config))?,
                None => {
                    let out = args.out.clone().unwrap_or_else(|| next_run(&task.config));
                    create(&out, existing(args), (&task.config.dataset, &config), &task.record)?
                }
            };
            (task, network, run, Start::Fresh)
        }
    };
    distributed::warn_of_no_shares(&network, &task, &**peers);
    match train(&task, &network, (&run, start), args, peers)? {
        Outcome::Finished(report) => {
            let peak = PeakMemory::until_now(&task.device);
            task.finish(&run, Form::of(args.json), &report, peak)
        }
        Outcome::Stopped { .. } if !peers.is_first() => Ok(()),
        Outcome::Stopped { epoch, step } => {
            let path = quoted(run.path());
            note!(
                "stopped after {epoch} epoch(s) and {step} step(s); go on with: noprop train --resume {path}"
            );
            Ok(())
        }
        // The first process has all the weights.
        Outcome::Trained => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Start {
    Fresh,
    /// A run that was stopped before its first save: from its beginning.
    Again,
    Resumed,
}

/// Refuses a run inside the folder of its pictures: its own files would be read as some of them.
pub fn refuse_inside_data(out: &Path, dataset: &Source) -> Result<()> {
    let Source::Folder(folder) = dataset else { return Ok(()) };
    let out_folder = std::path::absolute(out)?;
    // The run need not be there yet.
    let there = out_folder.ancestors().find_map(|folder| folder.canonicalize().ok());
    let inside =
        there.zip(folder.canonicalize().ok()).is_some_and(|(out, folder)| out.starts_with(folder));
    ensure!(
        !inside,
        "the run {} would be inside {}, and be read as pictures: choose another --out",
        quoted(out),
        quoted(folder)
    );
    Ok(())
}

/// Refuses a run that would replace the one that its weights come from.
fn refuse_own_start(args: &Train) -> Result<()> {
    let [init, out] = [&args.init, &args.out].map(|path| path.as_ref()?.canonicalize().ok());
    ensure!(
        init.is_none() || init != out,
        "--out and --init are one run: choose another --out, or train it further with --resume and --epochs"
    );
    Ok(())
}

/// Returns whether something of a run was saved, and refuses one that was trained and has lost it.
fn has_saved(run: &RunDirectory) -> Result<bool> {
    if run.state().join("progress.json").exists() || run.units().is_dir() {
        return Ok(true);
    }
    // A log that a kill cut short has no whole line.
    let events = MetricsLog::read(&run.metrics()).unwrap_or_default();
    let tested = events.iter().any(|event| matches!(event, Event::Test { .. }));
    let epochs = events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
    // The state is saved after every epoch.
    ensure!(
        !tested && epochs <= 1,
        "{} has trained for {epochs} epoch(s), but its saved state is gone, so it cannot go on; noprop train --init starts a new run from its weights",
        quoted(run.path())
    );
    Ok(false)
}

/// Makes the run. What is replaced must have the settings of a run, not those of somebody's project.
pub fn create(
    out: &Path,
    existing: Existing,
    (dataset, config): (&Source, &str),
    record: &[(String, Vec<u8>)],
) -> Result<RunDirectory> {
    refuse_inside_data(out, dataset)?;
    let settings = out.join("config.toml");
    if existing == Existing::Replace && settings.is_file() {
        let refused = "is not a run of noprop, so it is not replaced: choose another --out";
        ensure!(RunConfig::read(&settings).is_ok(), "{} {refused}", quoted(out));
    }
    Ok(RunDirectory::create_with(out, existing, config, record)?)
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
    peers: &Arc<dyn Ranks>,
) -> Result<Outcome> {
    let config = &task.config;
    if peers.is_first() {
        task.introduce(verbosity(args));
        task.warn_of_a_label_in_the_noise(network)?;
    }
    let identity = config.to_json()?;
    let progress = match start {
        Start::Resumed => resumed(run, config, &identity)?,
        Start::Again | Start::Fresh => Progress::start(&identity),
    };
    if start == Start::Again && peers.is_first() {
        note!("nothing of {} was saved yet: it starts from its beginning", quoted(run.path()));
    }
    let seed = Seed(config.seed);
    let mut trainer = Trainer::new(network, &*task.objective, &task.train, config.train(), seed)?
        .engine(engine(&task.device, args, peers));
    if start == Start::Resumed {
        progress.restore(run, &mut trainer)?;
    }
    if start != Start::Fresh && peers.is_first() {
        keep(task, run)?;
    }
    let fitting = Fitting {
        run,
        validation: &task.validation,
        sampler: config.validation_sampler()?,
        metadata: &identity,
        save_every: args.save_every.0,
    };
    let steps = trainer.steps_per_epoch();
    let done = u64::from(progress.epoch) * u64::from(steps) + u64::from(progress.step);
    let verbosity = if peers.is_first() { verbosity(args) } else { Verbosity::Quiet };
    let mut shown = progress::Progress::new(verbosity, config.epochs, steps, done)?;
    Ok(fit(&mut trainer, &fitting, progress, &mut shown)?)
}

/// The state of a run, if it was saved with these settings. The number of epochs may be another: a training can be made longer.
fn resumed(run: &RunDirectory, config: &RunConfig, identity: &str) -> Result<Progress> {
    let with_epochs = |text: &str| -> Option<RunConfig> {
        let saved = RunConfig::of_json(text)?;
        Some(RunConfig { epochs: config.epochs, ..saved })
    };
    // Both are read in the same way: a number may change in its last digit.
    let same = |saved: &str| saved == identity || with_epochs(saved) == with_epochs(identity);
    let progress = Progress::read_if(run, identity, same)?;
    ensure!(
        config.epochs >= progress.epoch + u32::from(progress.step > 0),
        "epochs is {}, but {} are done already",
        config.epochs,
        progress.epoch
    );
    Ok(progress)
}

/// Writes the settings of a run that is trained further, and where its data are now.
fn keep(task: &Task, run: &RunDirectory) -> Result<()> {
    for (name, content) in &task.record {
        run.write(name, content)?;
    }
    if RunConfig::of_run(&run.config())?.epochs != task.config.epochs {
        // The card of the training that is made longer would be read as one of the longer training.
        let _ = std::fs::remove_file(run.path().join("README.md"));
    }
    Ok(run.write("config.toml", task.config.to_toml()?.as_bytes())?)
}

/// The engine that suits the device. On a GPU a launch costs as much as its work, so there all blocks share them, unless one at a time
/// was asked for.
fn engine(device: &Device, args: &Train, ranks: &Arc<dyn Ranks>) -> Engine {
    let workers = workers(args);
    if !ranks.is_single() {
        return Engine::Ranks { ranks: Arc::clone(ranks), workers };
    }
    match (Engine::of(device), workers) {
        (Engine::Threads(_), workers) => Engine::Threads(workers),
        (Engine::Batched, Workers::Exactly(NonZeroUsize::MIN)) => Engine::Queue,
        (engine, _) => engine,
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

//! Training: a new run, or one that goes on.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use candle_core::Device;
use noprop_kernels::threads::Workers;
use noprop_method::{Denoiser, Seed};
use noprop_models::Network;
use noprop_train::{
    Engine, Event, Existing, Fitting, OneRank, Outcome, PeakMemory, Progress as Saved, Ranks,
    RunDirectory, Trainer, Unit, fit,
};

use crate::error::{Error, Result, ensure};
use crate::experiment::Experiment;
use crate::finished::Finished;
use crate::kept::Moved;
use crate::layers::Layers;
use crate::memory;
use crate::progress::{Length, Progress, Remark};
use crate::settings::Setup;
use crate::shell::quoted;
use crate::source::Source;
use crate::task::Task;

/// A new training.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its settings.
    pub layers: Layers,
    /// The folder that holds the data sets; without it `data`.
    pub data_dir: Option<PathBuf>,
    /// The run directory to write; without it the next free folder under `runs`.
    pub out: Option<PathBuf>,
    /// The treatment of a run that is there already.
    pub existing: Existing,
}

/// The means of a training: its device, threads and processes. On one kind of device the result does not depend on them.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The device of images and network.
    pub device: &'a Device,
    /// Blocks in training at a time; without it as many as keep all threads busy. A GPU trains all blocks in one call, unless this is 1.
    pub block_workers: Option<NonZeroUsize>,
    /// The time after which the state is saved within an epoch too.
    pub save_every: Duration,
    /// The processes that train together.
    pub ranks: &'a Arc<dyn Ranks>,
}

impl<'a> Means<'a> {
    /// One process that computes on `device` and saves every three minutes.
    pub fn on(device: &'a Device) -> Self {
        static ONE: LazyLock<Arc<dyn Ranks>> = LazyLock::new(|| Arc::new(OneRank));
        Self { device, block_workers: None, save_every: Duration::from_secs(180), ranks: &ONE }
    }

    /// The number of blocks that train at a time.
    pub(crate) fn workers(&self) -> Workers {
        self.block_workers.map_or(Workers::Auto, Workers::Exactly)
    }

    /// The engine of the trainer. On a GPU a launch costs as much as its work, so there all blocks share them, unless one at a time was
    /// asked for.
    pub(crate) fn engine(&self) -> Engine {
        let workers = self.workers();
        if !self.ranks.is_single() {
            return Engine::Ranks { ranks: Arc::clone(self.ranks), workers };
        }
        match (Engine::of(self.device), workers) {
            (Engine::Threads(_), workers) => Engine::Threads(workers),
            (Engine::Batched, Workers::Exactly(NonZeroUsize::MIN)) => Engine::Queue,
            (engine, _) => engine,
        }
    }
}

/// The way in which a training ended.
pub enum Ending {
    /// All epochs are done, and the run is tested.
    Finished(Box<Finished>),
    /// The training was stopped on request, and can go on.
    Stopped {
        /// The run directory.
        run: PathBuf,
        /// Epochs done.
        epoch: u32,
        /// Steps of the current epoch done.
        step: u32,
    },
    /// This process has done its share; the first process has the weights.
    Shared,
}

/// Trains a network and tests it once, at the end.
///
/// # Errors
/// If the settings, the data and the place of the run do not go together; then nothing is written. If training fails.
pub fn train(new: &NewRun, means: Means<'_>, progress: &mut dyn Progress) -> Result<Ending> {
    // Everything is checked before a directory is made, so that a mistake leaves nothing behind.
    let task = Task::new(&new.layers, new.data_dir.as_deref(), means.device, progress)?;
    let [init, out] = [&new.layers.init, &new.out].map(|path| path.as_ref()?.canonicalize().ok());
    if init.is_some() && init == out {
        return Err(Error::ReplacesItsStart);
    }
    memory::check(&task.experiment, means.device, means.workers(), progress)?;
    let network = task.network(progress)?;
    let config = task.experiment.to_toml()?;
    let out =
        new.out.clone().unwrap_or_else(|| free_run(Path::new("runs"), &task.experiment.setup));
    let create = || create(&out, new.existing, &task, &config);
    let run = match means.ranks.is_single() {
        true => create()?,
        false => create_together(&out, &**means.ranks, &config, create)?,
    };
    carry_out(&task, &network, (&run, Start::Fresh), means, progress)
}

/// Goes on with a training that was stopped or killed. With `epochs` a finished one is trained further, to that number of epochs in all.
///
/// # Errors
/// If the run or its data are not what they were, or its state cannot be read. If training fails.
pub fn resume(
    run: &Path,
    moved: &Moved,
    epochs: Option<u32>,
    means: Means<'_>,
    progress: &mut dyn Progress,
) -> Result<Ending> {
    let path = run;
    let run = match means.ranks.is_first() {
        true => RunDirectory::open_to_write(path)?,
        false => RunDirectory::open(path)?,
    };
    let task = Task::of_run(&run, moved, epochs, means.device)?;
    let experiment = &task.experiment;
    experiment.check_resumable(path)?;
    memory::check(experiment, means.device, means.workers(), progress)?;
    let (network, start) = match has_saved(&run)? {
        true => (experiment.network(experiment.setup.fresh(&task.device))?, Start::Resumed),
        false => (task.network(progress)?, Start::Again),
    };
    carry_out(&task, &network, (&run, start), means, progress)
}

#[derive(Clone, Copy, PartialEq)]
enum Start {
    Fresh,
    /// A run that was stopped before its first save: from its beginning.
    Again,
    Resumed,
}

/// Refuses a run inside the folder of its pictures: its own files would be read as some of them.
pub(crate) fn refuse_inside_data(out: &Path, dataset: &Source) -> Result<()> {
    let Source::Folder(folder) = dataset else { return Ok(()) };
    let out_folder = std::path::absolute(out)?;
    // The run need not be there yet.
    let there = out_folder.ancestors().find_map(|folder| folder.canonicalize().ok());
    let inside =
        there.zip(folder.canonicalize().ok()).is_some_and(|(out, folder)| out.starts_with(folder));
    match inside {
        true => Err(Error::RunInsideData { run: out.into(), data: folder.clone() }),
        false => Ok(()),
    }
}

/// Returns whether something of a run was saved, and refuses one that was trained and has lost it.
fn has_saved(run: &RunDirectory) -> Result<bool> {
    if run.state().join("progress.json").exists() || run.units().is_dir() {
        return Ok(true);
    }
    match lost_epochs(run)? {
        Some(epochs) => Err(Error::StateLost { run: run.path().into(), epochs }),
        None => Ok(false),
    }
}

/// Returns the epochs in the log of a run without a saved state, if it was trained and has lost the state.
///
/// # Errors
/// If the log cannot be read: it may be that of a training that came to its end.
pub(crate) fn lost_epochs(run: &RunDirectory) -> Result<Option<usize>> {
    let events = run.events()?;
    let tested = events.iter().any(|event| matches!(event, Event::Test { .. }));
    let epochs = events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
    // The state is saved after every epoch. The first epoch is in the log for a moment before that; a kill in this moment loses nothing.
    Ok((tested || epochs > 1).then_some(epochs))
}

/// Makes the run. A folder that is replaced must have the settings of a run, not those of another project.
fn create(out: &Path, existing: Existing, task: &Task, config: &str) -> Result<RunDirectory> {
    refuse_inside_data(out, &task.experiment.setup.dataset)?;
    let settings = out.join("config.toml");
    let is_other = || settings.is_file() && Experiment::read_any(&settings).is_err();
    if existing == Existing::Replace && is_other() {
        return Err(Error::NotReplaced { path: out.into() });
    }
    Ok(RunDirectory::create(out, existing, config, &task.record)?)
}

/// The run of several processes: the first makes it, once all are known to have the same settings.
fn create_together(
    out: &Path,
    ranks: &dyn Ranks,
    config: &str,
    create: impl FnOnce() -> Result<RunDirectory>,
) -> Result<RunDirectory> {
    let mine: Vec<f32> = config.bytes().map(f32::from).collect();
    let all = ranks.gather(mine.clone()).map_err(noprop_train::TrainError::from)?;
    let other = all.iter().position(|theirs| *theirs != mine);
    ensure!(
        other.is_none(),
        "rank {} was started with other settings or data than rank {}: all need the same",
        other.unwrap_or_default(),
        ranks.rank()
    );
    let made = if ranks.is_first() { Some(create()?) } else { None };
    // It is there for the others from here on.
    ranks.any(false).map_err(noprop_train::TrainError::from)?;
    match made {
        Some(run) => Ok(run),
        None => Ok(RunDirectory::open(out)?),
    }
}

fn carry_out(
    task: &Task,
    network: &Network,
    (run, start): (&RunDirectory, Start),
    means: Means<'_>,
    progress: &mut dyn Progress,
) -> Result<Ending> {
    let (ranks, first) = (&**means.ranks, means.ranks.is_first());
    warn_of_no_shares(network, task, ranks, progress);
    if first {
        task.introduce(progress);
        task.warn_of_a_label_in_the_noise(network, progress)?;
    }
    let setup = &task.experiment.setup;
    let identity = task.experiment.to_json()?;
    let saved = match start {
        Start::Resumed => resumed(run, &task.experiment, &identity)?,
        Start::Again | Start::Fresh => Saved::start(&identity),
    };
    if start == Start::Again && first {
        progress.remark(Remark::Note(format!(
            "nothing of {} was saved yet: it starts from its beginning",
            quoted(run.path())
        )));
    }
    let seed = Seed(setup.seed);
    let mut trainer = Trainer::new(network, &*task.method, &task.train, setup.train(), seed)?
        .engine(means.engine());
    if start == Start::Resumed {
        saved.restore(run, &mut trainer)?;
    }
    if start != Start::Fresh && first {
        keep(task, run)?;
    }
    let fitting = Fitting {
        run,
        validation: &task.validation,
        sampler: setup.validation_sampler()?,
        metadata: &identity,
        patience: setup.patience,
        save_every: means.save_every,
    };
    let steps_per_epoch = trainer.steps_per_epoch();
    let done = u64::from(saved.epoch) * u64::from(steps_per_epoch) + u64::from(saved.step);
    progress.begin(run.path(), Length { epochs: setup.epochs, steps_per_epoch, done });
    let outcome = fit(&mut trainer, &fitting, saved, progress);
    progress.end();
    match outcome? {
        Outcome::Finished(report) => {
            if let Some(patience) = setup.patience.filter(|_| report.epochs < setup.epochs) {
                progress.remark(Remark::Note(format!(
                    "after {patience} epoch(s) in a row that were worse than epoch {} on the held-out images, the training ends with epoch {} of {}",
                    report.best.epoch, report.epochs, setup.epochs
                )));
            }
            let peak = PeakMemory::until_now(&task.device);
            Ok(Ending::Finished(Box::new(Finished::new(task, run, report, peak)?)))
        }
        Outcome::Stopped { epoch, step } if first => {
            Ok(Ending::Stopped { run: run.path().into(), epoch, step })
        }
        Outcome::Stopped { .. } | Outcome::Trained => Ok(Ending::Shared),
    }
}

/// Remarks on a training that has no shares to give: any number of processes makes it no faster than one.
fn warn_of_no_shares(
    network: &dyn Denoiser,
    task: &Task,
    ranks: &dyn Ranks,
    progress: &mut dyn Progress,
) {
    let whole = |unit: &Unit| matches!(unit, Unit::EndToEnd { .. } | Unit::InTurn { .. });
    let units = Unit::of(network, &*task.method, task.experiment.setup.order);
    if !ranks.is_single() && ranks.is_first() && units.iter().any(whole) {
        progress.remark(Remark::Warning(format!(
            "these blocks are trained through each other or in turn, so each of the {} processes makes every step whole: one alone is as fast",
            ranks.size()
        )));
    }
}

/// The state of a run, if it was saved with these settings. The number of epochs may be another: a training can be made longer.
fn resumed(run: &RunDirectory, experiment: &Experiment, identity: &str) -> Result<Saved> {
    let epochs = experiment.setup.epochs;
    let with_epochs = |text: &str| -> Option<Experiment> {
        let mut saved = Experiment::of_json(text)?;
        saved.setup.epochs = epochs;
        Some(saved)
    };
    let mut goal = epochs;
    // Both are read in the same way: a number may change in its last digit.
    let same = |saved: &str| {
        goal = Experiment::of_json(saved).map_or(epochs, |saved| saved.setup.epochs);
        saved == identity || with_epochs(saved) == with_epochs(identity)
    };
    let saved = Saved::read_if(run, identity, same)?;
    ensure!(
        epochs >= saved.epoch + u32::from(saved.step > 0),
        "epochs is {epochs}, but {} are done already",
        saved.epoch
    );
    if goal < epochs && saved.is_out_of_patience(experiment.setup.patience) {
        let reason = format!(
            "cannot be raised: the training ended by its patience after {} epochs",
            saved.epoch
        );
        return Err(Error::setting("epochs", reason));
    }
    Ok(saved)
}

/// Writes the settings of a run that is trained further, and the place of its data now.
fn keep(task: &Task, run: &RunDirectory) -> Result<()> {
    for (name, content) in &task.record {
        run.write(name, content)?;
    }
    if Experiment::read(&run.config())?.setup.epochs != task.experiment.setup.epochs {
        // The card of the training that is made longer would be read as one of the longer training.
        let _ = std::fs::remove_file(run.path().join("README.md"));
    }
    Ok(run.write("config.toml", task.experiment.to_toml()?.as_bytes())?)
}

/// Returns the first free path `folder/DATASET-METHOD-NUMBER` for a run with the settings `setup`.
pub fn free_run(folder: &Path, setup: &Setup) -> PathBuf {
    let path =
        |number: u32| folder.join(format!("{}-{}-{number}", setup.dataset.name(), setup.method));
    (1..).map(path).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| path(0))
}

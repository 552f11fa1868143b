//! The checkpoints of units that several processes train, and that are merged at the end.
//!
//! `units/block.3/` holds `state.safetensors` (weights, moments, and how far it is), `epochs/0001.safetensors` (its weights
//! after each epoch, with the epoch's losses) and `.lock`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Tensor;
use noprop_method::{Denoiser, Parameter};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::tensors::{Stored, named, owned, tensors};
use crate::error::{UnitError, VERSION};
use crate::keeper::Keeper;
use crate::loss::{Loss, LossSums, StepReport};
use crate::report::EpochReport;
use crate::run_dir::lock_file;
use crate::state::{State, Turn};
use crate::step::Model;
use crate::unit_state::UnitState;
use crate::{Existing, Hardware, RunDirectory, TrainError, Unit, write_weights};

/// The arguments of [`crate::fit_units`] beside the trainer.
pub struct UnitFitting<'a> {
    /// The run directory, which keeps everything.
    pub run: &'a RunDirectory,
    /// The text of the settings: files of the units must have been written with the same.
    pub config: &'a str,
    /// The treatment of units that are there: they are resumed, or replaced.
    pub existing: Existing,
    /// As in [`crate::Fitting`].
    pub save_every: Duration,
}

/// What files of a unit say of their training.
trait Notes: DeserializeOwned + Serialize {
    fn version(&self) -> &str;
    fn config(&self) -> &str;
}

/// How far a unit is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitProgress {
    version: String,
    config: String,
    /// Steps done.
    pub position: u64,
    /// Training time so far.
    pub seconds: f64,
    /// Training time of the current epoch so far.
    pub epoch_seconds: f64,
    /// Losses of the current epoch so far.
    pub sums: LossSums,
}

impl UnitProgress {
    fn start(config: &str) -> Self {
        Self {
            version: VERSION.into(),
            config: config.into(),
            position: 0,
            seconds: 0.0,
            epoch_seconds: 0.0,
            sums: LossSums::default(),
        }
    }
}

impl Notes for UnitProgress {
    fn version(&self) -> &str {
        &self.version
    }

    fn config(&self) -> &str {
        &self.config
    }
}

/// What a unit says of an epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitEpoch {
    version: String,
    config: String,
    /// What it ran on: bits are promised per kind of processor.
    pub hardware: Hardware,
    /// Training time of the epoch.
    pub seconds: f64,
    /// The learning rate of its last step.
    pub lr: f64,
    pub losses: Vec<Loss>,
}

impl UnitEpoch {
    pub fn new(config: &str, seconds: f64, lr: f64, losses: Vec<Loss>) -> Self {
        let hardware = Hardware::here();
        Self { version: VERSION.into(), config: config.into(), hardware, seconds, lr, losses }
    }
}

impl Notes for UnitEpoch {
    fn version(&self) -> &str {
        &self.version
    }

    fn config(&self) -> &str {
        &self.config
    }
}

/// The folder of one unit, and the right to write it.
#[derive(Debug)]
struct UnitFolder {
    path: PathBuf,
    _lock: File,
}

impl UnitFolder {
    /// Opens the folder, or makes it; one process at a time.
    pub fn open(run: &RunDirectory, unit: Unit) -> Result<Self, TrainError> {
        let path = path_of(run, unit);
        let epochs = path.join("epochs");
        fs::create_dir_all(&epochs).map_err(TrainError::writing(&epochs))?;
        let lock = path.join(".lock");
        match lock_file(&lock)? {
            Some(lock) => Ok(Self { path, _lock: lock }),
            None => Err(UnitError::Locked { path, unit }.into()),
        }
    }

    /// Forgets what was trained.
    pub fn clear(&self) -> Result<(), TrainError> {
        let state = self.state();
        match fs::remove_file(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(TrainError::writing(state)(error));
            }
            _ => {}
        }
        let epochs = self.path.join("epochs");
        fs::remove_dir_all(&epochs).map_err(TrainError::writing(&epochs))?;
        fs::create_dir(&epochs).map_err(TrainError::writing(&epochs))
    }

    fn state(&self) -> PathBuf {
        self.path.join("state.safetensors")
    }

    /// Brings a unit to where it was saved, if it was. An epoch has `steps` steps.
    fn restore(
        &self,
        network: &dyn Denoiser,
        unit: &mut UnitState,
        config: &str,
        steps: u32,
    ) -> Result<UnitProgress, TrainError> {
        let file = self.state();
        if !file.is_file() {
            return Ok(UnitProgress::start(config));
        }
        let (progress, mut stored) = read::<UnitProgress>(&file, config)?;
        stored.restore_unit(network, unit, progress.position, steps)?;
        Ok(progress)
    }
}

/// Units that this process trains, each with its folder.
pub(crate) struct UnitFolders<'a> {
    config: &'a str,
    save_every: Duration,
    units: Vec<(UnitFolder, UnitProgress)>,
    lr: f64,
}

impl<'a> UnitFolders<'a> {
    /// Opens the folders of all units of the training, and restores what is there unless it is to be replaced.
    ///
    /// # Errors
    /// [`UnitError::Locked`] if another process trains one of the units.
    pub fn open(
        model: Model<'_>,
        state: &mut State,
        fitting: &UnitFitting<'a>,
    ) -> Result<Self, TrainError> {
        let &UnitFitting { run, config, existing, save_every } = fitting;
        let steps = state.plan.steps_per_epoch();
        let mut units = Vec::new();
        for unit in &mut state.units {
            let folder = UnitFolder::open(run, unit.unit)?;
            if existing == Existing::Replace {
                folder.clear()?;
            }
            let progress = folder.restore(model.network, unit, config, steps)?;
            units.push((folder, progress));
        }
        state.forget_stack();
        Ok(Self { config, save_every, units, lr: 0.0 })
    }
}

impl Keeper for UnitFolders<'_> {
    fn save_every(&self) -> Duration {
        self.save_every
    }

    /// Every process writes its own units.
    fn needs_all_ranks(&self) -> bool {
        false
    }

    fn record(&mut self, units: &[usize], reports: &[StepReport]) {
        for (&unit, report) in units.iter().zip(reports) {
            let progress = &mut self.units[unit].1;
            progress.sums.add(report);
            progress.position += 1;
            self.lr = report.lr;
        }
    }

    /// Units that train at the same time share it.
    fn took(&mut self, units: &[usize], seconds: f64) {
        let seconds = seconds / units.len() as f64;
        for &unit in units {
            self.units[unit].1.seconds += seconds;
            self.units[unit].1.epoch_seconds += seconds;
        }
    }

    /// Writes the units' weights; their state comes after that: killed between the two, a unit writes the same weights again.
    fn end_epoch(
        &mut self,
        model: Model<'_>,
        state: &State,
        turn: &Turn,
    ) -> Result<Option<EpochReport>, TrainError> {
        let epoch = turn.position / u64::from(state.plan.steps_per_epoch());
        for &unit in &turn.units {
            let (folder, progress) = &mut self.units[unit];
            let notes = UnitEpoch::new(
                self.config,
                progress.epoch_seconds,
                self.lr,
                std::mem::take(&mut progress.sums).means(),
            );
            progress.epoch_seconds = 0.0;
            let owned = owned(model.network, state.units[unit].unit);
            let tensors: Vec<_> = owned.iter().map(named).collect();
            let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
            write(&epoch_file(&folder.path, epoch), &tensors, &notes)?;
        }
        Ok(None)
    }

    /// The other units are where they were saved.
    fn save(
        &mut self,
        model: Model<'_>,
        state: &State,
        turn: &Turn,
        _: Option<(u32, u32)>,
    ) -> Result<(), TrainError> {
        for &unit in &turn.units {
            let (folder, progress) = &self.units[unit];
            write(&folder.state(), &tensors(model.network, &state.units[unit]), progress)?;
        }
        Ok(())
    }
}

/// `units/<unit>/` of a run.
pub(crate) fn path_of(run: &RunDirectory, unit: Unit) -> PathBuf {
    run.units().join(unit.to_string())
}

/// The weights of `unit` after `epoch`, counted from 1, go into `parameters`.
pub(crate) fn load_epoch(
    run: &RunDirectory,
    unit: Unit,
    epoch: u32,
    config: &str,
    parameters: &[Parameter],
) -> Result<UnitEpoch, TrainError> {
    let file = epoch_file(&path_of(run, unit), epoch);
    let (notes, mut stored) = read::<UnitEpoch>(&file, config)?;
    stored.restore(parameters)?;
    Ok(notes)
}

fn epoch_file(path: &Path, epoch: u32) -> PathBuf {
    path.join(format!("epochs/{epoch:04}.safetensors"))
}

fn read<N: Notes>(file: &Path, config: &str) -> Result<(N, Stored), TrainError> {
    let stored = Stored::read(file)?;
    let notes: N = serde_json::from_str(stored.metadata.as_deref().unwrap_or_default())
        .map_err(|error| UnitError::Malformed { path: file.into(), reason: error.to_string() })?;
    if notes.version() != VERSION {
        let found = notes.version().into();
        return Err(UnitError::OtherVersion { path: file.into(), found }.into());
    }
    if notes.config() != config {
        return Err(UnitError::OtherSettings { path: file.into() }.into());
    }
    Ok((notes, stored))
}

fn write(file: &Path, tensors: &[(String, Tensor)], notes: &impl Notes) -> Result<(), TrainError> {
    let notes = serde_json::to_string(notes)
        .map_err(|error| TrainError::writing(file)(std::io::Error::other(error)))?;
    Ok(write_weights(file, tensors, &notes)?)
}

/// Where a unit of a run stands.
#[derive(Debug, Clone, PartialEq)]
pub enum UnitStatus {
    /// Nobody has begun it.
    Missing,
    /// A process is at it; so many epochs are done.
    Running(u32),
    /// Nobody is at it, and it is not done.
    Stopped(u32),
    /// All epochs are done.
    Done,
}

/// Where `unit` stands in a training of `epochs`, without waiting for who writes it.
///
/// # Errors
/// [`TrainError::File`] if the disk refuses.
pub fn unit_status(run: &RunDirectory, unit: Unit, epochs: u32) -> Result<UnitStatus, TrainError> {
    let path = path_of(run, unit);
    if !path.is_dir() {
        return Ok(UnitStatus::Missing);
    }
    // Epochs are written in order, each whole.
    let done = (1..=epochs).take_while(|&epoch| epoch_file(&path, epoch).is_file()).count();
    let done = u32::try_from(done).unwrap_or(epochs);
    let lock = path.join(".lock");
    let held = match File::open(&lock) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    };
    let begun = done > 0 || path.join("state.safetensors").is_file();
    Ok(match (held, done == epochs, begun) {
        (true, ..) => UnitStatus::Running(done),
        (false, true, _) => UnitStatus::Done,
        (false, false, true) => UnitStatus::Stopped(done),
        (false, false, false) => UnitStatus::Missing,
    })
}

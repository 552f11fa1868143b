//! The checkpoints of units that several processes train, to be merged at the end.
//!
//! `units/block.3/` holds `state.safetensors` (weights, moments and progress), `epochs/0001.safetensors` (the weights after
//! each epoch, with the epoch's losses) and `.lock`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Tensor;
use noprop_method::Denoiser;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::tensors::{restore_unit, tensors};
use crate::engine::{NextTurn, State};
use crate::error::{UnitError, VERSION};
use crate::keeper::Keeper;
use crate::lock::{LOCK, is_held, lock_file};
use crate::loss::{Loss, LossSums, StepReport};
use crate::report::EpochReport;
use crate::run_dir::{remove, remove_unfinished};
use crate::step::Model;
use crate::unit_state::{UnitState, averaged};
use crate::weights::read_state;
use crate::{Existing, Hardware, RunDirectory, TrainError, Unit, WeightsError, write_weights};

type Tensors = BTreeMap<String, Tensor>;

/// The arguments of [`fit_units`](crate::fit_units) besides the trainer.
pub struct UnitFitting<'a> {
    /// The run directory, which keeps everything.
    pub run: &'a RunDirectory,
    /// The text of the settings. Existing files of the units must have been written with the same text.
    pub config: &'a str,
    /// The treatment of units that already have files: they are resumed, or replaced.
    pub existing: Existing,
    /// The time after which the state is saved within an epoch, as in [`Fitting`](crate::Fitting::save_every).
    pub save_every: Duration,
}

/// The first notes in every file of a unit: the version and the settings that it was written with.
#[derive(Deserialize)]
struct Origin {
    version: String,
    config: String,
}

/// The progress of a unit.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitProgress {
    version: String,
    config: String,
    /// The number of steps done.
    pub position: u64,
    /// The training time so far, in seconds.
    pub seconds: f64,
    /// The training time of the current epoch so far, in seconds.
    pub epoch_seconds: f64,
    /// The losses of the current epoch so far.
    pub sums: LossSums,
}

/// The notes on one epoch of a unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitEpoch {
    version: String,
    config: String,
    /// The hardware that trained it. Results have the same bits only on the same kind of processor.
    pub hardware: Hardware,
    /// The training time of the epoch, in seconds.
    pub seconds: f64,
    /// The learning rate of the epoch's last step.
    pub lr: f64,
    pub losses: Vec<Loss>,
}

/// The folder of one unit, locked for writing.
#[derive(Debug)]
struct UnitFolder {
    path: PathBuf,
    _lock: File,
}

impl UnitFolder {
    /// Opens and locks the folder, and creates it if it does not exist. Only one process at a time can hold it. Files that a killed process
    /// left unfinished are removed.
    pub fn open(run: &RunDirectory, unit: Unit) -> Result<Self, TrainError> {
        let path = path_of(run, unit);
        let epochs = path.join("epochs");
        fs::create_dir_all(&epochs).map_err(TrainError::writing(&epochs))?;
        let lock = path.join(LOCK);
        match lock_file(&lock)? {
            Some(lock) => {
                remove_unfinished(&path);
                Ok(Self { path, _lock: lock })
            }
            None => Err(UnitError::Locked { path, unit }.into()),
        }
    }

    /// Removes the saved state and the weights of all epochs.
    pub fn clear(&self) -> Result<(), TrainError> {
        remove(&self.state(), |path| fs::remove_file(path))?;
        let epochs = self.path.join("epochs");
        fs::remove_dir_all(&epochs).map_err(TrainError::writing(&epochs))?;
        fs::create_dir(&epochs).map_err(TrainError::writing(&epochs))
    }

    fn state(&self) -> PathBuf {
        self.path.join("state.safetensors")
    }

    /// Restores a unit from its saved state, if there is one, and returns its progress. An epoch has `steps` steps.
    fn restore(
        &self,
        network: &dyn Denoiser,
        unit: &mut UnitState,
        config: &str,
        steps: u32,
    ) -> Result<UnitProgress, TrainError> {
        let file = self.state();
        if !file.is_file() {
            let (version, config) = (VERSION.into(), config.into());
            return Ok(UnitProgress { version, config, ..UnitProgress::default() });
        }
        let (progress, tensors) = read::<UnitProgress>(&file, config)?;
        for epoch in 1..=progress.position / u64::from(steps.max(1)) {
            let path = epoch_file(&self.path, u32::try_from(epoch).unwrap_or(u32::MAX));
            if !path.is_file() {
                return Err(UnitError::EpochLost { path, unit: unit.unit }.into());
            }
        }
        restore_unit(&file, tensors, network, unit, progress.position, steps)?;
        Ok(progress)
    }
}

/// The units that this process trains, each with its folder.
pub(crate) struct UnitFolders<'a> {
    config: &'a str,
    save_every: Duration,
    units: Vec<(UnitFolder, UnitProgress)>,
    lr: f64,
}

impl<'a> UnitFolders<'a> {
    /// Opens the folders of all units of the training, and restores existing units unless they are to be replaced.
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

    /// Divides the time equally among units that train at the same time.
    fn took(&mut self, units: &[usize], seconds: f64) {
        let seconds = seconds / units.len() as f64;
        for &unit in units {
            self.units[unit].1.seconds += seconds;
            self.units[unit].1.epoch_seconds += seconds;
        }
    }

    /// Writes the units' weights, or their averages, for a merge to validate and keep. Their state is saved afterwards: a unit
    /// that is killed in between writes the same weights again.
    fn end_epoch(
        &mut self,
        model: Model<'_>,
        state: &mut State,
        turn: &NextTurn,
    ) -> Result<Option<EpochReport>, TrainError> {
        let epoch = turn.position / u64::from(state.plan.steps_per_epoch());
        for &unit in &turn.units {
            let (folder, progress) = &mut self.units[unit];
            let notes = UnitEpoch {
                version: VERSION.into(),
                config: self.config.into(),
                hardware: Hardware::with(model.network.class_embeddings().device()),
                seconds: std::mem::take(&mut progress.epoch_seconds),
                lr: self.lr,
                losses: std::mem::take(&mut progress.sums).means(),
            };
            let owned = model.network.parameters().of_parts(&state.units[unit].unit.parts());
            let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
            averaged(&mut state.units[unit..=unit], || {
                write(&epoch_file(&folder.path, epoch), &owned.tensors(), &notes)
            })?;
        }
        Ok(None)
    }

    /// Saves only the units of `turn`: the other units have not changed since their last save.
    fn save(
        &mut self,
        model: Model<'_>,
        state: &State,
        turn: &NextTurn,
        _: Option<(u32, u32)>,
    ) -> Result<(), TrainError> {
        for &unit in &turn.units {
            let (folder, progress) = &self.units[unit];
            write(&folder.state(), &tensors(model.network, &state.units[unit]), progress)?;
        }
        Ok(())
    }
}

/// Returns the path of `units/<unit>/` in a run.
pub(crate) fn path_of(run: &RunDirectory, unit: Unit) -> PathBuf {
    run.units().join(unit.to_string())
}

/// Sets the parameters of `unit` to its weights after `epoch`, counted from 1, and returns the epoch's notes.
pub(crate) fn load_epoch(
    run: &RunDirectory,
    network: &dyn Denoiser,
    unit: Unit,
    epoch: u32,
    config: &str,
) -> Result<UnitEpoch, TrainError> {
    let file = epoch_file(&path_of(run, unit), epoch);
    let (notes, tensors) = read::<UnitEpoch>(&file, config)?;
    match network.parameters().of_parts(&unit.parts()).set(tensors) {
        Ok(()) => Ok(notes),
        Err(error) => Err(WeightsError::Mismatch { path: file, reason: error.to_string() }.into()),
    }
}

fn epoch_file(path: &Path, epoch: u32) -> PathBuf {
    path.join(format!("epochs/{epoch:04}.safetensors"))
}

/// Reads the notes and the tensors in a file of a unit that was written with `config`.
fn read<N: DeserializeOwned>(file: &Path, config: &str) -> Result<(N, Tensors), TrainError> {
    let path = || PathBuf::from(file);
    let malformed =
        |error: serde_json::Error| UnitError::Malformed { path: path(), reason: error.to_string() };
    let stored = read_state(file)?;
    let text = stored.metadata.as_deref().unwrap_or_default();
    let origin: Origin = serde_json::from_str(text).map_err(malformed)?;
    if origin.version != VERSION {
        return Err(UnitError::OtherVersion { path: path(), found: origin.version }.into());
    }
    if origin.config != config {
        return Err(UnitError::OtherSettings(path()).into());
    }
    Ok((serde_json::from_str(text).map_err(malformed)?, stored.tensors))
}

fn write(
    file: &Path,
    tensors: &[(String, Tensor)],
    notes: &impl Serialize,
) -> Result<(), TrainError> {
    let notes = serde_json::to_string(notes)
        .map_err(|error| TrainError::writing(file)(std::io::Error::other(error)))?;
    Ok(write_weights(file, tensors, &notes)?)
}

/// The status of a unit of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum UnitStatus {
    /// Its training has not begun.
    Missing,
    /// A process is training it. The number of epochs done.
    Running(u32),
    /// No process is training it, and it is not done. The number of epochs done.
    Stopped(u32),
    /// All epochs are done.
    Done,
}

/// Returns the status of `unit` in a training of `epochs` epochs. It does not wait for a process that writes the unit.
///
/// # Errors
/// [`TrainError::File`] if a file cannot be read.
pub fn unit_status(run: &RunDirectory, unit: Unit, epochs: u32) -> Result<UnitStatus, TrainError> {
    let path = path_of(run, unit);
    if !path.is_dir() {
        return Ok(UnitStatus::Missing);
    }
    // Epochs are written in order, each file atomically.
    let done = (1..=epochs).take_while(|&epoch| epoch_file(&path, epoch).is_file()).count();
    let done = u32::try_from(done).unwrap_or(epochs);
    let held = is_held(&path.join(LOCK));
    let begun = done > 0 || path.join("state.safetensors").is_file();
    Ok(match (held, done == epochs, begun) {
        (true, ..) => UnitStatus::Running(done),
        (false, true, _) => UnitStatus::Done,
        (false, false, true) => UnitStatus::Stopped(done),
        (false, false, false) => UnitStatus::Missing,
    })
}

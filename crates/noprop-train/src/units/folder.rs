//! What one unit keeps of a training that is spread over processes.
//!
//! `units/block.3/` holds `state.safetensors` (weights, moments, and how far it is), `epochs/0001.safetensors` (its weights
//! after each epoch, with the epoch's losses) and `.lock`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use noprop_kernels::optim::Moments;
use noprop_method::Parameter;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::fit::EpochSums;
use crate::metrics::MeanLoss;
use crate::run_dir::lock_file;
use crate::state::{moment, named, owned, set, take};
use crate::{Hardware, RunDirectory, TrainError, Trainer, Unit, read_weights, write_weights};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why units could not be trained apart or put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Another process trains the unit.
    #[error("{path} is being written by another process: {unit} is in training there")]
    Locked {
        /// The unit's folder.
        path: PathBuf,
        /// The unit.
        unit: Unit,
    },
    /// The file belongs to a training with other settings.
    #[error("{path} was written with other settings than the config.toml of the run")]
    OtherSettings {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version, which may have computed otherwise.
    #[error(
        "{path} was written by noprop {found}, this is {VERSION}: train all units with one version"
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// The file's notes cannot be understood.
    #[error("{path} is no file of a unit: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Units that are not done.
    #[error("{path} cannot be merged yet: {units}")]
    Unfinished {
        /// The run directory.
        path: PathBuf,
        /// Each with how far it is.
        units: String,
    },
    /// The training consists of one unit.
    #[error("the blocks of this training cannot be trained apart: {reason}")]
    Tied {
        /// What ties them.
        reason: &'static str,
    },
}

/// What files of a unit say of their training.
trait Notes: DeserializeOwned + Serialize {
    fn version(&self) -> &str;
    fn config(&self) -> &str;
}

/// How far a unit is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitProgress {
    version: String,
    config: String,
    /// Steps done.
    pub position: u64,
    /// Training time so far.
    pub seconds: f64,
    /// Training time of the current epoch so far.
    pub epoch_seconds: f64,
    /// Losses of the current epoch so far.
    pub sums: EpochSums,
}

impl UnitProgress {
    fn start(config: &str) -> Self {
        Self {
            version: VERSION.into(),
            config: config.into(),
            position: 0,
            seconds: 0.0,
            epoch_seconds: 0.0,
            sums: EpochSums::default(),
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
pub(super) struct UnitEpoch {
    version: String,
    config: String,
    /// What it ran on: bits are promised per kind of processor.
    pub hardware: Hardware,
    /// Training time of the epoch.
    pub seconds: f64,
    /// The learning rate of its last step.
    pub lr: f64,
    pub losses: Vec<MeanLoss>,
}

impl UnitEpoch {
    pub fn new(config: &str, seconds: f64, lr: f64, losses: Vec<MeanLoss>) -> Self {
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
pub(super) struct UnitFolder {
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

    /// Brings unit number `index` of `trainer` to where it was saved, if it was.
    pub fn restore(
        &self,
        trainer: &mut Trainer<'_>,
        index: usize,
        config: &str,
    ) -> Result<UnitProgress, TrainError> {
        let file = self.state();
        if !file.is_file() {
            return Ok(UnitProgress::start(config));
        }
        let (progress, mut stored) = read::<UnitProgress>(&file, config)?;
        let parameters = owned(trainer, &trainer.units[index]);
        let state = &mut trainer.units[index];
        for parameter in &parameters {
            set(parameter, take(&file, &mut stored, &parameter.name)?, &file)?;
        }
        for part in &mut state.parts {
            let mut moments = Vec::with_capacity(part.trained.len());
            for Parameter { name, .. } in &part.trained {
                let first = take(&file, &mut stored, &moment("m", name))?;
                let second = take(&file, &mut stored, &moment("v", name))?;
                moments.push(Moments { name: name.clone(), first, second });
            }
            part.adam.restore(progress.position, moments)?;
        }
        state.position = progress.position;
        Ok(progress)
    }

    /// Saves all that unit number `index` of `trainer` needs to go on.
    pub fn save(
        &self,
        trainer: &Trainer<'_>,
        index: usize,
        progress: &UnitProgress,
    ) -> Result<(), TrainError> {
        let state = &trainer.units[index];
        let mut tensors: Vec<(String, Tensor)> = owned(trainer, state).iter().map(named).collect();
        for (name, m, v) in state.parts.iter().flat_map(|part| part.adam.moments()) {
            tensors.push((moment("m", name), m.clone()));
            tensors.push((moment("v", name), v.clone()));
        }
        write(&self.state(), &tensors, progress)
    }

    /// Writes the weights of unit number `index` of `trainer` as those of `epoch`, counted from 1.
    pub fn save_epoch(
        &self,
        trainer: &Trainer<'_>,
        index: usize,
        epoch: u32,
        notes: &UnitEpoch,
    ) -> Result<(), TrainError> {
        let state = &trainer.units[index];
        let tensors: Vec<_> = owned(trainer, state).iter().map(named).collect();
        write(&epoch_file(&self.path, epoch), &tensors, notes)
    }
}

/// `units/<unit>/` of a run.
pub(super) fn path_of(run: &RunDirectory, unit: Unit) -> PathBuf {
    run.units().join(unit.to_string())
}

/// The weights of `unit` after `epoch`, counted from 1, go into `parameters`.
pub(super) fn load_epoch(
    run: &RunDirectory,
    unit: Unit,
    epoch: u32,
    config: &str,
    parameters: &[Parameter],
) -> Result<UnitEpoch, TrainError> {
    let file = epoch_file(&path_of(run, unit), epoch);
    let (notes, mut stored) = read::<UnitEpoch>(&file, config)?;
    for parameter in parameters {
        set(parameter, take(&file, &mut stored, &parameter.name)?, &file)?;
    }
    Ok(notes)
}

fn epoch_file(path: &Path, epoch: u32) -> PathBuf {
    path.join(format!("epochs/{epoch:04}.safetensors"))
}

type Tensors = std::collections::BTreeMap<String, Tensor>;

fn read<N: Notes>(file: &Path, config: &str) -> Result<(N, Tensors), TrainError> {
    let stored = read_weights(file)?;
    let notes: N = serde_json::from_str(stored.metadata.as_deref().unwrap_or_default())
        .map_err(|error| UnitError::Malformed { path: file.into(), reason: error.to_string() })?;
    if notes.version() != VERSION {
        let found = notes.version().into();
        return Err(UnitError::OtherVersion { path: file.into(), found }.into());
    }
    if notes.config() != config {
        return Err(UnitError::OtherSettings { path: file.into() }.into());
    }
    Ok((notes, stored.tensors))
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

//! All that a resume needs: weights, optimizer moments, positions.
//!
//! A state is a folder `state/<generation>/` with one file a unit, made current by a rename of `state/progress.json`. A
//! kill at any moment leaves the previous generation whole and current.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use noprop_files::{sync_directory, write_atomically};
use noprop_kernels::optim::Moments;
use noprop_method::{Parameter, Part};
use serde::{Deserialize, Serialize};

use crate::fit::EpochSums;
use crate::unit_state::UnitState;
use crate::{Best, RunDirectory, TrainError, Trainer, read_weights, write_weights};

const FORMAT: u32 = 1;
/// A progress file is a page of JSON.
const MAX_PROGRESS_BYTES: u64 = 16 << 20;
/// The parameters that no unit trains, such as a frozen encoder.
const UNTRAINED: &str = "untrained";

/// Why a saved state was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// There is none.
    #[error("{path} holds no saved state to go on from")]
    Missing {
        /// The run directory.
        path: PathBuf,
    },
    /// There is none of a whole training, but units of it were trained apart.
    #[error(
        "{path} holds a training in units: go on with one by naming it as --blocks does, or see noprop status {path}"
    )]
    InUnits {
        /// The run directory.
        path: PathBuf,
    },
    /// `progress.json` cannot be understood.
    #[error("{path} cannot be understood: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The state belongs to other settings.
    #[error(
        "{path} was saved with other settings than config.toml now holds: undo the change, or start a new run"
    )]
    OtherConfig {
        /// The file.
        path: PathBuf,
    },
}

/// How far a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    format: u32,
    generation: u64,
    /// What the run's results depend on, as text; a resume must be given the same.
    config: String,
    /// Epochs done.
    pub epoch: u32,
    /// Steps of the current epoch done.
    pub step: u32,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// Training time so far.
    pub seconds: f64,
    /// Training time of the current epoch so far.
    pub(crate) epoch_seconds: f64,
    /// Losses of the current epoch so far.
    pub(crate) sums: EpochSums,
    /// Epoch and step of the last save.
    saved: Option<(u32, u32)>,
    /// Length of metrics.jsonl when the state was saved.
    pub(crate) metrics_bytes: u64,
}

impl Progress {
    /// The beginning of a training whose results depend on `config`.
    pub fn start(config: &str) -> Self {
        Self {
            format: FORMAT,
            generation: 0,
            config: config.into(),
            epoch: 0,
            step: 0,
            best: None,
            seconds: 0.0,
            epoch_seconds: 0.0,
            sums: EpochSums::default(),
            saved: None,
            metrics_bytes: 0,
        }
    }

    /// To the beginning of the next epoch.
    pub(crate) fn next_epoch(&mut self) {
        self.epoch += 1;
        self.step = 0;
        self.epoch_seconds = 0.0;
        self.sums = EpochSums::default();
    }

    /// Epochs and steps done when the state was last saved, if it was.
    pub(crate) fn saved_at(&self) -> Option<(u32, u32)> {
        self.saved
    }

    /// Reads how far the run in `run` is, without its weights. `config` is what its results depend on.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(run: &RunDirectory, config: &str) -> Result<Self, TrainError> {
        Self::read_if(run, config, |saved| saved == config)
    }

    /// [`Self::read`] where the settings that the state was `saved` with may be others: those from which `config` goes on.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read_if(
        run: &RunDirectory,
        config: &str,
        goes_on: impl FnOnce(&str) -> bool,
    ) -> Result<Self, TrainError> {
        let path = run.state().join("progress.json");
        let malformed = |reason: String| StateError::Malformed { path: path.clone(), reason };
        let mut text = String::new();
        match fs::File::open(&path) {
            Ok(file) => {
                file.take(MAX_PROGRESS_BYTES)
                    .read_to_string(&mut text)
                    .map_err(TrainError::reading(&path))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let path = run.path().into();
                return Err(match run.units().is_dir() {
                    true => StateError::InUnits { path },
                    false => StateError::Missing { path },
                }
                .into());
            }
            Err(error) => return Err(TrainError::reading(&path)(error)),
        }
        let progress: Self =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if progress.format != FORMAT {
            let reason = format!("format {} where {FORMAT} is expected", progress.format);
            return Err(malformed(reason).into());
        }
        if !goes_on(&progress.config) {
            return Err(StateError::OtherConfig { path }.into());
        }
        Ok(Self { config: config.into(), ..progress })
    }

    /// Makes the first `bytes` of the run's log part of its saved state, if it has one: a resume keeps them.
    ///
    /// # Errors
    /// [`StateError::Malformed`], or [`TrainError::File`] if the disk refuses.
    pub fn keep_log(run: &RunDirectory, bytes: u64) -> Result<(), TrainError> {
        let path = run.state().join("progress.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(TrainError::reading(&path))?,
        };
        let saved: Self = serde_json::from_slice(&text).map_err(|error| StateError::Malformed {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Self { metrics_bytes: bytes, ..saved }.write(&path)
    }

    fn write(&self, path: &Path) -> Result<(), TrainError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| TrainError::writing(path)(error.into()))?;
        write_atomically(path, |file| file.write_all(&text)).map_err(TrainError::writing(path))
    }

    /// Brings `trainer` to where the state of `run` was saved.
    ///
    /// # Errors
    /// [`StateError`], or [`crate::WeightsError`] for a file that does not fit the network.
    pub fn restore(&self, run: &RunDirectory, trainer: &mut Trainer<'_>) -> Result<(), TrainError> {
        let folder = run.state().join(self.generation.to_string());
        let position =
            u64::from(self.epoch) * u64::from(trainer.steps_per_epoch()) + u64::from(self.step);
        let untrained = untrained(trainer);
        if !untrained.is_empty() {
            let file = folder.join(format!("{UNTRAINED}.safetensors"));
            let mut stored = read_weights(&file)?.tensors;
            for parameter in &untrained {
                set(parameter, take(&file, &mut stored, &parameter.name)?, &file)?;
            }
        }
        for index in 0..trainer.units.len() {
            let parameters = owned(trainer, &trainer.units[index]);
            let steps = trainer.steps_per_epoch();
            let state = &mut trainer.units[index];
            let done: Vec<u64> =
                state.parts.iter().map(|part| state.steps_of(part.part, position, steps)).collect();
            let file = folder.join(format!("{}.safetensors", state.unit));
            let mut stored = read_weights(&file)?.tensors;
            for parameter in &parameters {
                set(parameter, take(&file, &mut stored, &parameter.name)?, &file)?;
            }
            for (part, done) in state.parts.iter_mut().zip(done) {
                let mut moments = Vec::with_capacity(part.trained.len());
                for parameter in &part.trained {
                    let m = take(&file, &mut stored, &moment("m", &parameter.name))?;
                    let v = take(&file, &mut stored, &moment("v", &parameter.name))?;
                    moments.push(Moments { name: parameter.name.clone(), first: m, second: v });
                }
                part.adam.restore(done, moments)?;
            }
            if let Some(name) = stored.keys().next() {
                return Err(mismatch(&file, format!("tensor `{name}` does not belong to it")));
            }
            state.position = position;
        }
        trainer.forget_copies();
        Ok(())
    }

    /// Saves weights, moments and this progress as the run's current state.
    ///
    /// # Errors
    /// [`TrainError::File`] or [`crate::WeightsError`]; the previous state is then still whole and current.
    pub(crate) fn save(
        &mut self,
        run: &RunDirectory,
        trainer: &Trainer<'_>,
    ) -> Result<(), TrainError> {
        let generation = self.generation + 1;
        let folder = run.state().join(generation.to_string());
        fs::create_dir_all(&folder).map_err(TrainError::writing(&folder))?;
        let untrained = untrained(trainer);
        if !untrained.is_empty() {
            let tensors: Vec<_> = untrained.iter().map(named).collect();
            write_weights(&folder.join(format!("{UNTRAINED}.safetensors")), &tensors, "")?;
        }
        for state in &trainer.units {
            let mut tensors: Vec<_> = owned(trainer, state).iter().map(named).collect();
            for (name, m, v) in state.parts.iter().flat_map(|part| part.adam.moments()) {
                tensors.push((moment("m", name), m.clone()));
                tensors.push((moment("v", name), v.clone()));
            }
            let file = folder.join(format!("{}.safetensors", state.unit));
            write_weights(&file, &tensors, "")?;
        }
        sync_directory(&folder).map_err(TrainError::writing(&folder))?;

        let saved = Some((self.epoch, self.step));
        let next = Self { generation, saved, ..self.clone() };
        let path = run.state().join("progress.json");
        next.write(&path)?;
        *self = next;
        tracing::debug!(epoch = self.epoch, step = self.step, folder = %folder.display(), "state saved");
        remove_others(&run.state(), generation);
        Ok(())
    }
}

/// Older generations, and a newer one that a kill left unfinished, are only waste: failing to remove them costs space.
fn remove_others(state: &Path, current: u64) {
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let generation = name.to_str().and_then(|name| name.parse::<u64>().ok());
        if generation.is_some_and(|generation| generation != current) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

pub(crate) fn moment(which: &str, name: &str) -> String {
    format!("adam.{which}.{name}")
}

pub(crate) fn named(parameter: &Parameter) -> (String, Tensor) {
    (parameter.name.clone(), parameter.var.as_detached_tensor())
}

/// Everything in the parts that a unit owns, buffers included.
pub(crate) fn owned(trainer: &Trainer<'_>, state: &UnitState) -> Vec<Parameter> {
    let parts: Vec<Part> = state.unit.parts();
    let all = trainer.network().parameters().iter();
    all.filter(|parameter| parts.contains(&parameter.part)).cloned().collect()
}

/// Everything that no unit owns.
fn untrained(trainer: &Trainer<'_>) -> Vec<Parameter> {
    let parts: Vec<Part> = trainer.units.iter().flat_map(|s| s.unit.parts()).collect();
    let all = trainer.network().parameters().iter();
    all.filter(|parameter| !parts.contains(&parameter.part)).cloned().collect()
}

fn mismatch(path: &Path, reason: String) -> TrainError {
    crate::WeightsError::Mismatch { path: path.into(), reason }.into()
}

pub(crate) fn take(
    path: &Path,
    stored: &mut BTreeMap<String, Tensor>,
    name: &str,
) -> Result<Tensor, TrainError> {
    stored.remove(name).ok_or_else(|| mismatch(path, format!("tensor `{name}` is missing")))
}

pub(crate) fn set(parameter: &Parameter, tensor: Tensor, path: &Path) -> Result<(), TrainError> {
    if tensor.shape() != parameter.var.shape() {
        let (name, found) = (&parameter.name, tensor.dims());
        let expected = parameter.var.dims();
        let reason = format!("tensor `{name}` has shape {found:?} where {expected:?} is needed");
        return Err(mismatch(path, reason));
    }
    Ok(parameter.var.set(&tensor.to_device(parameter.var.device())?)?)
}

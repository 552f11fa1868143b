//! The checkpoint of a whole training: weights, optimizer moments, positions.
//!
//! A state is a folder `state/<generation>/` with one file for each unit. A rename of `state/progress.json` makes it current. A
//! kill at any moment leaves the previous generation whole and current.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use noprop_data::Split;
use noprop_files::{read_text, sync_directory};
use noprop_method::{Denoiser, Method, Parameters, Part, Sampler};
use serde::{Deserialize, Serialize};

use super::tensors::{restore_unit, tensors};
use crate::engine::{NextTurn, State};
use crate::error::{Checkpoint, StateError};
use crate::keeper::Keeper;
use crate::loss::{LossSums, StepReport};
use crate::report::{Best, EpochReport, FitReport, Outcome, Validation};
use crate::resources::unix_time;
use crate::step::Model;
use crate::unit_state::{UnitState, averaged};
use crate::weights::read_state;
use crate::{
    Event, Hardware, MetricsLog, RunDirectory, TrainError, Trainer, WeightsError, evaluate,
    save_weights, write_atomically, write_weights,
};

const FORMAT: u32 = 1;
/// The most bytes that are read of a progress file, which is a page of JSON.
const MAX_PROGRESS_BYTES: u64 = 16 << 20;
/// The name of the file with the parameters that no unit trains, such as a frozen encoder.
const UNTRAINED: &str = "untrained.safetensors";

/// The arguments of [`fit`](crate::fit()) besides the trainer.
pub struct Fitting<'a> {
    /// The run directory, which keeps everything.
    pub run: &'a RunDirectory,
    /// The held-out training images.
    pub validation: &'a Split,
    /// The sampler that classifies the held-out images.
    pub sampler: Sampler,
    /// The text (JSON) that is written into the weights file with the weights.
    pub metadata: &'a str,
    /// The number of epochs in a row after which the training ends early, if all of them were worse on the held-out images than the
    /// best epoch before. `None` trains to the last epoch.
    pub patience: Option<NonZeroU32>,
    /// The time after which the state is saved within an epoch. It bounds the work that a kill can lose. The save follows the
    /// steps in which the time ran out; zero saves as often as possible. Where losses are read once an epoch, as on a GPU, the
    /// state is saved only after epochs.
    pub save_every: Duration,
}

/// The progress of a training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    format: u32,
    generation: u64,
    /// The settings that the run's results depend on, as text. A resume needs the same text.
    config: String,
    /// The number of epochs done.
    pub epoch: u32,
    /// The number of steps done in the current epoch.
    pub step: u32,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// The training time so far, in seconds.
    pub seconds: f64,
    /// The training time of the current epoch so far, in seconds.
    epoch_seconds: f64,
    /// The losses of the current epoch so far.
    sums: LossSums,
    /// The epoch and step of the last save.
    saved: Option<(u32, u32)>,
    /// The length of metrics.jsonl in bytes when the state was saved.
    metrics_bytes: u64,
    /// The steps that parts have not made because blocks were paused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    missed: BTreeMap<Part, u64>,
}

impl Progress {
    /// Returns the progress at the beginning of a training whose results depend on `config`.
    pub fn start(config: &str) -> Self {
        Self { format: FORMAT, config: config.into(), ..Self::default() }
    }

    /// Returns whether a training with `patience` ends here, before its last epoch.
    pub fn is_out_of_patience(&self, patience: Option<NonZeroU32>) -> bool {
        let last = |(patience, best): (NonZeroU32, Best)| best.epoch.saturating_add(patience.get());
        patience.zip(self.best).map(last).is_some_and(|last| self.epoch >= last)
    }

    /// Moves to the beginning of the next epoch.
    fn next_epoch(&mut self) {
        self.epoch += 1;
        self.step = 0;
        self.epoch_seconds = 0.0;
        self.sums = LossSums::default();
    }

    /// Reads the saved progress of `run`, without the weights. `config` is the text of the settings that the run's results
    /// depend on.
    ///
    /// # Errors
    /// [`StateError`] if there is no saved state, if it is malformed, or if it was saved with another `config`;
    /// [`TrainError::File`] if it cannot be read.
    pub fn read(run: &RunDirectory, config: &str) -> Result<Self, TrainError> {
        Self::read_if(run, config, |saved| saved == config)
    }

    /// As [`Self::read`], but accepts a state that was saved with other settings if `goes_on` returns true for their text. The
    /// progress then continues with `config`.
    ///
    /// # Errors
    /// As for [`Self::read`], with [`StateError::OtherConfig`] if `goes_on` returns false.
    pub fn read_if(
        run: &RunDirectory,
        config: &str,
        goes_on: impl FnOnce(&str) -> bool,
    ) -> Result<Self, TrainError> {
        let Some(progress) = Self::load(run)? else {
            let path = run.path().into();
            return Err(match run.units().is_dir() {
                true => StateError::InUnits(path),
                false => StateError::Missing(path),
            }
            .into());
        };
        if !goes_on(&progress.config) {
            return Err(StateError::OtherConfig(file(run)).into());
        }
        Ok(Self { config: config.into(), ..progress })
    }

    /// Records in the saved state, if the run has one, that a resume keeps the first `bytes` bytes of the log.
    ///
    /// # Errors
    /// [`StateError::Malformed`], or [`TrainError::File`] if a file cannot be read or written.
    pub fn keep_log(run: &RunDirectory, bytes: u64) -> Result<(), TrainError> {
        match Self::load(run)? {
            Some(saved) => Self { metrics_bytes: bytes, ..saved }.write(run),
            None => Ok(()),
        }
    }

    /// Reads the progress file of `run`; `None` if there is none.
    fn load(run: &RunDirectory) -> Result<Option<Self>, TrainError> {
        let path = file(run);
        let text = match read_text(&path, MAX_PROGRESS_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(TrainError::reading(&path))?,
        };
        let reason = match serde_json::from_str::<Self>(&text) {
            Ok(progress) if progress.format == FORMAT => return Ok(Some(progress)),
            Ok(Self { format, .. }) => format!("format {format} where {FORMAT} is expected"),
            Err(error) => error.to_string(),
        };
        Err(StateError::Malformed { path, reason }.into())
    }

    fn write(&self, run: &RunDirectory) -> Result<(), TrainError> {
        let path = &file(run);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| TrainError::writing(path)(error.into()))?;
        write_atomically(path, |file| file.write_all(&text)).map_err(TrainError::writing(path))
    }

    /// Restores weights, moments and positions from the saved state of `run`.
    ///
    /// # Errors
    /// [`StateError`], or [`crate::WeightsError`] for a file that does not fit the network.
    pub fn restore<N: Denoiser, M: Method>(
        &self,
        run: &RunDirectory,
        trainer: &mut Trainer<N, M>,
    ) -> Result<(), TrainError> {
        let (Model { network, .. }, state) = trainer.parts();
        let folder = run.state().join(self.generation.to_string());
        let steps = state.plan.steps_per_epoch();
        let position = u64::from(self.epoch) * u64::from(steps) + u64::from(self.step);
        if let Some(untrained) = untrained(network, &state.units) {
            let file = folder.join(UNTRAINED);
            untrained.set(read_state(&file)?.tensors).map_err(|error| WeightsError::Mismatch {
                path: file,
                reason: error.to_string(),
            })?;
        }
        for unit in &mut state.units {
            let file = folder.join(format!("{}.safetensors", unit.unit));
            for part in &mut unit.parts {
                part.missed = self.missed.get(&part.part).copied().unwrap_or(0);
            }
            restore_unit(&file, read_state(&file)?.tensors, network, unit, position, steps)?;
        }
        state.forget_stack();
        Ok(())
    }

    /// Saves weights, moments and this progress as the run's current state.
    ///
    /// # Errors
    /// [`TrainError::File`] or [`crate::WeightsError`]. The previous state then remains whole and current.
    fn save(
        &mut self,
        run: &RunDirectory,
        network: &dyn Denoiser,
        units: &[UnitState],
    ) -> Result<(), TrainError> {
        let generation = self.generation + 1;
        let folder = run.state().join(generation.to_string());
        fs::create_dir_all(&folder).map_err(TrainError::writing(&folder))?;
        if let Some(untrained) = untrained(network, units) {
            save_weights(&folder.join(UNTRAINED), &untrained)?;
        }
        for unit in units {
            let file = folder.join(format!("{}.safetensors", unit.unit));
            write_weights(&file, &tensors(network, unit), "")?;
        }
        sync_directory(&folder).map_err(TrainError::writing(&folder))?;

        let saved = Some((self.epoch, self.step));
        let parts = units.iter().flat_map(|unit| &unit.parts).filter(|part| part.missed > 0);
        let missed = parts.map(|part| (part.part, part.missed)).collect();
        let next = Self { generation, saved, missed, ..self.clone() };
        next.write(run)?;
        *self = next;
        tracing::debug!(epoch = self.epoch, step = self.step, folder = %folder.display(), "state saved");
        remove_others(&run.state(), generation);
        Ok(())
    }
}

/// Returns the path of the progress file.
fn file(run: &RunDirectory) -> PathBuf {
    run.state().join("progress.json")
}

/// Removes older generations, and a newer one that a kill left unfinished. They are not needed, so an error is ignored: it only
/// costs disk space.
fn remove_others(state: &Path, current: u64) {
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let generation = name.to_str().and_then(|name| name.parse::<u64>().ok());
        if generation.is_some_and(|generation| generation != current) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns the parameters that no unit owns, buffers included; `None` if there are none.
fn untrained(network: &dyn Denoiser, units: &[UnitState]) -> Option<Parameters> {
    let trained: Vec<Part> = units.iter().flat_map(|state| state.unit.parts()).collect();
    let mut parts = network.parameters().parts();
    parts.retain(|part| !trained.contains(part));
    (!parts.is_empty()).then(|| network.parameters().of_parts(&parts))
}

/// Keeps a whole training in one run directory: validation, the best weights, the log, and the state.
pub(crate) struct Kept<'a> {
    fitting: &'a Fitting<'a>,
    progress: Progress,
    /// The log. Only rank 0 has one.
    log: Option<MetricsLog>,
    lr: f64,
    images_per_epoch: usize,
}

impl<'a> Kept<'a> {
    /// Opens the log and records the start.
    pub fn begin(
        model: Model<'_>,
        state: &State,
        fitting: &'a Fitting<'a>,
        progress: Progress,
    ) -> Result<Self, TrainError> {
        let steps = u64::from(state.plan.steps_per_epoch());
        let position = u64::from(progress.epoch) * steps + u64::from(progress.step);
        if state.units.iter().any(|unit| unit.position != position) {
            return Err(
                StateError::OtherPosition { epoch: progress.epoch, step: progress.step }.into()
            );
        }
        let log = match state.engine.ranks().is_first() {
            true => Some(MetricsLog::open(&fitting.run.metrics(), progress.metrics_bytes)?),
            false => None,
        };
        let (epoch, step) = (progress.epoch, progress.step);
        let images_per_epoch = state.images_per_epoch();
        let mut kept = Self { fitting, progress, log, lr: 0.0, images_per_epoch };
        kept.log(&Event::Start {
            version: env!("CARGO_PKG_VERSION").into(),
            hardware: Hardware::with(model.network.class_embeddings().device()),
            epoch,
            step,
            epochs: Some(state.plan.config.epochs),
            ema: state.plan.config.ema,
            unix_time: unix_time(),
        })?;
        Ok(kept)
    }

    fn log(&mut self, event: &Event) -> Result<(), TrainError> {
        self.progress.metrics_bytes = match &mut self.log {
            Some(log) => log.append(event)?,
            None => 0,
        };
        Ok(())
    }

    /// Returns the outcome of a training that made all its steps.
    pub fn outcome(&self) -> Outcome {
        match self.progress.best.filter(|_| self.log.is_some()) {
            Some(best) => {
                let Progress { epoch: epochs, seconds, .. } = self.progress;
                Outcome::Finished(FitReport { best, epochs, seconds })
            }
            // Rank 0 sets the best epoch in every epoch; the other ranks have none.
            None => Outcome::Trained,
        }
    }
}

impl Keeper for Kept<'_> {
    fn save_every(&self) -> Duration {
        self.fitting.save_every
    }

    fn needs_all_ranks(&self) -> bool {
        true
    }

    fn with_checkpoint(&self, error: TrainError) -> TrainError {
        match (error, self.progress.saved) {
            (TrainError::Diverged { part, epoch, step, loss, .. }, Some((after, steps))) => {
                let path = self.fitting.run.state();
                let checkpoint = Checkpoint::Saved { path, epoch: after, step: steps };
                TrainError::Diverged { part, epoch, step, loss, checkpoint }
            }
            (other, _) => other,
        }
    }

    fn pause(&mut self, paused: &[usize]) -> Result<bool, TrainError> {
        let Progress { epoch, step, .. } = self.progress;
        self.log(&Event::Pause { epoch, step, blocks: paused.into() })?;
        Ok(true)
    }

    fn record(&mut self, _: &[usize], reports: &[StepReport]) {
        reports.iter().for_each(|report| self.progress.sums.add(report));
        self.lr = reports.first().map_or(0.0, |report| report.lr);
        self.progress.step += 1;
    }

    fn took(&mut self, _: &[usize], seconds: f64) {
        self.progress.seconds += seconds;
        self.progress.epoch_seconds += seconds;
    }

    /// Rank 0 decides, which validates.
    fn ends_early(&self) -> Option<bool> {
        self.fitting.patience?;
        Some(self.log.is_some() && self.progress.is_out_of_patience(self.fitting.patience))
    }

    /// Validates on rank 0, and keeps the weights if they are the best so far. If the weights are averaged, these are the averages.
    fn end_epoch(
        &mut self,
        model: Model<'_>,
        state: &mut State,
        _: &NextTurn,
    ) -> Result<Option<EpochReport>, TrainError> {
        if self.log.is_none() {
            self.progress.next_epoch();
            return Ok(None);
        }
        let started = Instant::now();
        let Fitting { run, validation, sampler, metadata, .. } = self.fitting;
        let epoch = self.progress.epoch + 1;
        let (found, best) = averaged(&mut state.units, || {
            let found = evaluate(model.network, model.method, validation, sampler)?;
            let this = Best { epoch, correct: found.correct, total: found.total };
            let best = this.or_better(self.progress.best);
            if best == this {
                write_weights(&run.model(), &model.network.parameters().tensors(), metadata)?;
            }
            Ok((found, best))
        })?;
        let seconds = self.progress.epoch_seconds;
        let validation =
            Validation { accuracy: found.accuracy(), per_block: found.per_block, best };
        let report = EpochReport {
            epoch,
            losses: self.progress.sums.means(),
            images_per_second: self.images_per_epoch as f64 / seconds.max(f64::MIN_POSITIVE),
            seconds,
            validation: Some(validation.clone()),
        };
        self.progress.next_epoch();
        self.progress.best = Some(best);
        self.progress.seconds += started.elapsed().as_secs_f64();
        self.log(&Event::Epoch {
            epoch,
            seconds,
            total_seconds: self.progress.seconds,
            images_per_second: report.images_per_second,
            lr: self.lr,
            losses: report.losses.clone(),
            validation_accuracy: validation.accuracy,
            validation_per_block: validation.per_block,
            best_epoch: best.epoch,
        })?;
        tracing::info!(epoch, seconds, lr = self.lr, "epoch done");
        Ok(Some(report))
    }

    fn save(
        &mut self,
        model: Model<'_>,
        state: &State,
        _: &NextTurn,
        stopped: Option<(u32, u32)>,
    ) -> Result<(), TrainError> {
        if self.log.is_none() {
            return Ok(());
        }
        if let Some((epoch, step)) = stopped {
            self.log(&Event::Stop { epoch, step })?;
        }
        self.progress.save(self.fitting.run, model.network, &state.units)
    }
}

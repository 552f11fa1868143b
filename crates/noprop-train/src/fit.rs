//! The loop over epochs: train, validate, keep the best weights, save within long epochs too, stop when asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use noprop_data::Split;
use noprop_method::Sampler;
use serde::{Deserialize, Serialize};

use crate::collect::collect;
use crate::metrics::MeanLoss;
use crate::{
    Event, Hardware, MetricsLog, PartLoss, Progress, RunDirectory, StepReport, TrainError, Trainer,
    evaluate, write_weights,
};

/// The epoch whose weights are kept, chosen on held-out training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: u32,
    /// Validation images classified correctly.
    pub correct: usize,
    /// Validation images.
    pub total: usize,
}

impl Best {
    /// Validation accuracy, 0..=1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }

    /// The better one of this epoch and an earlier one. Of two equals the later: it was trained for longer, at a lower rate.
    pub(crate) fn or_better(self, earlier: Option<Self>) -> Self {
        earlier.filter(|earlier| earlier.correct > self.correct).unwrap_or(self)
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Make the next step.
    Continue,
    /// Save and stop: the run can be resumed.
    Stop,
}

/// Somebody who watches a training, and may stop it.
pub trait Observer {
    /// After each step, with the reports of all units.
    fn step(&mut self, reports: &[StepReport]) -> Control {
        let _ = reports;
        Control::Continue
    }

    /// After each epoch.
    fn epoch(&mut self, report: &EpochReport) {
        let _ = report;
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: u32,
    /// Mean losses by block, then of the readout.
    pub losses: Vec<MeanLoss>,
    /// Accuracy on held-out training images, 0..=1.
    pub validation_accuracy: f64,
    /// The same after each block.
    pub validation_per_block: Vec<f64>,
    /// The best epoch so far.
    pub best: Best,
    /// Training images a second.
    pub images_per_second: f64,
    /// Training time of the epoch in seconds.
    pub seconds: f64,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All epochs are done; the best one's weights are in the run's `model.safetensors`.
    Finished(FitReport),
    /// Stopped on request; the run can be resumed.
    Stopped {
        /// Epochs done.
        epoch: u32,
        /// Steps of the current epoch done.
        step: u32,
    },
    /// This process has done its part of a training in which others have one too: it validated nothing, and chose no weights.
    Trained,
}

/// A finished training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitReport {
    /// The epoch whose weights were kept.
    pub best: Best,
    /// Training time in seconds, validation included, stops left out.
    pub seconds: f64,
}

/// What [`fit`] needs beside the trainer.
pub struct Fitting<'a> {
    /// The run directory, which keeps everything.
    pub run: &'a RunDirectory,
    /// Held-out training images.
    pub validation: &'a Split,
    /// How they are classified.
    pub sampler: Sampler,
    /// What goes into the weights file beside the weights (JSON).
    pub metadata: &'a str,
    /// The time after which the state is saved within an epoch, so that a training that is killed loses no more than that. The
    /// save comes after the call of [`Trainer::advance_all`] in which the time ran out, with zero after every call. Where a call
    /// makes a whole epoch, as on a GPU, the state is saved after epochs alone.
    pub save_every: Duration,
}

/// Sums of losses over the steps of an epoch, by part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochSums(BTreeMap<String, (f64, f64, u32)>);

impl EpochSums {
    pub(crate) fn add(&mut self, loss: &PartLoss) {
        let sum = self.0.entry(loss.part.to_string()).or_default();
        sum.0 += f64::from(loss.loss);
        sum.1 += f64::from(loss.error);
        sum.2 += 1;
    }

    /// Means in the order of `parts`.
    pub(crate) fn means(&self, parts: impl Iterator<Item = String>) -> Vec<MeanLoss> {
        let mean = |part: String| {
            let &(loss, error, count) = self.0.get(&part)?;
            let count = f64::from(count);
            Some(MeanLoss { part, loss: loss / count, error: error / count })
        };
        parts.filter_map(mean).collect()
    }
}

/// Trains from `progress` to the end, or until the observer says stop.
///
/// After every epoch the held-out images are classified, the weights are written to `model.safetensors` if no epoch was
/// better, and the state is saved. The test set has no part in this.
///
/// Of several processes that train together the first one validates, writes and tells how it ended; the others need the run only
/// for its state, and end with [`Outcome::Trained`]. What one of their observers says holds for all, and all save when one finds
/// that it is time.
///
/// # Errors
/// [`TrainError::Diverged`] with the last good state named; [`TrainError::File`] if the disk refuses. The state that was saved before is
/// then still whole, and a resume goes on from there.
pub fn fit(
    trainer: &mut Trainer<'_>,
    fitting: &Fitting<'_>,
    mut progress: Progress,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let run = fitting.run;
    let peers = trainer.peers();
    let mut log = match peers.is_first() {
        true => Some(MetricsLog::open(&run.metrics(), progress.metrics_bytes)?),
        false => None,
    };
    let mut record = |event: Event| log.as_mut().map_or(Ok(0), |log| log.append(&event));
    progress.metrics_bytes = record(Event::Start {
        version: env!("CARGO_PKG_VERSION").into(),
        hardware: Hardware::with(trainer.network().class_embeddings().device()),
        epoch: progress.epoch,
        step: progress.step,
        epochs: Some(trainer.config().epochs),
        unix_time: unix_time(),
    })?;
    let epochs = trainer.config().epochs;
    let steps = trainer.steps_per_epoch();
    while progress.epoch < epochs {
        // Of the epoch, or of what came after the last save in it.
        let mut started = Instant::now();
        let mut lr = 0.0;
        let mut stop = false;
        let (first_step, traffic) = (progress.step, peers.traffic());
        while progress.step < steps {
            let stride = trainer.stride().min(steps - progress.step);
            let done = trainer
                .advance_all(stride)
                .map_err(|error| with_checkpoint(error, &progress, run))?;
            let mut control = Control::Continue;
            for reports in done {
                for loss in reports.iter().flat_map(|report| &report.losses) {
                    progress.sums.add(loss);
                }
                lr = reports.first().map_or(0.0, |report| report.lr);
                progress.step += 1;
                if observer.step(&reports) == Control::Stop {
                    control = Control::Stop;
                }
            }
            let within = progress.step < steps;
            let due = within && started.elapsed() >= fitting.save_every;
            // The same on all, or some would wait for the others' next step. Most steps need one answer alone.
            if !peers.any(control == Control::Stop || due)? {
                continue;
            }
            stop = peers.any(control == Control::Stop)?;
            if !within {
                continue;
            }
            let elapsed = started.elapsed().as_secs_f64();
            progress.seconds += elapsed;
            progress.epoch_seconds += elapsed;
            let (epoch, step) = (progress.epoch, progress.step);
            if stop {
                progress.metrics_bytes = record(Event::Stop { epoch, step })?;
            }
            collect(trainer)?;
            if peers.is_first() {
                progress.save(run, trainer)?;
            }
            if stop {
                return Ok(Outcome::Stopped { epoch, step });
            }
            started = Instant::now();
        }
        let seconds = progress.epoch_seconds + started.elapsed().as_secs_f64();
        if !peers.is_alone() {
            let steps = u64::from(steps - first_step).max(1);
            let sent = (peers.traffic().sent - traffic.sent) / steps;
            let received = (peers.traffic().received - traffic.received) / steps;
            tracing::debug!(rank = peers.rank(), sent, received, "bytes exchanged a step");
        }
        collect(trainer)?;
        if !peers.is_first() {
            progress.next_epoch();
            if stop && progress.epoch < epochs {
                return Ok(Outcome::Stopped { epoch: progress.epoch, step: 0 });
            }
            continue;
        }
        let report = end_epoch(trainer, fitting, &mut progress, seconds)?;
        progress.seconds += started.elapsed().as_secs_f64();
        progress.metrics_bytes = record(Event::Epoch {
            epoch: report.epoch,
            seconds: report.seconds,
            total_seconds: progress.seconds,
            images_per_second: report.images_per_second,
            lr,
            losses: report.losses.clone(),
            validation_accuracy: report.validation_accuracy,
            validation_per_block: report.validation_per_block.clone(),
            best_epoch: report.best.epoch,
        })?;
        tracing::info!(epoch = report.epoch, seconds, lr, "epoch done");
        // A GPU makes the steps of an epoch in one go, and stops after them.
        let stop = stop && progress.epoch < epochs;
        if stop {
            progress.metrics_bytes = record(Event::Stop { epoch: progress.epoch, step: 0 })?;
        }
        progress.save(run, trainer)?;
        observer.epoch(&report);
        if stop {
            return Ok(Outcome::Stopped { epoch: progress.epoch, step: 0 });
        }
    }
    match progress.best.filter(|_| peers.is_first()) {
        Some(best) => Ok(Outcome::Finished(FitReport { best, seconds: progress.seconds })),
        // The process that validates sets it in every epoch.
        None => Ok(Outcome::Trained),
    }
}

/// Validates, keeps the weights if they are the best so far, and moves `progress` to the next epoch.
fn end_epoch(
    trainer: &Trainer<'_>,
    fitting: &Fitting<'_>,
    progress: &mut Progress,
    seconds: f64,
) -> Result<EpochReport, TrainError> {
    let network = trainer.network();
    let evaluation = evaluate(network, trainer.objective(), fitting.validation, &fitting.sampler)?;
    let epoch = progress.epoch + 1;
    let this = Best { epoch, correct: evaluation.correct, total: evaluation.total };
    let best = this.or_better(progress.best);
    if best == this {
        let tensors: Vec<_> = network
            .parameters()
            .iter()
            .map(|parameter| (parameter.name.clone(), parameter.var.as_detached_tensor()))
            .collect();
        write_weights(&fitting.run.model(), &tensors, fitting.metadata)?;
    }
    let images = trainer.images_per_epoch() as f64;
    let parts = (1..=network.blocks())
        .map(|t| noprop_method::Part::Block(t).to_string())
        .chain([noprop_method::Part::Readout.to_string()]);
    let report = EpochReport {
        epoch,
        losses: progress.sums.means(parts),
        validation_accuracy: evaluation.accuracy(),
        validation_per_block: evaluation.per_block,
        best,
        images_per_second: images / seconds.max(f64::MIN_POSITIVE),
        seconds,
    };
    progress.next_epoch();
    progress.best = Some(best);
    Ok(report)
}

fn with_checkpoint(error: TrainError, progress: &Progress, run: &RunDirectory) -> TrainError {
    match error {
        TrainError::Diverged { part, epoch, step, value, .. } => TrainError::Diverged {
            part,
            epoch,
            step,
            value,
            checkpoint: match progress.saved_at() {
                Some((epoch, step)) => format!(
                    "the last good checkpoint is {} (after epoch {epoch}, step {step})",
                    run.state().display()
                ),
                None => "no checkpoint had been saved yet".into(),
            },
        },
        other => other,
    }
}

pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

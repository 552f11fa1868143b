//! The merge of the epochs of all units into the weights that a single process writes.

use std::time::Instant;

use noprop_data::Split;
use noprop_method::{Denoiser, Method, Sampler};

use crate::checkpoint::{UnitEpoch, UnitStatus, load_epoch, unit_status};
use crate::error::UnitError;
use crate::resources::unix_time;
use crate::{
    Best, Event, FitReport, Hardware, MetricsLog, Order, RunDirectory, TrainError, Unit, evaluate,
    write_weights,
};

/// The arguments of [`merge_units`] besides the run.
pub struct Merging<'a> {
    /// The network as it was before training; its parameters are overwritten.
    pub network: &'a dyn Denoiser,
    /// The method that trained it.
    pub method: &'a dyn Method,
    /// The held-out training images.
    pub validation: &'a Split,
    /// The sampler that classifies the held-out images.
    pub sampler: Sampler,
    /// The text of the settings. All units must have been trained with it, and it is written into the weights file.
    pub config: &'a str,
    /// The number of epochs of the training.
    pub epochs: u32,
    /// The order in which blocks learned from mini-batches.
    pub order: Order,
    /// The rate of the averages that the units wrote, as in [`TrainConfig::ema`](crate::TrainConfig::ema).
    pub ema: Option<f64>,
    /// The number of training images that an epoch visits.
    pub images_per_epoch: usize,
}

/// The outcome of a merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The report, as a training in one process gives it.
    pub report: FitReport,
    /// The kinds of machine that units were trained on. If there is more than one, no single process can write the same
    /// bytes.
    pub machines: Vec<Hardware>,
}

/// Merges the units of `run`. Chooses the epoch by the held-out images, as a single process does, and writes the run's
/// `model.safetensors` and `metrics.jsonl`.
///
/// Nothing is changed before every unit is found to be done. A repeated call writes the same weights. The training time of an
/// epoch is the sum of its units' times, however many of them ran at the same time.
///
/// # Errors
/// [`UnitError::Unfinished`], which names every unit that is missing or not done; [`UnitError::OtherSettings`],
/// [`UnitError::OtherVersion`] or [`crate::WeightsError`] for a unit that does not belong to the run.
pub fn merge_units(run: &RunDirectory, merging: &Merging<'_>) -> Result<Merged, TrainError> {
    let started = Instant::now();
    let units = Unit::of(merging.network, merging.method, merging.order);
    let mut unfinished = Vec::new();
    for &unit in &units {
        unit.stands_alone()?;
        let how = match unit_status(run, unit, merging.epochs)? {
            UnitStatus::Done => continue,
            UnitStatus::Missing => "missing".to_owned(),
            UnitStatus::Running(done) => {
                format!("in training, {done} of {} epochs", merging.epochs)
            }
            UnitStatus::Stopped(done) => {
                format!("stopped after {done} of {} epochs", merging.epochs)
            }
        };
        unfinished.push(format!("{unit} is {how}"));
    }
    if !unfinished.is_empty() {
        let units = unfinished.join(", ");
        return Err(UnitError::Unfinished { path: run.path().into(), units }.into());
    }
    let load = |epoch: u32| -> Result<Vec<UnitEpoch>, TrainError> {
        let load = |&unit| load_epoch(run, merging.network, unit, epoch, merging.config);
        units.iter().map(load).collect()
    };

    let (mut best, mut trained) = (None::<Best>, 0.0);
    let (mut events, mut machines) = (Vec::new(), Vec::<Hardware>::new());
    for epoch in 1..=merging.epochs {
        let notes = load(epoch)?;
        let seconds: f64 = notes.iter().map(|notes| notes.seconds).sum();
        let lr = notes.last().map_or(0.0, |notes| notes.lr);
        for notes in &notes {
            if !machines.iter().any(|known| known.computes_as(&notes.hardware)) {
                machines.push(notes.hardware.clone());
            }
        }
        let validating = Instant::now();
        let found =
            evaluate(merging.network, merging.method, merging.validation, &merging.sampler)?;
        let this = Best { epoch, correct: found.correct, total: found.total };
        best = Some(this.or_better(best));
        trained += seconds + validating.elapsed().as_secs_f64();
        events.push(Event::Epoch {
            epoch,
            seconds,
            total_seconds: trained,
            images_per_second: merging.images_per_epoch as f64 / seconds.max(f64::MIN_POSITIVE),
            lr,
            losses: notes.into_iter().flat_map(|notes| notes.losses).collect(),
            validation_accuracy: found.accuracy(),
            validation_per_block: found.per_block,
            best_epoch: best.map_or(epoch, |best| best.epoch),
        });
    }
    // A training has at least one epoch.
    let best = best.unwrap_or(Best { epoch: 1, correct: 0, total: 0 });
    load(best.epoch)?;
    write_weights(&run.model(), &merging.network.parameters().tensors(), merging.config)?;
    let mut log = MetricsLog::open(&run.metrics(), 0)?;
    // The machines that trained, not the one that merges.
    let starts = machines.iter().map(|hardware| Event::Start {
        version: env!("CARGO_PKG_VERSION").into(),
        hardware: hardware.clone(),
        epoch: 0,
        step: 0,
        epochs: Some(merging.epochs),
        ema: merging.ema,
        unix_time: unix_time(),
    });
    for event in starts.chain(events) {
        log.append(&event)?;
    }
    tracing::info!(seconds = started.elapsed().as_secs_f64(), units = units.len(), "merged");
    Ok(Merged { report: FitReport { best, epochs: merging.epochs, seconds: trained }, machines })
}

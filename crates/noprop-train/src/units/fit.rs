//! The loop over steps of the units that a process has.

use std::time::{Duration, Instant};

use super::folder::{UnitEpoch, UnitFolder, UnitProgress};
use crate::fit::{Control, EpochSums, Observer};
use crate::{Existing, Outcome, RunDirectory, TrainError, Trainer};

/// The arguments of [`fit_units`] beside the trainer.
pub struct UnitFitting<'a> {
    /// The run directory, which keeps everything.
    pub run: &'a RunDirectory,
    /// The text of the settings: what is there must have been written with the same.
    pub config: &'a str,
    /// The treatment of units that are there: they go on, or are replaced.
    pub existing: Existing,
    /// As in [`crate::Fitting`].
    pub save_every: Duration,
}

/// Trains the units of `trainer`, which are some of a training's, to the end, each from where it was saved; `Existing::Replace`
/// begins anew. Each writes its weights after every epoch to `units/<unit>/` in the run, for [`super::merge_units`], and its
/// state then and within long epochs. Returns whether all are done.
///
/// # Errors
/// [`crate::UnitError::Tied`] if the training has units with several blocks, [`crate::UnitError::Locked`] if another process trains one of the
/// units; those of [`crate::fit`].
pub fn fit_units(
    trainer: &mut Trainer<'_>,
    fitting: &UnitFitting<'_>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let &UnitFitting { run, config, existing, save_every } = fitting;
    for unit in trainer.units() {
        unit.stands_alone()?;
    }
    // A unit has files and a position of its own.
    trainer.train_one_by_one();
    let mut folders = Vec::new();
    for (index, unit) in trainer.units().into_iter().enumerate() {
        let folder = UnitFolder::open(run, unit)?;
        if existing == Existing::Replace {
            folder.clear()?;
        }
        let progress = folder.restore(trainer, index, config)?;
        folders.push((folder, progress));
    }
    let steps = u64::from(trainer.steps_per_epoch());
    let total = steps * u64::from(trainer.config().epochs);
    let mut saved = Instant::now();
    // Units that are behind go first, until all go on together.
    while let Some(front) = folders.iter().map(|(_, p)| p.position).filter(|&p| p < total).min() {
        let turn: Vec<usize> =
            (0..folders.len()).filter(|&index| folders[index].1.position == front).collect();
        let others = folders.iter().map(|(_, p)| p.position).filter(|&position| position > front);
        let next = others.min().unwrap_or(total).min(front + steps - front % steps);
        let stride = u64::from(trainer.stride()).min(next - front);
        let started = Instant::now();
        let reports = trainer.advance_units(&turn, u32::try_from(stride).unwrap_or(1))?;
        // Units that train side by side share the time.
        let seconds = started.elapsed().as_secs_f64() / turn.len() as f64;
        let mut control = Control::Continue;
        let mut lr = 0.0;
        for reports in &reports {
            for (&index, report) in turn.iter().zip(reports) {
                let progress = &mut folders[index].1;
                report.losses.iter().for_each(|loss| progress.sums.add(loss));
                progress.position += 1;
                lr = report.lr;
            }
            if observer.step(reports) == Control::Stop {
                control = Control::Stop;
            }
        }
        let position = front + stride;
        let ended = position.is_multiple_of(steps);
        let save = ended || control == Control::Stop || saved.elapsed() >= save_every;
        // The others are where they were saved.
        for &index in &turn {
            let (folder, progress) = &mut folders[index];
            progress.seconds += seconds;
            progress.epoch_seconds += seconds;
            if ended {
                end_epoch(trainer, index, folder, progress, (config, lr))?;
            }
            if save {
                folder.save(trainer, index, progress)?;
            }
        }
        if save {
            saved = Instant::now();
        }
        if control == Control::Stop && position < total {
            let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            return Ok(Outcome::Stopped {
                epoch: number(position / steps),
                step: number(position % steps),
            });
        }
    }
    Ok(Outcome::Trained)
}

/// Writes a unit's weights after an epoch; its state comes after that: killed between the two, it writes the same weights again.
fn end_epoch(
    trainer: &Trainer<'_>,
    index: usize,
    folder: &UnitFolder,
    progress: &mut UnitProgress,
    (config, lr): (&str, f64),
) -> Result<(), TrainError> {
    let epoch = progress.position / u64::from(trainer.steps_per_epoch());
    let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
    let parts = trainer.units[index].parts.iter().map(|part| part.part.to_string());
    let notes = UnitEpoch::new(config, progress.epoch_seconds, lr, progress.sums.means(parts));
    folder.save_epoch(trainer, index, epoch, &notes)?;
    progress.sums = EpochSums::default();
    progress.epoch_seconds = 0.0;
    Ok(())
}

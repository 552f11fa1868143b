//! Units of a training that processes train apart: some of them trained, all of them merged, and how far each is.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use candle_core::Device;
use noprop_method::Seed;
use noprop_train::{
    Existing, Merging, Outcome, PeakMemory, RunDirectory, Trainer, Unit, UnitFitting, UnitStatus,
    fit_units, merge_units, unit_status,
};

use crate::error::{Error, Result, bail};
use crate::experiment::Experiment;
use crate::finished::Finished;
use crate::kept::Moved;
use crate::memory;
use crate::progress::{Length, Progress, Remark};
use crate::settings::read_text;
use crate::task::Task;
use crate::train::{Means, NewRun, refuse_inside_data};

/// Units as a person names them: blocks by number and in ranges, and the readout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks(Vec<Pick>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pick {
    Blocks(RangeInclusive<usize>),
    Readout,
}

impl FromStr for Blocks {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let wrong = |pick: &str| {
            format!(
                "`{pick}` is not a block: give numbers from 1, ranges and readout, such as 3-5,8,readout"
            )
        };
        let number = |text: &str| text.parse::<usize>().ok().filter(|&block| block > 0);
        let pick = |pick: &str| {
            if pick == "readout" {
                return Ok(Pick::Readout);
            }
            let (first, last) = pick.split_once('-').unwrap_or((pick, pick));
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => Ok(Pick::Blocks(first..=last)),
                _ => Err(wrong(pick)),
            }
        };
        list.split(',').map(|text| pick(text.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let picks = self.0.iter().map(|pick| match pick {
            Pick::Readout => "readout".to_owned(),
            Pick::Blocks(range) if range.start() == range.end() => range.start().to_string(),
            Pick::Blocks(range) => format!("{}-{}", range.start(), range.end()),
        });
        f.write_str(&picks.collect::<Vec<_>>().join(","))
    }
}

impl Blocks {
    /// The units that are meant, of all `units` of a training.
    fn of(&self, units: &[Unit]) -> Result<Vec<Unit>> {
        for unit in units {
            unit.stands_alone().map_err(noprop_train::TrainError::from)?;
        }
        let blocks = units.iter().filter(|unit| matches!(unit, Unit::Block(_))).count();
        for pick in &self.0 {
            match pick {
                Pick::Blocks(range) if *range.end() > blocks => {
                    bail!(
                        "there is no block {}: this training has blocks 1 to {blocks}",
                        range.end()
                    );
                }
                Pick::Readout if !units.contains(&Unit::Readout) => {
                    bail!("this training has no readout to train");
                }
                _ => {}
            }
        }
        let meant = |unit: &Unit| {
            self.0.iter().any(|pick| match (pick, unit) {
                (Pick::Blocks(range), Unit::Block(block)) => range.contains(block),
                (Pick::Readout, Unit::Readout) => true,
                _ => false,
            })
        };
        Ok(units.iter().copied().filter(meant).collect())
    }
}

/// Units that were trained.
#[derive(Debug)]
pub struct TrainedUnits {
    /// The run directory.
    pub run: PathBuf,
    /// The units that were to be trained.
    pub units: Vec<Unit>,
    /// Epochs and steps done, if the training was stopped before its end.
    pub stopped: Option<(u32, u32)>,
}

/// Trains some units of a new training, or of one that other processes began with the same settings, into the run that they share.
///
/// # Errors
/// If the settings, the data and the run do not go together, or if the blocks need each other in every step. If training fails.
pub fn train_units(
    new: &NewRun,
    blocks: &Blocks,
    means: Means<'_>,
    progress: &mut dyn Progress,
) -> Result<TrainedUnits> {
    let Some(out) = &new.out else {
        return Err(Error::setting("out", "is needed: it is the run that all processes share"));
    };
    let task = Task::new(&new.layers, new.data_dir.as_deref(), means.device, progress)?;
    carry_out(&task, (out, new.existing), blocks, means, progress)
}

/// Trains some units of a run that is there, with its settings.
///
/// # Errors
/// As for [`train_units`].
pub fn resume_units(
    run: &Path,
    moved: &Moved,
    blocks: &Blocks,
    means: Means<'_>,
    progress: &mut dyn Progress,
) -> Result<TrainedUnits> {
    let task = Task::of_run(&RunDirectory::open(run)?, moved, None, means.device)?;
    task.experiment.check_resumable(run)?;
    carry_out(&task, (run, Existing::Refuse), blocks, means, progress)
}

fn carry_out(
    task: &Task,
    (path, existing): (&Path, Existing),
    blocks: &Blocks,
    means: Means<'_>,
    progress: &mut dyn Progress,
) -> Result<TrainedUnits> {
    let setup = &task.experiment.setup;
    if setup.patience.is_some() {
        let reason = "is for blocks that are trained together: apart, they are seen on the held-out images when all are done";
        return Err(Error::setting("patience", reason));
    }
    refuse_inside_data(path, &setup.dataset)?;
    memory::check(&task.experiment, means.device, means.workers(), progress)?;
    let network = task.network(progress)?;
    let units = blocks.of(&Unit::of(&network, &*task.method, setup.order))?;
    if units.is_empty() {
        return Err(Error::setting("blocks", "names no unit"));
    }
    // An earlier version may have written the same settings in other words.
    let settings = path.join("config.toml");
    let text = match Experiment::read_any(&settings) {
        Ok(kept) if kept == task.experiment => read_text(&settings)?,
        _ => task.experiment.to_toml()?,
    };
    let run = RunDirectory::join(path, &text, &task.record)?;
    if run.state().exists() {
        return Err(Error::TrainedWhole { run: run.path().into() });
    }
    task.introduce(progress);
    task.warn_of_a_label_in_the_noise(&network, progress)?;
    let (seed, identity) = (Seed(setup.seed), task.experiment.to_json()?);
    let mut trainer = Trainer::new(&network, &*task.method, &task.train, setup.train(), seed)?
        .only(&units)
        .engine(noprop_train::Engine::Threads(means.workers()));
    let steps_per_epoch = trainer.steps_per_epoch();
    progress.begin(run.path(), Length { epochs: setup.epochs, steps_per_epoch, done: 0 });
    let fitting =
        UnitFitting { run: &run, config: &identity, existing, save_every: means.save_every };
    let outcome = fit_units(&mut trainer, &fitting, progress);
    progress.end();
    let stopped = match outcome? {
        Outcome::Stopped { epoch, step } => Some((epoch, step)),
        Outcome::Finished(_) | Outcome::Trained => None,
    };
    Ok(TrainedUnits { run: run.path().into(), units, stopped })
}

/// Puts the units of a run together and tests the network, as a training in one process ends.
///
/// # Errors
/// If a unit is missing or not done, or was trained with other settings.
pub fn merge(
    run: &Path,
    moved: &Moved,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Finished> {
    let run = RunDirectory::open_to_write(run)?;
    let task = Task::of_run(&run, moved, None, device)?;
    task.introduce(progress);
    let network = task.network(progress)?;
    let (setup, identity) = (&task.experiment.setup, task.experiment.to_json()?);
    let settings = setup.train();
    let visited = settings.steps_per_epoch(task.train.len()) as usize * settings.batch_size;
    let merging = Merging {
        network: &network,
        method: &*task.method,
        validation: &task.validation,
        sampler: setup.validation_sampler()?,
        config: &identity,
        epochs: setup.epochs,
        order: setup.order,
        ema: setup.ema,
        images_per_epoch: visited.min(task.train.len()),
    };
    let merged = merge_units(&run, &merging)?;
    if merged.machines.len() > 1 {
        let machines: Vec<String> = merged.machines.iter().map(ToString::to_string).collect();
        progress.remark(Remark::Warning(format!(
            "units were trained on several kinds of machine, so one process may not repeat the bytes: {}",
            machines.join("; ")
        )));
    }
    // The memory of this process is not that of the training.
    Finished::new(&task, &run, merged.report, PeakMemory::default())
}

/// The units of a run that is trained apart.
#[derive(Debug)]
pub struct Status {
    /// The run directory.
    pub run: PathBuf,
    /// Every unit and how far it is.
    pub units: Vec<(Unit, UnitStatus)>,
    /// The epochs of the training.
    pub epochs: u32,
    /// `true` if the units are merged.
    pub merged: bool,
}

/// Returns how far the units of a run are.
///
/// # Errors
/// [`Error::NoUnits`] if the run was trained as a whole; [`Error::Train`] if its blocks cannot be trained apart.
pub fn status(run: &Path) -> Result<Status> {
    let run = RunDirectory::open(run)?;
    let experiment = Experiment::read(&run.config())?;
    let setup = &experiment.setup;
    let network = experiment.network(setup.fresh(&Device::Cpu))?;
    let units = Unit::of(&network, &*setup.build_method()?, setup.order);
    if !run.units().is_dir() && run.state().is_dir() {
        return Err(Error::NoUnits { run: run.path().into() });
    }
    let of = |unit: Unit| -> Result<(Unit, UnitStatus)> {
        unit.stands_alone().map_err(noprop_train::TrainError::from)?;
        Ok((unit, unit_status(&run, unit, setup.epochs)?))
    };
    let units = units.into_iter().map(of).collect::<Result<_>>()?;
    let merged = run.model().is_file();
    Ok(Status { run: run.path().into(), units, epochs: setup.epochs, merged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_blocks_are_read_as_people_write_them() {
        let units: Vec<Unit> = (1..=10).map(Unit::Block).chain([Unit::Readout]).collect();
        let of = |list: &str| list.parse::<Blocks>().unwrap().of(&units);
        let blocks =
            |numbers: &[usize]| numbers.iter().copied().map(Unit::Block).collect::<Vec<_>>();
        assert_eq!(of("3-5,8").unwrap(), blocks(&[3, 4, 5, 8]));
        assert_eq!(of("8, 3-5,4").unwrap(), blocks(&[3, 4, 5, 8]));
        assert_eq!(of("readout").unwrap(), [Unit::Readout]);
        assert_eq!(of("1-10,readout").unwrap(), units);
        assert_eq!("3-5,8,readout".parse::<Blocks>().unwrap().to_string(), "3-5,8,readout");
        assert!(of("11").unwrap_err().to_string().contains("1 to 10"));
        for wrong in ["", "0", "5-3", "a", "1,,2", "-1", "1-", "99999999999999999999999"] {
            assert!(wrong.parse::<Blocks>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn blocks_that_need_each_other_are_not_parted() {
        let one = "1".parse::<Blocks>().unwrap();
        let refused = one.of(&[Unit::SharedEncoder { blocks: 3 }, Unit::Readout]).unwrap_err();
        assert!(refused.to_string().contains("per-block"), "{refused}");
        let posterior = [Unit::Block(1)];
        assert!("readout".parse::<Blocks>().unwrap().of(&posterior).is_err());
    }
}

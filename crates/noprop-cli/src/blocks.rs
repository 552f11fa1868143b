//! `noprop train --blocks`: some units of a training, for other processes to train the rest, and `noprop merge` to put them together.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use noprop_method::Seed;
use noprop_train::{Engine, Outcome, RunDirectory, Trainer, Unit, UnitFitting, fit_units};

use crate::args::Train;
use crate::config::{RunConfig, read};
use crate::memory;
use crate::output::{answer, note};
use crate::progress::Progress;
use crate::shell::quoted;
use crate::task::Task;
use crate::train::{self, existing, verbosity, workers};

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
                "`{pick}` is no block: give numbers from 1, ranges and readout, such as 3-5,8,readout"
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
    /// Those of a training's `units` that are meant.
    fn of(&self, units: &[Unit]) -> Result<Vec<Unit>> {
        for unit in units {
            unit.stands_alone()?;
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

pub fn run(args: &Train, blocks: &Blocks) -> Result<()> {
    let (task, path) = match (&args.resume, &args.out) {
        (Some(path), _) => {
            let run = RunDirectory::open(path)?;
            ensure!(
                args.epochs.is_none(),
                "--epochs cannot be changed for blocks that are trained apart"
            );
            let task = Task::of_run(&run, &args.now())?;
            task.config.check_resumable(path)?;
            (task, path)
        }
        (None, out) => {
            let out = out.as_ref().context(
                "--blocks needs --out DIR, the run that all processes of the training share",
            )?;
            (Task::asked(args)?, out)
        }
    };
    train::refuse_inside_data(path, &task.config.dataset)?;
    memory::check(&task, workers(args))?;
    let network = task.network()?;
    let chosen = blocks.of(&Unit::of(&network, &*task.objective, task.config.order.into()))?;
    ensure!(!chosen.is_empty(), "--blocks names no unit");
    // An earlier version may have written the same settings in other words.
    let settings = path.join("config.toml");
    let text = match RunConfig::read(&settings) {
        Ok(kept) if kept == task.config => read(&settings)?,
        _ => task.config.to_toml()?,
    };
    let run = RunDirectory::join(path, &text, &task.record)?;
    ensure!(
        !run.state().exists(),
        "{} was trained as a whole: its blocks cannot be trained apart in the same run, choose another --out",
        quoted(run.path())
    );
    task.introduce(verbosity(args));
    task.warn_of_a_label_in_the_noise(&network)?;
    let config = &task.config;
    let (seed, identity) = (Seed(config.seed), config.to_json()?);
    let mut trainer = Trainer::new(&network, &*task.objective, &task.train, config.train(), seed)?
        .engine(Engine::Threads(workers(args)))
        .only(&chosen);
    let mut shown = Progress::new(verbosity(args), config.epochs, trainer.steps_per_epoch(), 0)?;
    let fitting = UnitFitting {
        run: &run,
        config: &identity,
        existing: existing(args),
        save_every: args.save_every.0,
    };
    let outcome = fit_units(&mut trainer, &fitting, &mut shown)?;
    let done = outcome == Outcome::Trained;
    let shown = quoted(run.path());
    if args.json {
        let units: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        let run = run.path().to_string_lossy();
        answer!("{}", serde_json::json!({ "run": run, "units": units, "done": done }))?;
    } else if done {
        answer!("{blocks} done in {shown}; once all units are: noprop merge {shown}")?;
    }
    if let Outcome::Stopped { epoch, step } = outcome {
        note!(
            "stopped after {epoch} epoch(s) and {step} step(s); go on with: noprop train --resume {shown} --blocks {blocks}"
        );
    }
    Ok(())
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

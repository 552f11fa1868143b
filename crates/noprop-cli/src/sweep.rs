//! `noprop train --seeds`: the same training with several seeds, each in a process of its own, so that its peak of memory is its own; then
//! their comparison.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use candle_core::Device;
use noprop_experiment::reproduce::Halt;
use noprop_experiment::{NewRun, Reached, reached};
use noprop_train::{Event, MetricsLog};

use crate::args::{Compare, Compute, Train};
use crate::display::Verbosity;
use crate::log_file;
use crate::output::{Failed, answer, note, pass_on};
use crate::values::Seeds;
use crate::{compare, stop};

/// The flags that are not those of each training, or not as they were typed.
const OWN: [&str; 4] = ["--seeds", "--out", "--max-time", "--json"];

pub fn run(args: &Train, Seeds(seeds): &Seeds) -> Result<()> {
    let began = Instant::now();
    let processes = stop::processes()?;
    // clap requires --out.
    let folder = args.out.as_deref().unwrap_or(Path::new(""));
    let runs: Vec<PathBuf> = seeds.iter().map(|seed| folder.join(format!("seed-{seed}"))).collect();
    // A run with other settings is refused before the first training.
    let commands: Vec<_> = seeds
        .iter()
        .zip(&runs)
        .map(|(&seed, run)| command(args, seed, run))
        .collect::<Result<_>>()?;
    let verbosity = Verbosity::of(args.quiet);
    let say = |words: String| match verbosity {
        Verbosity::Normal => note!("{words}"),
        Verbosity::Quiet => log_file::line(&words),
    };
    for ((&seed, run), command) in seeds.iter().zip(&runs).zip(commands) {
        let Some(mut command) = command else {
            say(format!("seed {seed} is done"));
            continue;
        };
        let left = args.max_time.map(|most| most.0.saturating_sub(began.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            note!("the time is over; the same command goes on from here");
            return nothing(args);
        }
        if let Some(left) = left {
            command.extend(["--max-time".into(), format!("{}s", left.as_secs_f64()).into()]);
        }
        say(format!("seed {seed}"));
        // The training itself writes its lines into the log file.
        match processes.run(&command, pass_on) {
            Ok(answer) if verbosity == Verbosity::Normal => pass_on(answer.trim_end()),
            Ok(_) => {}
            Err(Halt::Stopped) => {
                note!("the same command goes on from here");
                return nothing(args);
            }
            Err(Halt::Refused(refusal)) => {
                let code = if refusal.code == 2 { 2 } else { 1 };
                return Err(Failed::Seed { seed, line: refusal.line, code }.into());
            }
            Err(Halt::Broken(error)) => return Err(error.into()),
        }
        // A training that its time stops ends without an error.
        let log = run.join("metrics.jsonl");
        if left.is_some() && Event::final_test(&MetricsLog::read(&log)?).is_none() {
            note!("the time is over; the same command goes on from here");
            return nothing(args);
        }
    }
    compare::run(&Compare { runs, figure: None, json: args.json })
}

/// The answer of seeds that were stopped before the last was done: with `--json` an empty list.
fn nothing(args: &Train) -> Result<()> {
    if args.json { answer!("[]") } else { Ok(()) }
}

/// The words after `noprop` that train with `seed` to the end; none if that is done.
fn command(args: &Train, seed: u64, run: &Path) -> Result<Option<Vec<OsString>>> {
    let mut layers = args.layers();
    layers.settings.seed = Some(seed);
    let (data_dir, out) = (args.data_dir.clone(), Some(run.to_owned()));
    let new = NewRun { layers, data_dir, out, existing: args.existing() };
    // What is there is looked at without the device that trains.
    Ok(match reached(&new, &Device::Cpu)? {
        Reached::Nothing => Some(fresh(std::env::args_os().skip(1), seed, run)),
        Reached::Part => Some(further(args, run)),
        Reached::End => None,
    })
}

/// The command as it was typed, for one seed.
fn fresh(typed: impl Iterator<Item = OsString>, seed: u64, run: &Path) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut typed = typed.peekable();
    while let Some(word) = typed.next() {
        let text = word.to_string_lossy();
        let (name, value) =
            text.split_once('=').map_or((&*text, None), |(name, it)| (name, Some(it)));
        if !OWN.contains(&name) {
            words.push(word);
        } else if value.is_none() && name != "--json" {
            typed.next();
        }
    }
    words.extend(["--seed".into(), seed.to_string().into(), "--out".into(), run.into()]);
    words
}

/// The command that goes on with a run.
fn further(args: &Train, run: &Path) -> Vec<OsString> {
    let Compute { device, threads } = args.compute;
    let mut words: Vec<OsString> = vec!["train".into(), "--resume".into(), run.into()];
    let mut flag = |name: &str, value: Option<OsString>| {
        words.extend(value.into_iter().flat_map(|value| [format!("--{name}").into(), value]));
    };
    flag("data-dir", args.data_dir.as_ref().map(Into::into));
    flag("save-every", Some(format!("{}s", args.save_every.0.as_secs_f64()).into()));
    flag("block-workers", args.block_workers.map(|number| number.to_string().into()));
    flag("device", Some(device.to_string().into()));
    flag("threads", threads.map(|number| number.to_string().into()));
    flag("log-file", args.log_file.as_ref().map(Into::into));
    words.extend(args.tensorboard.then(|| "--tensorboard".into()));
    words.extend(args.quiet.then(|| "--quiet".into()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flag that is left in would be given twice, or write all runs into one folder.
    #[test]
    fn a_seed_has_the_command_without_the_flags_of_the_whole() {
        let typed = "train --seeds 0..3 --lr 1e-3 --out=x y --json --max-time 3m --quiet --log-file l --steps=3";
        let words = fresh(typed.split(' ').map(Into::into), 2, Path::new("x/seed-2"));
        let expected = "train --lr 1e-3 y --quiet --log-file l --steps=3 --seed 2 --out x/seed-2";
        assert_eq!(words, expected.split(' ').map(OsString::from).collect::<Vec<_>>());
    }
}

//! One training of a row: how far it is, taking it to its end, and classifying with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use noprop_data::Half;
use noprop_models::Embedding;
use noprop_train::{Progress, RunDirectory, TrainError, write_atomically};
use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::kept::Kept;
use crate::output::note;
use crate::record::Record;
use crate::reproduce::child::{Children, Halt};
use crate::reproduce::plan::{Classification, Images, Item, Plan, Training, typed};
use crate::source::Source;
use crate::trained::Trained;

/// How often it is looked whether another process has left a run.
const WAIT: Duration = Duration::from_millis(500);

/// How far a training is.
enum Standing {
    /// Nothing is there.
    Absent,
    /// It began, and no epoch was saved.
    Begun,
    /// There is a state to go on from.
    Saved,
    Finished(Box<Record>),
}

/// What `noprop eval` answered.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Answer {
    /// 0..=1.
    pub accuracy: f64,
    /// What it took, reading the images included.
    #[serde(default)]
    pub seconds: f64,
}

/// Refuses a run that is there and is not the one that `training` would make, or that cannot be used.
pub fn check(training: &Training) -> Result<()> {
    if let Standing::Finished(_) = standing(training)? {
        let trained = Trained::open(&training.run, &candle_core::Device::Cpu)
            .with_context(|| elsewhere(&training.run, "has weights that cannot be used"))?;
        check_pictures(&trained)?;
    }
    Ok(())
}

/// Refuses a finished run whose pictures are not in its folder any more: rows of one table must be of one data set.
fn check_pictures(trained: &Trained) -> Result<()> {
    let Source::Folder(folder) = &trained.config.dataset else { return Ok(()) };
    let Some(listing) = Kept::read(&trained.run)?.listing else { return Ok(()) };
    let changed = Half::ALL
        .into_iter()
        .filter(|half| listing.half(*half).next().is_some())
        .any(|half| !listing.is_in(folder, half));
    ensure!(
        !changed,
        "{} (its pictures are not those in {} now)",
        elsewhere(trained.run.path(), "was trained on other data"),
        folder.display()
    );
    Ok(())
}

/// The record of a training, if it came to its end.
pub fn finished(training: &Training) -> Result<Option<Record>> {
    match standing(training)? {
        Standing::Finished(record) => Ok(Some(*record)),
        Standing::Absent | Standing::Begun | Standing::Saved => Ok(None),
    }
}

/// Takes a training to its end, from wherever it is.
pub fn train(
    plan: &Plan<'_>,
    children: &Children,
    item: &Item,
    training: &Training,
) -> Result<Record, Halt> {
    wait_for_another(children, &training.run)?;
    let command = match standing(training)? {
        Standing::Finished(record) => return Ok(*record),
        Standing::Absent => training.command.clone(),
        Standing::Begun => {
            let mut command = training.command.clone();
            command.push("--force".into());
            command
        }
        Standing::Saved => plan.resumption(item, &training.run),
    };
    note!("{}", typed(&command));
    children.run(&command)?;
    let record = finished(training)?;
    let early = || {
        let run = training.run.display();
        format!("{run} was stopped before its end: the same command goes on with it")
    };
    Ok(record.with_context(early)?)
}

/// The answer of a run to a classification. It is asked for once: the answer is kept beside the runs.
pub fn evaluate(
    plan: &Plan<'_>,
    children: &Children,
    item: &Item,
    training: &Training,
    asked: Classification,
) -> Result<Answer, Halt> {
    if let Some(answer) = kept_answer(plan, item, training, asked) {
        return Ok(answer);
    }
    let mut command = plan.evaluation(item, &training.run, asked);
    command.push("--json".into());
    let started = Instant::now();
    let text = children.run(&command)?;
    let mut answer: Answer =
        serde_json::from_str(&text).context("noprop eval --json gave no answer")?;
    answer.seconds = started.elapsed().as_secs_f64();
    let path = answer_path(plan, item, training, asked);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let text = serde_json::to_string(&answer).context("cannot write an answer as JSON")?;
    write_atomically(&path, |file| writeln!(file, "{text}"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(answer)
}

/// An answer from before, if the weights are still those that gave it.
pub fn kept_answer(
    plan: &Plan<'_>,
    item: &Item,
    training: &Training,
    asked: Classification,
) -> Option<Answer> {
    let path = answer_path(plan, item, training, asked);
    let changed = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    if changed(&path)? < changed(&training.run.join("model.safetensors"))? {
        return None;
    }
    let answer: Answer = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    (0.0..=1.0).contains(&answer.accuracy).then_some(answer)
}

fn answer_path(
    plan: &Plan<'_>,
    item: &Item,
    training: &Training,
    asked: Classification,
) -> PathBuf {
    let run = training.run.file_name().unwrap_or_default();
    let images = match asked.images {
        Images::Training => "train-",
        Images::Test => "",
    };
    let steps = item.eval_steps.map_or_else(String::new, |steps| format!("-{steps}-steps"));
    let file = format!("{images}{}-{}{steps}.json", asked.sampler, asked.seed);
    plan.args.out.join("answers").join(run).join(file)
}

/// A training that outlived a reproduction that was killed holds its run for a while.
fn wait_for_another(children: &Children, run: &Path) -> Result<(), Halt> {
    let mut told = false;
    loop {
        if children.stop_is_asked() {
            return Err(Halt::Stopped);
        }
        match RunDirectory::open_to_write(run) {
            Err(TrainError::RunLocked { .. }) if !told => {
                note!("{} is being written by another process: waiting for it", run.display());
                told = true;
            }
            Err(TrainError::RunLocked { .. }) => {}
            // Whatever else is wrong with it is said by who uses it.
            _ => return Ok(()),
        }
        std::thread::sleep(WAIT);
    }
}

fn standing(training: &Training) -> Result<Standing> {
    let path = &training.run;
    if RunDirectory::is_free(path) {
        return Ok(Standing::Absent);
    }
    let run = RunDirectory::open(path)
        .map_err(|error| anyhow!("{error}: move it away, or choose another --out"))?;
    let found = RunConfig::of_run(&run.config())
        .with_context(|| elsewhere(path, "cannot be understood"))?;
    compare(path, &found, &training.expected)?;
    let damaged = || elsewhere(path, "is damaged");
    if let Some(record) = Record::read(path).with_context(damaged)? {
        return Ok(Standing::Finished(Box::new(record)));
    }
    if !run.state().join("progress.json").exists() {
        return Ok(Standing::Begun);
    }
    Progress::read(&run, &found.to_json()?).with_context(damaged)?;
    Ok(Standing::Saved)
}

/// Refuses a run with other settings, and names them.
fn compare(path: &Path, found: &RunConfig, expected: &RunConfig) -> Result<()> {
    // `train` finds out what is in the images, and holds out fewer of a small folder.
    let known = |config: &RunConfig| -> Result<serde_json::Value> {
        let mut config = RunConfig { images: None, ..config.clone() };
        if matches!(config.dataset, Source::Folder(_)) {
            config.validation = 0;
        }
        if let Embedding::Learned { .. } = config.embedding {
            // Random where there are more classes than numbers, and no row says otherwise.
            config.embedding_start = None;
        }
        Ok(serde_json::to_value(config)?)
    };
    let (found, expected) = (known(found)?, known(expected)?);
    let (Some(found), Some(expected)) = (found.as_object(), expected.as_object()) else {
        return Ok(());
    };
    let keys: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let other = keys.into_iter().filter(|key| found.get(*key) != expected.get(*key));
    let other: Vec<&str> = other.map(String::as_str).collect();
    match other.as_slice() {
        [] => Ok(()),
        keys => Err(anyhow!(elsewhere(path, &format!("has other settings: {}", keys.join(", "))))),
    }
}

fn elsewhere(path: &Path, what: &str) -> String {
    format!("the run {} {what}; move it away, or choose another --out", path.display())
}

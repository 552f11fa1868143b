//! One training of a row: its standing, the way to its end, and classifications with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use noprop_data::Half;
use noprop_models::Embedding;
use noprop_train::{Existing, Progress, RunDirectory, TrainError, write_atomically};
use serde::{Deserialize, Serialize};

use super::plan::{Item, Plan};
use super::worker::{Classification, Command, Halt, Images, Training, Worker};
use crate::error::{Context, Error, Result};
use crate::experiment::Experiment;
use crate::kept::Kept;
use crate::progress::Remark;
use crate::record::Record;
use crate::settings::Setup;
use crate::source::Source;
use crate::trained::Trained;

/// The time between two looks at a run that another process writes.
const WAIT: Duration = Duration::from_millis(500);

/// The standing of a training.
enum Standing {
    /// Nothing is there.
    Absent,
    /// It began, and no epoch was saved.
    Begun,
    /// There is a state to go on from.
    Saved,
    Finished(Box<Record>),
}

/// The answer to a classification.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Answer {
    /// 0..=1.
    pub accuracy: f64,
    /// The time that it took, reading the images included.
    #[serde(default)]
    pub seconds: f64,
}

/// Refuses an existing run that differs from the one that `training` would make, or that cannot be used.
pub fn check(training: &Training) -> Result<()> {
    if let Standing::Finished(_) = standing(training)? {
        let trained = Trained::open(&training.run, &candle_core::Device::Cpu)
            .map_err(in_the_way(&training.run, "has weights that cannot be used"))?;
        check_pictures(&trained)?;
    }
    Ok(())
}

/// Refuses a finished run whose pictures are not in its folder any more: rows of one table must be of one data set.
fn check_pictures(trained: &Trained) -> Result<()> {
    let Source::Folder(folder) = &trained.experiment.setup.dataset else { return Ok(()) };
    let Some(listing) = Kept::read(&trained.run)?.listing else { return Ok(()) };
    let changed = Half::ALL
        .into_iter()
        .filter(|half| listing.half(*half).next().is_some())
        .any(|half| !listing.is_in(folder, half));
    if !changed {
        return Ok(());
    }
    let fault = format!(
        "was trained on other data (its pictures are not those in {} now)",
        folder.display()
    );
    Err(Error::InTheWay { run: trained.run.path().into(), fault, source: None })
}

/// The record of a training, if it came to its end.
pub fn finished(training: &Training) -> Result<Option<Record>> {
    match standing(training)? {
        Standing::Finished(record) => Ok(Some(*record)),
        Standing::Absent | Standing::Begun | Standing::Saved => Ok(None),
    }
}

/// Takes a training to its end, from its present state.
pub fn train(worker: &dyn Worker, training: &Training) -> Result<Record, Halt> {
    wait_for_another(worker, &training.run)?;
    let new = |existing| Command::Train { training, existing };
    let command = match standing(training)? {
        Standing::Finished(record) => return Ok(*record),
        Standing::Absent => new(Existing::Refuse),
        Standing::Begun => new(Existing::Replace),
        Standing::Saved => Command::Resume { run: &training.run, data: &training.data },
    };
    worker.remark(Remark::Command(worker.typed(command)));
    worker.run(command)?;
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
    worker: &dyn Worker,
    item: &Item,
    training: &Training,
    asked: Classification,
) -> Result<Answer, Halt> {
    if let Some(answer) = kept_answer(plan, item, training, asked) {
        return Ok(answer);
    }
    let started = Instant::now();
    let text = worker.run(item.classification(&training.run, asked))?;
    let mut answer: Answer =
        serde_json::from_str(&text).context("a classification gave no answer")?;
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
    plan.request.out.join("answers").join(run).join(file)
}

/// A training that outlived a reproduction that was killed holds its run for a while.
fn wait_for_another(worker: &dyn Worker, run: &Path) -> Result<(), Halt> {
    let mut told = false;
    loop {
        if worker.stop_is_asked() {
            return Err(Halt::Stopped);
        }
        match RunDirectory::open_to_write(run) {
            Err(TrainError::RunLocked { .. }) if !told => {
                worker.remark(Remark::Note(format!(
                    "{} is being written by another process: waiting for it",
                    run.display()
                )));
                told = true;
            }
            Err(TrainError::RunLocked { .. }) => {}
            // Any other error comes from the call that uses the run.
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
    let run = RunDirectory::open(path).map_err(in_the_way(path, "cannot be used"))?;
    let found =
        Experiment::read(&run.config()).map_err(in_the_way(path, "cannot be understood"))?;
    compare(path, &found.setup, &training.expected)?;
    if let Some(record) = Record::read(path).map_err(in_the_way(path, "is damaged"))? {
        return Ok(Standing::Finished(Box::new(record)));
    }
    if !run.state().join("progress.json").exists() {
        return Ok(Standing::Begun);
    }
    Progress::read(&run, &found.to_json()?).map_err(in_the_way(path, "is damaged"))?;
    Ok(Standing::Saved)
}

/// Refuses a run with other settings, and names them.
fn compare(path: &Path, found: &Setup, expected: &Setup) -> Result<()> {
    let known = |setup: &Setup| -> Result<serde_json::Value> {
        let mut setup = setup.clone();
        if matches!(setup.dataset, Source::Folder(_)) {
            // Of a small folder fewer images are held out.
            setup.validation = 0;
        }
        if let Embedding::Learned { .. } = setup.embedding {
            // Random where there are more classes than numbers, and no row has another start.
            setup.embedding_start = None;
        }
        Ok(serde_json::to_value(setup)?)
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
        keys => {
            let fault = format!("has other settings: {}", keys.join(", "));
            Err(Error::InTheWay { run: path.into(), fault, source: None })
        }
    }
}

/// The error of a run that is in the place of one that would be made.
fn in_the_way<E: Into<Error>>(run: &Path, fault: &str) -> impl FnOnce(E) -> Error {
    let (run, fault) = (run.to_owned(), fault.to_owned());
    move |source| Error::InTheWay { run, fault, source: Some(Box::new(source.into())) }
}

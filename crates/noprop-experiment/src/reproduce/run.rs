//! One training of a row: its standing, the way to its end, and classifications with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use noprop_data::Half;
use noprop_files::{open_file, read_text, sha256_of};
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
use crate::train::lost_epochs;
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

/// The most bytes of a kept answer.
const MAX_KEPT: u64 = 1 << 16;

/// The answer to a classification.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// 0..=1.
    pub accuracy: f64,
    /// The time that it took, reading the images included.
    #[serde(default)]
    pub seconds: f64,
    /// The SHA-256 of the weights that gave it. The first versions did not record it.
    #[serde(default)]
    model_sha256: Option<String>,
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
    Err(refusal(trained.run.path(), fault))
}

/// Refuses runs on one data set that learned from different images, because its files have changed in between: they would stand in one
/// table, and in one mean.
pub fn check_data(trainings: &[Training]) -> Result<()> {
    let mut firsts: Vec<(&Training, Experiment)> = Vec::new();
    for training in trainings {
        let Some(found) = learned(training)? else { continue };
        match firsts.iter().find(|(first, _)| first.data == training.data) {
            None => firsts.push((training, found)),
            Some((_, of_first)) if found.images.same_data(&of_first.images) => {}
            Some((first, _)) => {
                let fault = format!("was trained on other data than {}", first.run.display());
                return Err(refusal(&training.run, fault));
            }
        }
    }
    Ok(())
}

/// The settings and data of a run that has learned something which is kept.
fn learned(training: &Training) -> Result<Option<Experiment>> {
    match standing(training)? {
        Standing::Absent | Standing::Begun => Ok(None),
        Standing::Saved | Standing::Finished(_) => {
            Ok(Some(Experiment::read(&RunDirectory::open(&training.run)?.config())?))
        }
    }
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
    let weights = weights(training);
    if let Some(answer) = kept_answer(plan, item, training, asked, weights.as_deref()) {
        return Ok(answer);
    }
    let started = Instant::now();
    let text = worker.run(item.classification(&training.run, asked))?;
    let mut answer: Answer =
        serde_json::from_str(&text).context("a classification gave no answer")?;
    answer.seconds = started.elapsed().as_secs_f64();
    // Those before the classification: if they changed in the meantime, it is asked for again.
    answer.model_sha256 = weights;
    let path = answer_path(plan, item, training, asked);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let text = serde_json::to_string(&answer).context("cannot write an answer as JSON")?;
    write_atomically(&path, |file| writeln!(file, "{text}"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(answer)
}

/// An answer from before, if `weights`, the SHA-256 of the present ones, gave it. The times of the files say nothing: a copy may keep them,
/// and clocks go back.
pub fn kept_answer(
    plan: &Plan<'_>,
    item: &Item,
    training: &Training,
    asked: Classification,
    weights: Option<&str>,
) -> Option<Answer> {
    let path = answer_path(plan, item, training, asked);
    let answer: Answer = serde_json::from_str(&read_text(&path, MAX_KEPT).ok()?).ok()?;
    let same = answer.model_sha256.as_deref() == Some(weights?);
    (same && (0.0..=1.0).contains(&answer.accuracy)).then_some(answer)
}

/// The SHA-256 of the weights of a training; `None` if they cannot be read.
pub fn weights(training: &Training) -> Option<String> {
    sha256_of(open_file(&training.run.join("model.safetensors")).ok()?).ok()
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
    if run.state().join("progress.json").exists() {
        Progress::read(&run, &found.to_json()?).map_err(in_the_way(path, "is damaged"))?;
        return Ok(Standing::Saved);
    }
    match reason_to_keep(&run)? {
        Some(fault) => Err(refusal(path, fault)),
        None => Ok(Standing::Begun),
    }
}

/// The reason why a run without a saved state is not replaced, if there is one: `resume` refuses the same runs, and a training in the place
/// of one would remove what was trained.
fn reason_to_keep(run: &RunDirectory) -> Result<Option<&'static str>> {
    if run.units().is_dir() {
        return Ok(Some("was trained in units, which are not merged"));
    }
    Ok(lost_epochs(run)?.map(|_| "was trained, and its saved state is gone"))
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
        keys => Err(refusal(path, format!("has other settings: {}", keys.join(", ")))),
    }
}

/// The error of a run that is in the place of one that would be made.
fn refusal(run: &Path, fault: impl Into<String>) -> Error {
    Error::InTheWay { run: run.into(), fault: fault.into(), source: None }
}

/// As [`refusal`], with the error that makes the run unusable.
fn in_the_way<E: Into<Error>>(run: &Path, fault: &str) -> impl FnOnce(E) -> Error {
    let (run, fault) = (run.to_owned(), fault.to_owned());
    move |source| Error::InTheWay { run, fault, source: Some(Box::new(source.into())) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{self, File};
    use std::time::SystemTime;

    use noprop_data::DatasetName;
    use noprop_method::SamplerKind;

    use super::super::plan::Request;
    use super::super::target::Target;
    use super::*;

    /// Answers classifications, and counts them.
    #[derive(Default)]
    struct Counter(Cell<u32>);

    impl Worker for Counter {
        fn run(&self, command: Command<'_>) -> Result<String, Halt> {
            assert!(matches!(command, Command::Classify { .. }), "{command:?}");
            self.0.set(self.0.get() + 1);
            Ok(r#"{"accuracy":0.5}"#.into())
        }

        fn typed(&self, _: Command<'_>) -> String {
            String::new()
        }

        fn fetching(&self, _: DatasetName) -> String {
            String::new()
        }

        fn stop_is_asked(&self) -> bool {
            false
        }

        fn remark(&self, _: Remark) {}
    }

    /// An accuracy of other weights must not stand for the present ones, whatever the times of the files are. An answer that does not tell
    /// its weights, as the first versions wrote it, is asked for again.
    #[test]
    fn an_answer_is_of_the_weights_that_gave_it() {
        let dir = tempfile::tempdir().unwrap();
        let request = Request {
            what: Target::Table1,
            dataset: vec![Source::Known(DatasetName::MnistSample)],
            rows: vec!["dt-onehot".into()],
            seeds: None,
            runs: 1,
            epochs: None,
            eval_steps: None,
            budget: None,
            out: dir.path().into(),
            data_dir: PathBuf::new(),
            command: String::new(),
        };
        let worker = Counter::default();
        let plan = Plan::new(&request, &worker).unwrap();
        let item = &plan.items[0];
        let training = plan.training(item, 1, 0).unwrap();
        let asked =
            Classification { images: Images::Test, sampler: SamplerKind::Stochastic, seed: 0 };
        let classifications = || {
            let answer = evaluate(&plan, &worker, item, &training, asked).unwrap();
            assert_eq!(answer.accuracy, 0.5);
            worker.0.get()
        };
        fs::create_dir_all(&training.run).unwrap();
        let model = training.run.join("model.safetensors");
        let put = |weights: &str, time: SystemTime| {
            fs::write(&model, weights).unwrap();
            File::options().write(true).open(&model).unwrap().set_modified(time).unwrap();
        };
        put("some weights", SystemTime::now());
        assert_eq!([classifications(), classifications()], [1, 1]);
        put("other weights", SystemTime::now() - Duration::from_secs(1_000_000));
        assert_eq!([classifications(), classifications()], [2, 2]);
        put("other weights", SystemTime::now() + Duration::from_secs(1_000_000));
        assert_eq!(classifications(), 2);

        let path = answer_path(&plan, item, &training, asked);
        fs::write(path, r#"{"accuracy":0.25,"seconds":1.0}"#).unwrap();
        assert_eq!([classifications(), classifications()], [3, 3]);
    }
}

//! A line of a report: a row on a data set, from the runs and answers that exist.

use noprop_method::SamplerKind;
use noprop_train::Hardware;
use serde::Serialize;

use super::budget::Trial;
use super::numbers::{Numbers, Reported};
use super::plan::{Item, Plan};
use super::run;
use super::worker::{Classification, Halt, Images, Training, Worker};
use crate::error::Result;
use crate::paper::PaperData;
use crate::record::Record;
use crate::spread::Spread;

/// The measured numbers, and the paper's.
#[derive(Serialize)]
pub struct Line<'a> {
    pub data: String,
    pub row: String,
    pub paper: Reported,
    /// Accuracy on the images trained on, 0..=1, over seeds, with the paper's sampler.
    pub training: Option<Spread>,
    /// Test accuracy, 0..=1, over seeds: of each the mean over runs of the paper's sampler.
    pub stochastic: Option<Spread>,
    /// The value of each seed in `stochastic`.
    pub by_seed: Vec<f64>,
    /// As `stochastic`, with our sampler that leaves the noise between steps out, where that is another.
    pub mean: Option<Spread>,
    /// Bytes resident at the peak of training, over seeds.
    pub peak_memory_bytes: Option<Spread>,
    /// Training time, over seeds.
    pub seconds: Option<Spread>,
    /// Seeds that are done.
    pub seeds: usize,
    /// Unknown as long as the row waits for its share of a budget.
    pub epochs: Option<u32>,
    /// Epochs of the preset.
    pub usual_epochs: u32,
    /// The error for which the row was given up.
    pub refusal: Option<String>,
    #[serde(skip)]
    pub item: &'a Item,
    /// Every training of the line, done or not, and its record.
    #[serde(skip)]
    pub trainings: Vec<(Training, Option<Record>)>,
}

/// A training of a line that is done.
struct Done<'a> {
    training: &'a Training,
    record: &'a Record,
    /// The SHA-256 of its weights.
    weights: Option<String>,
}

impl<'a> Line<'a> {
    /// Reads the line from the files that exist.
    pub fn read(
        plan: &Plan<'_>,
        numbers: &Numbers,
        item: &'a Item,
        epochs: Option<u32>,
        refusal: Option<String>,
    ) -> Result<Self> {
        let mut trainings = Vec::new();
        for seed in 0..epochs.map_or(0, |_| plan.seeds()) {
            let training = plan.training(item, epochs.unwrap_or(item.usual_epochs()), seed)?;
            let record = run::finished(&training)?;
            trainings.push((training, record));
        }
        let done: Vec<Done<'_>> = trainings
            .iter()
            .filter_map(|(training, record)| {
                let record = record.as_ref()?;
                Some(Done { training, record, weights: weights(plan, item, training) })
            })
            .collect();
        let accuracies = |images, sampler| -> Vec<f64> {
            let of_seed = |done: &Done<'_>| {
                let weights = done.weights.as_deref();
                seed_accuracy(plan, item, done.training, (images, sampler), weights)
            };
            let wanted = asked(plan, item).contains(&(images, sampler));
            done.iter().filter(|_| wanted).filter_map(of_seed).collect()
        };
        let of = |value: &dyn Fn(&Record) -> Option<f64>| {
            let values: Vec<f64> = done.iter().filter_map(|done| value(done.record)).collect();
            Spread::of(&values)
        };
        let answered =
            |done: &&Done<'_>| is_answered(plan, item, done.training, done.weights.as_deref());
        let by_seed = accuracies(Images::Test, SamplerKind::Stochastic);
        let row = item.recipe.name();
        let paper = PaperData::of(&item.data)
            .map_or_else(Reported::default, |data| numbers.reported(plan.request.what, data, &row));
        Ok(Self {
            paper,
            training: Spread::of(&accuracies(Images::Training, SamplerKind::Stochastic)),
            stochastic: Spread::of(&by_seed),
            mean: Spread::of(&accuracies(Images::Test, SamplerKind::Mean)),
            peak_memory_bytes: of(&|record| record.peak.map(|bytes| bytes as f64)),
            seconds: of(&|record| Some(record.seconds)),
            seeds: done.iter().filter(answered).count(),
            by_seed,
            epochs,
            usual_epochs: item.usual_epochs(),
            refusal,
            data: item.data.to_string(),
            row,
            item,
            trainings,
        })
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.trainings.iter().filter_map(|(_, record)| record.as_ref())
    }

    pub fn hardware(&self) -> impl Iterator<Item = &Hardware> {
        self.records().flat_map(|record| record.history.machines.iter().map(|one| &one.hardware))
    }

    /// Returns whether it was trained for fewer epochs than the preset has.
    pub fn is_short(&self) -> bool {
        self.epochs.is_some_and(|epochs| epochs < self.usual_epochs)
    }
}

/// The questions to a trained network of a row: the images, and the sampler.
fn asked(plan: &Plan<'_>, item: &Item) -> Vec<(Images, SamplerKind)> {
    let mut asked = Vec::new();
    if plan.request.what.needs_accuracy() {
        asked.extend(item.setup.method.samplers.iter().map(|&sampler| (Images::Test, sampler)));
    }
    if plan.request.what.needs_training_accuracy() {
        asked.push((Images::Training, SamplerKind::Stochastic));
    }
    asked
}

/// The classifications that an accuracy is the mean of: test images are classified several times.
fn classifications(
    plan: &Plan<'_>,
    (images, sampler): (Images, SamplerKind),
) -> impl Iterator<Item = Classification> {
    let runs = match images {
        Images::Training => 1,
        Images::Test => plan.request.runs,
    };
    (0..runs).map(move |seed| Classification { images, sampler, seed })
}

/// The SHA-256 of the weights of a training, if classifications with them are wanted. It is taken once for all of them, because it reads
/// the whole file.
fn weights(plan: &Plan<'_>, item: &Item, training: &Training) -> Option<String> {
    if asked(plan, item).is_empty() { None } else { run::weights(training) }
}

/// The mean over all classifications, if all are there and `weights` gave them.
fn seed_accuracy(
    plan: &Plan<'_>,
    item: &Item,
    training: &Training,
    asked: (Images, SamplerKind),
    weights: Option<&str>,
) -> Option<f64> {
    let answer = |asked| Some(run::kept_answer(plan, item, training, asked, weights)?.accuracy);
    let accuracies = classifications(plan, asked).map(answer).collect::<Option<Vec<f64>>>()?;
    Some(Spread::of(&accuracies)?.mean)
}

/// Returns whether nothing is left to do for a seed of a row.
pub fn is_complete(plan: &Plan<'_>, item: &Item, epochs: u32, seed: u32) -> Result<bool> {
    let training = plan.training(item, epochs, seed)?;
    let answered = || is_answered(plan, item, &training, weights(plan, item, &training).as_deref());
    Ok(run::finished(&training)?.is_some() && answered())
}

/// Returns whether all classifications with a trained network, by its present `weights`, are done.
fn is_answered(plan: &Plan<'_>, item: &Item, training: &Training, weights: Option<&str>) -> bool {
    let is_there = |asked| seed_accuracy(plan, item, training, asked, weights).is_some();
    asked(plan, item).into_iter().all(is_there)
}

/// Trains and classifies what a seed of a row lacks.
pub fn complete(
    plan: &Plan<'_>,
    worker: &dyn Worker,
    item: &Item,
    epochs: u32,
    seed: u32,
) -> Result<(), Halt> {
    let training = plan.training(item, epochs, seed)?;
    run::train(worker, &training)?;
    for asked in asked(plan, item) {
        for asked in classifications(plan, asked) {
            run::evaluate(plan, worker, item, &training, asked)?;
        }
    }
    Ok(())
}

/// Measures the time of an epoch of a row, and of a classification of each kind.
pub fn trial(plan: &Plan<'_>, worker: &dyn Worker, item: &Item) -> Result<Trial, Halt> {
    let training = plan.training(item, 1, 0)?;
    let record = run::train(worker, &training)?;
    let (epoch, end) = (record.seconds, record.end);
    let mut trial = Trial { epoch, evaluations: 0.0, of_training: 0.0, end };
    for (images, sampler) in asked(plan, item) {
        let asked = Classification { images, sampler, seed: 0 };
        let answer = run::evaluate(plan, worker, item, &training, asked)?;
        match images {
            Images::Training => trial.of_training += answer.seconds,
            Images::Test => trial.evaluations += answer.seconds,
        }
    }
    Ok(trial)
}

//! A line of a report: a row on a data set, as far as its runs and answers are there.

use anyhow::Result;
use noprop_method::SamplerKind;
use noprop_train::Hardware;
use serde::Serialize;

use super::child::{Children, Halt};
use super::numbers::Numbers;
use super::plan::{Item, Plan, Training};
use super::run;
use crate::record::Record;
use crate::source::Source;
use crate::spread::Spread;

/// What was measured, and what the paper reports.
#[derive(Serialize)]
pub struct Line<'a> {
    pub data: String,
    pub row: &'static str,
    /// What the paper reports: a share of test images.
    pub paper_accuracy: Option<f64>,
    /// What the paper reports: memory of a GPU.
    pub paper_gigabytes: Option<f64>,
    /// Test accuracy, 0..=1, over seeds: of each the mean over runs of the paper's sampler.
    pub stochastic: Option<Spread>,
    /// The same with the sampler that leaves the noise between steps out, where that is another.
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
    /// Why the row was given up.
    pub refusal: Option<String>,
    #[serde(skip)]
    pub item: &'a Item,
    /// Every training of the line, done or not, and its record.
    #[serde(skip)]
    pub trainings: Vec<(Training, Option<Record>)>,
}

impl<'a> Line<'a> {
    /// From the files that are there.
    pub fn read(
        plan: &Plan<'_>,
        numbers: &Numbers,
        item: &'a Item,
        epochs: Option<u32>,
        refusal: Option<String>,
    ) -> Result<Self> {
        let mut trainings = Vec::new();
        for seed in 0..epochs.map_or(0, |_| plan.args.seeds) {
            let training = plan.training(item, epochs.unwrap_or(item.usual_epochs), seed)?;
            let record = run::finished(&training)?;
            trainings.push((training, record));
        }
        let done: Vec<(&Training, &Record)> = trainings
            .iter()
            .filter_map(|(training, record)| Some((training, record.as_ref()?)))
            .collect();
        let accuracy = |sampler: SamplerKind| {
            let accuracies = done
                .iter()
                .filter_map(|(training, _)| seed_accuracy(plan, training, sampler))
                .collect::<Vec<f64>>();
            let wanted = plan.args.what.needs_accuracy() && item.samplers.contains(&sampler);
            Spread::of(&accuracies).filter(|_| wanted)
        };
        let of = |value: &dyn Fn(&Record) -> Option<f64>| {
            let values: Vec<f64> = done.iter().filter_map(|(_, record)| value(record)).collect();
            Spread::of(&values)
        };
        let (stochastic, mean) = (accuracy(SamplerKind::Stochastic), accuracy(SamplerKind::Mean));
        let data = item.data.to_string();
        let row = item.recipe.name;
        // The paper's numbers are of whole data sets, not of somebody's folder of the same name.
        let known = matches!(item.data, Source::Known(_));
        let accuracy = numbers.accuracy(&data, row).filter(|_| known);
        let memory = numbers.memory(&data, row).filter(|_| known);
        Ok(Self {
            paper_accuracy: accuracy.map(|number| number.percent / 100.0),
            paper_gigabytes: memory.map(|number| number.gigabytes),
            stochastic,
            mean,
            peak_memory_bytes: of(&|record| record.peak.map(|bytes| bytes as f64)),
            seconds: of(&|record| Some(record.seconds)),
            seeds: match plan.args.what.needs_accuracy() {
                true => stochastic.map_or(0, |spread| spread.n),
                false => done.len(),
            },
            epochs,
            usual_epochs: item.usual_epochs,
            refusal,
            data,
            row,
            item,
            trainings,
        })
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.trainings.iter().filter_map(|(_, record)| record.as_ref())
    }

    pub fn hardware(&self) -> impl Iterator<Item = &Hardware> {
        self.records().filter_map(|record| record.hardware.as_ref())
    }

    /// Whether it was trained for less than the preset says.
    pub fn is_short(&self) -> bool {
        self.epochs.is_some_and(|epochs| epochs < self.usual_epochs)
    }
}

/// The mean over all runs of a sampler, if all are there.
fn seed_accuracy(plan: &Plan<'_>, training: &Training, sampler: SamplerKind) -> Option<f64> {
    let runs = plan.args.runs;
    let answer = |seed| Some(run::kept_answer(plan, training, sampler, seed)?.accuracy);
    let accuracies = (0..runs).map(answer).collect::<Option<Vec<f64>>>()?;
    Some(Spread::of(&accuracies)?.mean)
}

/// Whether nothing is left to do for a seed of a row.
pub fn is_complete(plan: &Plan<'_>, item: &Item, epochs: u32, seed: u32) -> Result<bool> {
    let training = plan.training(item, epochs, seed)?;
    let answered = |&sampler| seed_accuracy(plan, &training, sampler).is_some();
    Ok(run::finished(&training)?.is_some()
        && (!plan.args.what.needs_accuracy() || item.samplers.iter().all(answered)))
}

/// Trains and classifies whatever a seed of a row lacks.
pub fn complete(
    plan: &Plan<'_>,
    children: &Children,
    item: &Item,
    epochs: u32,
    seed: u32,
) -> Result<(), Halt> {
    let training = plan.training(item, epochs, seed)?;
    run::train(plan, children, item, &training)?;
    if plan.args.what.needs_accuracy() {
        for &sampler in item.samplers {
            for noise in 0..plan.args.runs {
                run::evaluate(plan, children, item, &training, (sampler, noise))?;
            }
        }
    }
    Ok(())
}

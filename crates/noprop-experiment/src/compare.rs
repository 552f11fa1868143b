//! Several runs in one table, runs that differ in their seed alone in one line.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use candle_core::Device;
use noprop_method::{BlockLossKind, Denoiser, Time};
use noprop_models::Backbone;
use noprop_plot::{Series, SeriesAxes, SeriesFigure, save};
use noprop_train::RunDirectory;
use serde::Serialize;

use crate::error::{Context, Result};
use crate::experiment::Experiment;
use crate::history::History;
use crate::progress::{Progress, Remark};
use crate::record::Record;
use crate::shell::{shown, shown_path};
use crate::spread::Spread;
use crate::trained::Trained;

/// Runs side by side.
pub struct Comparison {
    /// The lines of the table, in the order in which their first runs were named.
    pub lines: Vec<Line>,
    /// The runs that have not come to their end, and are not in the table.
    pub unfinished: Vec<Unfinished>,
    curves: Vec<Series>,
}

/// A run that has not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The run directory.
    pub run: PathBuf,
    /// Its standing.
    pub standing: Standing,
}

/// The standing of an unfinished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was saved.
    Begun,
    /// There is a state to go on from.
    Saved,
    /// Its units are trained apart.
    InUnits,
}

impl Unfinished {
    fn of(run: &Path) -> Result<Self> {
        let directory = RunDirectory::open(run)?;
        let standing = if directory.state().join("progress.json").exists() {
            Standing::Saved
        } else if directory.units().is_dir() {
            Standing::InUnits
        } else {
            Standing::Begun
        };
        Ok(Self { run: run.into(), standing })
    }
}

/// Compares runs.
///
/// # Errors
/// If one cannot be opened.
pub fn compare(paths: &[PathBuf], progress: &mut dyn Progress) -> Result<Comparison> {
    let (mut runs, mut unfinished) = (Vec::new(), Vec::new());
    for path in distinct(paths, progress) {
        match Record::read(path)? {
            Some(record) => runs.push(Run::open(path, record)?),
            // It may have no weights yet, so it is not opened.
            None => unfinished.push(Unfinished::of(path)?),
        }
    }
    let groups = Group::of(without_copies(runs, progress)?);
    groups.iter().for_each(|group| group.remark(progress));
    let (lines, curves) = groups.iter().map(|group| (group.line(), group.curve())).unzip();
    Ok(Comparison { lines, unfinished, curves })
}

impl Comparison {
    /// Draws the errors of the first run of each line over time, into `stem` with `.png` and `.svg` added.
    ///
    /// # Errors
    /// If a figure cannot be drawn or written.
    pub fn draw(&self, stem: &Path) -> Result<[PathBuf; 2]> {
        let title = "Wrong answers on held-out training images, while training".into();
        let (axes, series) = (SeriesAxes::ErrorOverTime, self.curves.clone());
        Ok(save(&SeriesFigure { title, axes, series }, stem)?)
    }

    /// The lines as a table in Markdown.
    pub fn markdown(&self) -> String {
        table(&self.lines)
    }
}

/// The paths that lead to different runs, with a remark on the others: a run named twice would count as two.
fn distinct<'a>(paths: &'a [PathBuf], progress: &mut dyn Progress) -> Vec<&'a Path> {
    let mut seen = Vec::new();
    let mut distinct: Vec<&Path> = Vec::new();
    for path in paths {
        // One that is not there is refused when it is opened.
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        if seen.contains(&whole) {
            let name = shown_path(path);
            progress.remark(Remark::Note(format!("{name} was named before: it counts once")));
        } else {
            seen.push(whole);
            distinct.push(path);
        }
    }
    distinct
}

/// The runs that are not copies of an earlier one, with a remark on the copies: a training that was copied, or repeated to the same
/// bytes, adds nothing to a mean.
fn without_copies(runs: Vec<Run>, progress: &mut dyn Progress) -> Result<Vec<Run>> {
    let mut kept: Vec<Run> = Vec::new();
    for run in runs {
        let mut original = None;
        for other in &kept {
            if run.is_copy_of(other)? {
                original = Some(other);
                break;
            }
        }
        match original {
            Some(original) => progress.remark(Remark::Note(format!(
                "{} has the settings, the seed and the weights of {}: they count once",
                shown_path(run.directory.path()),
                shown_path(original.directory.path())
            ))),
            None => kept.push(run),
        }
    }
    Ok(kept)
}

/// A finished run, as far as it is compared.
struct Run {
    directory: RunDirectory,
    experiment: Experiment,
    parameters: usize,
    record: Record,
}

impl Run {
    fn open(path: &Path, record: Record) -> Result<Self> {
        let trained = Trained::open(path, &Device::Cpu)?;
        let all = trained.network.parameters();
        let parameters = all.parts().into_iter().map(|part| all.count(part)).sum();
        let (directory, experiment) = (trained.run, trained.experiment);
        Ok(Self { directory, experiment, parameters, record })
    }

    fn is_copy_of(&self, other: &Self) -> Result<bool> {
        let weights = |run: &Self| {
            let model = run.directory.model();
            std::fs::read(&model).with_context(|| format!("cannot read {}", shown_path(&model)))
        };
        Ok(self.experiment == other.experiment && weights(self)? == weights(other)?)
    }
}

/// Runs that differ in their seed alone.
struct Group {
    settings: String,
    runs: Vec<Run>,
}

/// A line of the table.
#[derive(Debug, Serialize)]
pub struct Line {
    /// The run directories, in the order in which they were named.
    #[serde(skip)]
    pub runs: Vec<PathBuf>,
    /// The method.
    pub method: String,
    /// The name of the data set.
    pub dataset: String,
    /// The treatment of images, where it differs from the usual.
    pub images: Option<String>,
    /// The class embeddings.
    pub embedding: String,
    /// The image encoder, where there are several blocks or it is not the paper's.
    pub encoder: Option<String>,
    /// T in discrete time, the solver's steps in continuous time; `None` if the method has no chain.
    pub steps: Option<usize>,
    /// Blocks that share time between them, where it is continuous.
    pub intervals: usize,
    /// The loss function of a block.
    pub block_loss: BlockLossKind,
    /// The rate of the weights' average over the steps, where the run has one.
    pub ema: Option<f64>,
    /// The greatest norm of a part's gradients, where the run has one.
    pub clip_gradients: Option<f64>,
    /// The epochs without a better one after which a training ends early, where the run has them.
    pub patience: Option<NonZeroU32>,
    /// Epochs of training, at most.
    pub epochs: u32,
    /// Test accuracy, 0..=1: the mean over seeds.
    pub accuracy: f64,
    /// The test accuracy of each run.
    pub accuracies: Vec<f64>,
    /// The standard deviation of the test accuracy; one run has none.
    pub spread: Option<f64>,
    /// The mean accuracy on the training images; `None` if a run did not record its own.
    pub training_accuracy: Option<f64>,
    /// The number of runs.
    pub n: usize,
    /// The number of parameters.
    pub parameters: usize,
    /// Mean training time.
    pub seconds: f64,
    /// The largest peak.
    pub peak_memory_bytes: Option<u64>,
}

impl Group {
    /// Groups in the order in which the runs were named.
    fn of(runs: Vec<Run>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for run in runs {
            // A run that was trained further is another one than a whole one of as many epochs.
            let History { earlier_ends, goals, paused, machines: _ } = &run.record.history;
            let settings =
                format!("{:?} {:?}", run.experiment.without_seed(), (earlier_ends, goals, paused));
            match groups.iter_mut().find(|group| group.settings == settings) {
                Some(group) => group.runs.push(run),
                None => groups.push(Self { settings, runs: vec![run] }),
            }
        }
        groups
    }

    /// Remarks on runs whose mean is not what it seems.
    fn remark(&self, progress: &mut dyn Progress) {
        for (index, run) in self.runs.iter().enumerate() {
            let earlier = &self.runs[..index];
            let name = shown_path(run.directory.path());
            let same_seed = |other: &&Run| other.experiment.setup.seed == run.experiment.setup.seed;
            if let Some(other) = earlier.iter().find(same_seed) {
                progress.remark(Remark::Note(format!(
                    "{name} has the settings and the seed of {}, and other weights: both count",
                    shown_path(other.directory.path())
                )));
            }
            let hardware = |run: &Run| run.record.hardware.clone();
            if let (Some(first), Some(here)) = (earlier.first().and_then(hardware), hardware(run))
                && (!first.computes_as(&here) || first.threads != here.threads)
            {
                progress.remark(Remark::Note(format!(
                    "{name} was trained on {here}, and the first run of its line on {first}: the mean time is of both"
                )));
            }
        }
    }

    fn mean(&self, value: impl Fn(&Run) -> f64) -> f64 {
        self.runs.iter().map(value).sum::<f64>() / self.runs.len() as f64
    }

    fn training_accuracy(&self) -> Option<f64> {
        let accuracies: Option<Vec<f64>> =
            self.runs.iter().map(|run| run.record.training_accuracy).collect();
        Spread::of(&accuracies?).map(|spread| spread.mean)
    }

    fn line(&self) -> Line {
        // A group has at least one run.
        let config = &self.runs[0].experiment.setup;
        let accuracies: Vec<f64> = self.runs.iter().map(|run| run.record.accuracy).collect();
        let blocks = config.method.time != Time::Continuous || config.intervals > 1;
        Line {
            runs: self.runs.iter().map(|run| run.directory.path().into()).collect(),
            method: config.method.name.into(),
            dataset: config.dataset.name(),
            images: config.treatment(),
            embedding: config.embedding.to_string(),
            encoder: blocks.then(|| config.encoder_words()).or_else(|| {
                (config.network != Backbone::Paper).then(|| config.network.to_string())
            }),
            steps: (config.method.time != Time::None).then_some(config.steps),
            intervals: config.intervals,
            block_loss: config.block_loss,
            ema: config.ema,
            clip_gradients: config.clip_gradients,
            patience: config.patience,
            epochs: config.epochs,
            accuracy: self.mean(|run| run.record.accuracy),
            spread: Spread::of(&accuracies).and_then(|spread| spread.deviation),
            n: accuracies.len(),
            accuracies,
            training_accuracy: self.training_accuracy(),
            parameters: self.runs[0].parameters,
            seconds: self.mean(|run| run.record.seconds),
            peak_memory_bytes: self.runs.iter().filter_map(|run| run.record.peak).max(),
        }
    }

    /// The first run's errors over time.
    fn curve(&self) -> Series {
        let (line, run) = (self.line(), &self.runs[0]);
        let encoder =
            line.encoder.as_ref().map_or_else(String::new, |encoder| format!(", {encoder}"));
        Series {
            name: format!("{}, {}, {}{encoder}", data(&line), method(&line), line.embedding),
            points: run
                .record
                .course
                .iter()
                .map(|mark| (mark.seconds, 1.0 - mark.validation_accuracy))
                .collect(),
        }
    }
}

/// The data set, and what was done to its images.
fn data(line: &Line) -> String {
    match &line.images {
        None => line.dataset.clone(),
        Some(done) => format!("{} ({done})", line.dataset),
    }
}

/// The method, its blocks where more than one share time, their loss function if it is not the paper's, and the average of the weights.
fn method(line: &Line) -> String {
    let mut words = line.method.clone();
    if line.intervals != 1 {
        words += &format!(", {} intervals", line.intervals);
    }
    if line.block_loss != BlockLossKind::Squared {
        words += &format!(", {}", line.block_loss);
    }
    if let Some(rate) = line.ema {
        words += &format!(", EMA {rate}");
    }
    if let Some(norm) = line.clip_gradients {
        words += &format!(", gradients up to {norm}");
    }
    words
}

/// The lines as a Markdown table.
fn table(lines: &[Line]) -> String {
    let mut rows = vec![
        "| method | data | embedding | encoder | steps | epochs | test accuracy | n | parameters | training time | peak memory |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    rows.extend(lines.iter().map(|line| {
        let spread = line.spread.map_or_else(String::new, |s| format!(" ± {:.2}", 100.0 * s));
        let peak =
            line.peak_memory_bytes.map_or_else(String::new, |p| format!("{} MB", p / 1_000_000));
        format!(
            "| {} | {} | {} | {} | {} | {} | {:.2} %{spread} | {} | {} | {:.1} s | {peak} |",
            method(line),
            shown(&data(line)),
            line.embedding,
            line.encoder.as_deref().unwrap_or("own"),
            line.steps.map_or_else(|| "none".to_owned(), |steps| steps.to_string()),
            if line.patience.is_some() {
                format!("≤ {}", line.epochs)
            } else {
                line.epochs.to_string()
            },
            100.0 * line.accuracy,
            line.n,
            line.parameters,
            line.seconds,
        )
    }));
    rows.join("\n")
}

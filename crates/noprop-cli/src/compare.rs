//! `noprop compare`: several runs in one table, runs that differ in their seed alone in one line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use noprop_method::Denoiser;
use noprop_plot::{ErrorOverTime, Series, save};
use noprop_train::RunDirectory;
use serde::Serialize;

use crate::args::Compare;
use crate::config::{Method, RunConfig};
use crate::output::{Incomplete, answer, note};
use crate::record::Record;
use crate::shell::{quoted, shown, shown_path};
use crate::spread::Spread;
use crate::trained::Trained;

pub fn run(args: &Compare) -> Result<()> {
    let (mut runs, mut unfinished) = (Vec::new(), Vec::new());
    for path in distinct(&args.runs) {
        match Record::read(path)? {
            Some(record) => runs.push((path, record)),
            None => unfinished.push(what_to_do(path)?),
        }
    }
    // They may have no weights yet, so they are not opened.
    let unfinished = match unfinished.as_slice() {
        [] => None,
        [one] => Some(format!("this run is not finished: {one}")),
        several => Some(format!("these runs are not finished: {}", several.join("; "))),
    };
    if let Some(unfinished) = &unfinished
        && runs.is_empty()
    {
        bail!("{unfinished}");
    }
    let runs = runs.into_iter().map(|(path, record)| Run::open(path, record));
    let groups = Group::of(without_copies(runs.collect::<Result<_>>()?)?);
    let lines: Vec<Line> = groups.iter().map(Group::line).collect();
    // Before the table: a reader of it that goes away does not cost the figure.
    if let Some(stem) = &args.figure {
        let series = groups.iter().map(Group::curve).collect();
        let title = "Wrong answers on held-out training images, while training".into();
        let [png, svg] = save(&ErrorOverTime { title, series }, stem)?;
        note!("{}, {}", png.display(), svg.display());
    }
    if args.json {
        answer!("{}", serde_json::to_string(&lines)?)?;
    } else {
        answer!("{}", table(&lines))?;
    }
    match unfinished {
        Some(unfinished) => Err(Incomplete(unfinished).into()),
        None => Ok(()),
    }
}

/// Returns the paths that lead to different runs, and names the others on stderr: a run named twice would count as two.
fn distinct(paths: &[PathBuf]) -> Vec<&Path> {
    let mut seen = Vec::new();
    let mut distinct: Vec<&Path> = Vec::new();
    for path in paths {
        // One that is not there is refused when it is opened.
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        if seen.contains(&whole) {
            note!("{} was named before: it counts once", shown_path(path));
        } else {
            seen.push(whole);
            distinct.push(path);
        }
    }
    distinct
}

/// Returns the name of an unfinished run and how to finish it.
fn what_to_do(path: &Path) -> Result<String> {
    let run = RunDirectory::open(path)?;
    let (name, typed) = (shown_path(path), quoted(path));
    Ok(if run.state().join("progress.json").exists() {
        format!("{name} (go on with noprop train --resume {typed})")
    } else if run.units().is_dir() {
        format!("{name} (its units are trained apart: see noprop status {typed})")
    } else {
        format!(
            "{name} (nothing of it was saved yet: noprop train --resume {typed} starts it again)"
        )
    })
}

/// Returns the runs that are not copies of an earlier one, and names the copies on stderr: a training that was copied, or repeated
/// to the same bytes, adds nothing to a mean.
fn without_copies(runs: Vec<Run>) -> Result<Vec<Run>> {
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
            Some(original) => note!(
                "{} has the settings, the seed and the weights of {}: they count once",
                shown_path(run.directory.path()),
                shown_path(original.directory.path())
            ),
            None => kept.push(run),
        }
    }
    Ok(kept)
}

/// A finished run, as far as it is compared.
struct Run {
    directory: RunDirectory,
    config: RunConfig,
    parameters: usize,
    record: Record,
}

impl Run {
    fn open(path: &Path, record: Record) -> Result<Self> {
        let trained = Trained::open(path, &candle_core::Device::Cpu)?;
        let all = trained.network.parameters();
        let parameters = all.parts().into_iter().map(|part| all.count(part)).sum();
        Ok(Self { directory: trained.run, config: trained.config, parameters, record })
    }

    fn is_copy_of(&self, other: &Self) -> Result<bool> {
        let weights = |run: &Self| {
            let model = run.directory.model();
            std::fs::read(&model).with_context(|| format!("cannot read {}", shown_path(&model)))
        };
        Ok(self.config == other.config && weights(self)? == weights(other)?)
    }
}

/// Runs that differ in their seed alone.
struct Group {
    settings: String,
    runs: Vec<Run>,
}

/// A line of the table.
#[derive(Serialize)]
struct Line {
    method: String,
    dataset: String,
    /// What was done to images, if anything.
    images: Option<String>,
    embedding: String,
    encoder: Option<String>,
    /// T in discrete time, else the solver's steps.
    steps: usize,
    /// Blocks that share time between them, where it is continuous.
    intervals: usize,
    epochs: u32,
    /// Test accuracy, 0..=1: mean over seeds, standard deviation (of one run none), number of runs.
    accuracy: f64,
    spread: Option<f64>,
    n: usize,
    parameters: usize,
    /// Mean training time.
    seconds: f64,
    /// Largest peak.
    peak_memory_bytes: Option<u64>,
}

impl Group {
    /// Groups in the order in which the runs were named.
    fn of(runs: Vec<Run>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for run in runs {
            // A run that was trained further is another one than a whole one of as many epochs.
            let settings = format!("{:?} {:?}", run.config.without_seed(), run.record.history);
            match groups.iter_mut().find(|group| group.settings == settings) {
                Some(group) => group.runs.push(run),
                None => groups.push(Self { settings, runs: vec![run] }),
            }
        }
        groups
    }

    fn mean(&self, value: impl Fn(&Run) -> f64) -> f64 {
        self.runs.iter().map(value).sum::<f64>() / self.runs.len() as f64
    }

    fn line(&self) -> Line {
        // A group has at least one run.
        let config = &self.runs[0].config;
        let accuracies: Vec<f64> = self.runs.iter().map(|run| run.record.accuracy).collect();
        let blocks = matches!(config.method, Method::Dt | Method::Backprop) || config.intervals > 1;
        Line {
            method: config.method.name().into(),
            dataset: config.dataset.name(),
            images: config.treatment(),
            embedding: config.embedding.to_string(),
            encoder: blocks.then(|| config.encoder.to_string()),
            steps: config.steps,
            intervals: config.intervals,
            epochs: config.epochs,
            accuracy: self.mean(|run| run.record.accuracy),
            spread: Spread::of(&accuracies).and_then(|spread| spread.deviation),
            n: accuracies.len(),
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

/// The method, and its blocks where more than one share time.
fn method(line: &Line) -> String {
    match line.intervals {
        1 => line.method.clone(),
        intervals => format!("{}, {intervals} intervals", line.method),
    }
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
            line.steps,
            line.epochs,
            100.0 * line.accuracy,
            line.n,
            line.parameters,
            line.seconds,
        )
    }));
    rows.join("\n")
}

//! `noprop compare`: several runs in one table, runs that differ in their seed alone in one line.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use noprop_method::Denoiser;
use noprop_plot::{ErrorOverTime, Series, save};
use noprop_train::RunDirectory;
use serde::Serialize;

use crate::args::Compare;
use crate::config::{Method, RunConfig};
use crate::output::{answer, note};
use crate::record::Record;
use crate::spread::Spread;
use crate::trained::Trained;

pub fn run(args: &Compare) -> Result<()> {
    let records = finished(&args.runs)?;
    let runs = args.runs.iter().zip(records).map(|(path, record)| Run::open(path, record));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let groups = Group::of(runs);
    let lines: Vec<Line> = groups.iter().map(Group::line).collect();
    if args.json {
        answer!("{}", serde_json::to_string(&lines)?)?;
    } else {
        answer!("{}", table(&lines))?;
    }
    if let Some(stem) = &args.figure {
        let series = groups.iter().map(Group::curve).collect();
        let title = "Wrong answers on held-out training images, while training".into();
        let [png, svg] = save(&ErrorOverTime { title, series }, stem)?;
        note!("{}, {}", png.display(), svg.display());
    }
    Ok(())
}

/// What all runs recorded. Those that have not come to their end are named together, each with what to do about it; they may have no
/// weights yet.
fn finished(paths: &[PathBuf]) -> Result<Vec<Record>> {
    let (mut records, mut unfinished) = (Vec::new(), Vec::new());
    for path in paths {
        if let Some(record) = Record::read(path)? {
            records.push(record);
            continue;
        }
        let saved = RunDirectory::open(path)?.state().join("progress.json").exists();
        let path = path.display();
        unfinished.push(match saved {
            true => format!("{path} (go on with noprop train --resume {path})"),
            false => format!("{path} (nothing of it was saved: train it anew with --force)"),
        });
    }
    match unfinished.as_slice() {
        [] => Ok(records),
        [one] => bail!("this run is not finished: {one}"),
        several => bail!("these runs are not finished: {}", several.join("; ")),
    }
}

/// A finished run, as far as it is compared.
struct Run {
    config: RunConfig,
    parameters: usize,
    record: Record,
}

impl Run {
    fn open(path: &Path, record: Record) -> Result<Self> {
        let trained = Trained::open(path, &candle_core::Device::Cpu)?;
        let all = trained.network.parameters();
        let parameters = all.parts().into_iter().map(|part| all.count(part)).sum();
        Ok(Self { config: trained.config, parameters, record })
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
            let settings = format!("{:?}", run.config.without_seed());
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
            data(line),
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

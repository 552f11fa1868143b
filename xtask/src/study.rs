//! `cargo xtask study`: what the chain is worth, on data and for a time of the reader's choice.
//!
//! A question is a figure: lines that differ in their settings, over the values of one more setting. Every point is a `noprop train --seeds`, so the
//! same command goes on where the last one stopped.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use noprop_plot::{Series, SeriesAxes, SeriesFigure, save};
use serde::Deserialize;

use crate::workspace::{self, report};

/// A question, and the settings with which it is answered.
#[derive(clap::Args)]
pub struct Options {
    /// Question
    #[arg(value_enum)]
    question: Question,
    /// Seeds of each training, as of `noprop train`
    #[arg(long, default_value = "0..3")]
    seeds: String,
    /// Folder for the table, the figures and the runs; the same command goes on with what is there
    #[arg(long, value_name = "DIR", default_value = "study")]
    out: PathBuf,
    /// Only lines whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Settings of all trainings, such as --dataset fashion-mnist --epochs 5
    #[arg(last = true, value_name = "SETTINGS")]
    settings: Vec<String>,
}

/// The questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Question {
    /// How many blocks are worth their time, with each kind of encoder and three networks
    Blocks,
    /// How much a wider network gains, with the chain, with the same chain trained end to end, and without a chain
    Width,
}

/// A line of a figure: its name and its settings.
type Line = (&'static str, &'static str);

const BLOCKS: [Line; 9] = [
    ("mlp, shared", "--network mlp:256,2 --encoder shared"),
    ("mlp, per block", "--network mlp:256,2 --encoder per-block"),
    ("mlp, frozen", "--network mlp:256,2 --encoder frozen"),
    ("paper, shared", "--encoder shared"),
    ("paper, per block", "--encoder per-block"),
    ("paper, frozen", "--encoder frozen"),
    ("resnet, shared", "--network resnet:8 --encoder shared"),
    ("resnet, per block", "--network resnet:8 --encoder per-block"),
    ("resnet, frozen", "--network resnet:8 --encoder frozen"),
];

const WIDTH: [Line; 4] = [
    ("dt, T = 3, shared", "--encoder shared --steps 3"),
    ("dt, T = 3, per block", "--encoder per-block --steps 3"),
    ("end to end, T = 3", "--method backprop --steps 3"),
    ("classifier", "--method classifier"),
];

impl Question {
    fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Width => "width",
        }
    }

    fn lines(self) -> &'static [Line] {
        match self {
            Self::Blocks => &BLOCKS,
            Self::Width => &WIDTH,
        }
    }

    /// The values along the axis.
    fn values(self) -> &'static [u32] {
        match self {
            Self::Blocks => &[1, 2, 3, 5, 10],
            Self::Width => &[4, 8, 16, 32],
        }
    }

    /// The setting that has such a value.
    fn setting(self, value: u32) -> String {
        match self {
            Self::Blocks => format!("--steps {value}"),
            Self::Width => format!("--network resnet:{value}"),
        }
    }

    /// The symbol of the values, as at the head of a column.
    fn symbol(self) -> char {
        match self {
            Self::Blocks => 'T',
            Self::Width => 'W',
        }
    }

    fn axes(self) -> SeriesAxes {
        match self {
            Self::Blocks => SeriesAxes::AccuracyByNumberOfBlocks,
            Self::Width => SeriesAxes::AccuracyByWidth,
        }
    }
}

/// A point of a line.
struct Point {
    line: &'static str,
    value: u32,
    summary: Summary,
}

/// What `noprop train --seeds` says about its runs: means over the seeds, and the largest peak of memory.
#[derive(Deserialize)]
struct Summary {
    accuracy: f64,
    /// The test accuracy of each run.
    accuracies: Vec<f64>,
    training_accuracy: f64,
    seconds: f64,
    peak_memory_bytes: u64,
}

/// Trains whatever is missing, and writes table and figures after each point.
pub fn run(options: &Options) -> Result<()> {
    let question = options.question;
    let lines = || question.lines().iter().filter(|(name, _)| name.contains(&options.only));
    ensure!(lines().count() > 0, "no line has `{}` in its name", options.only);
    let program = workspace::noprop(workspace::root()?, "")?;
    let mut points = Vec::new();
    // The smallest values of all lines come first, so that a study that is stopped has something of each line.
    for &value in question.values() {
        for &(line, settings) in lines() {
            let name = format!("{line}, {} = {value}", question.symbol());
            report(&name);
            let folder = options
                .out
                .join("runs")
                .join(name.replace(',', "").replace(" = ", "-").replace(' ', "-"));
            let mut train = Command::new(&program);
            train.args(["train", "--quiet", "--json", "--seeds", &options.seeds, "--out"]);
            train.arg(folder).args(settings.split(' ')).args(question.setting(value).split(' '));
            train.args(&options.settings);
            let summary = summary(&workspace::output(&mut train)?)?;
            points.push(Point { line, value, summary });
            write(question, &points, &options.out)?;
        }
    }
    Ok(())
}

/// The summary in the output of `noprop train --seeds --json`.
fn summary(output: &[u8]) -> Result<Summary> {
    ensure!(!output.is_empty(), "the training was stopped; the same command goes on from there");
    let [summary] = serde_json::from_slice(output).context("what noprop printed")?;
    Ok(summary)
}

/// An accuracy that has a figure.
type Share = fn(&Summary) -> f64;

const SHARES: [(&str, Share); 2] =
    [("test", |it| it.accuracy), ("training", |it| it.training_accuracy)];

/// Writes the table, and a figure of each accuracy.
fn write(question: Question, points: &[Point], out: &Path) -> Result<()> {
    let name = question.name();
    std::fs::write(out.join(format!("{name}.md")), table(question, points)?)?;
    for (images, share) in SHARES {
        let mut series: Vec<Series> = Vec::new();
        for point in points {
            let at = (f64::from(point.value), share(&point.summary));
            match series.iter_mut().find(|series| series.name == point.line) {
                Some(series) => series.points.push(at),
                None => series.push(Series { name: point.line.into(), points: vec![at] }),
            }
        }
        let title = format!("Accuracy on {images} images, mean over seeds");
        let figure = SeriesFigure { title, axes: question.axes(), series };
        save(&figure, &out.join(format!("{name}-{images}")))?;
    }
    Ok(())
}

fn table(question: Question, points: &[Point]) -> Result<String> {
    let mut text = format!(
        "| line | {} | test accuracy | of each seed | training accuracy | training time | peak memory |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        question.symbol()
    );
    for Point { line, value, summary } in points {
        let seeds: Vec<_> =
            summary.accuracies.iter().map(|it| format!("{:.2}", 100.0 * it)).collect();
        writeln!(
            text,
            "| {line} | {value} | {:.2} | {} | {:.2} | {:.0} s | {} MB |",
            100.0 * summary.accuracy,
            seeds.join(", "),
            100.0 * summary.training_accuracy,
            summary.seconds,
            summary.peak_memory_bytes / 1_000_000,
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: &str = r#"{"method":"dt","accuracy":0.5625,"accuracies":[0.5,0.625],"training_accuracy":0.75,
        "seconds":10.0,"peak_memory_bytes":100000000}"#;

    #[test]
    fn the_table_has_the_mean_and_every_seed() {
        let summary = summary(format!("[{SEEDS}]").as_bytes()).unwrap();
        let text = table(Question::Blocks, &[Point { line: "a", value: 3, summary }]).unwrap();
        assert_eq!(
            text.lines().last(),
            Some("| a | 3 | 56.25 | 50.00, 62.50 | 75.00 | 10 s | 100 MB |")
        );
    }

    /// A part of the seeds must not stand in the table as all of them.
    #[test]
    fn a_point_has_one_summary() {
        for wrong in [String::new(), "[]".into(), format!("[{SEEDS},{SEEDS}]"), "[{}]".into()] {
            assert!(summary(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

//! `cargo xtask study`: what the chain is worth, on data and for a time of the reader's choice.
//!
//! A question is a figure: lines that differ in their settings, over values of one more setting. Every point is `noprop train --seeds`, so the same
//! command goes on where the last one stopped. Table and figures are made of what the runs recorded.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use noprop_plot::{Series, SeriesAxes, SeriesFigure, save};
use serde_json::Value;

use crate::workspace::{self, report};

/// A question, and how long to look for an answer.
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

/// A line of a figure: its name and settings.
type Setup = (&'static str, &'static str);

const BLOCKS: [Setup; 9] = [
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

const WIDTH: [Setup; 4] = [
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

    fn lines(self) -> &'static [Setup] {
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

/// The trainings at one point of a line.
struct Point {
    line: &'static str,
    value: u32,
    /// Of each seed.
    records: Vec<Record>,
}

/// What a finished run recorded at its end.
struct Record {
    test: f64,
    training: f64,
    seconds: f64,
    megabytes: f64,
}

/// An accuracy of a run.
type Share = fn(&Record) -> f64;

/// Trains whatever is missing, and writes table and figures after each point.
pub fn run(options: &Options) -> Result<()> {
    let question = options.question;
    let lines = || question.lines().iter().filter(|(name, _)| name.contains(&options.only));
    ensure!(lines().count() > 0, "no line has `{}` in its name", options.only);
    let program = workspace::noprop(workspace::root()?, "")?;
    let mut points = Vec::new();
    // The cheapest values of all lines first, so that a study that is stopped has something of each line.
    for &value in question.values() {
        for (line, setup) in lines() {
            let name = format!("{line} {}{value}", question.symbol());
            let folder =
                options.out.join("runs").join(name.replace(", ", "-").replace([' ', '='], ""));
            report(&name);
            let mut train = Command::new(&program);
            train.args(["train", "--quiet", "--seeds", &options.seeds, "--out"]).arg(&folder);
            train.args(setup.split(' ')).args(question.setting(value).split(' '));
            workspace::run(train.args(&options.settings))?;
            points.push(Point { line, value, records: records(&folder)? });
            write(question, &points, &options.out)?;
        }
    }
    Ok(())
}

/// The records of the runs in a folder.
fn records(folder: &Path) -> Result<Vec<Record>> {
    let seeds = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut logs =
        seeds.map(|seed| Ok(seed?.path().join("metrics.jsonl"))).collect::<Result<Vec<_>>>()?;
    logs.retain(|log| log.is_file());
    logs.sort();
    let read = |log: &PathBuf| {
        let text = fs::read_to_string(log)?;
        record(text.lines().last().unwrap_or("")).with_context(|| log.display().to_string())
    };
    logs.iter().map(read).collect()
}

/// The record in the last line of a run's log.
fn record(line: &str) -> Result<Record> {
    let end: Value = serde_json::from_str(line)?;
    let number =
        |name: &str| end[name].as_f64().with_context(|| format!("the last line has no {name}"));
    Ok(Record {
        test: number("accuracy")?,
        training: number("training_accuracy")?,
        seconds: number("seconds")?,
        megabytes: number("peak_memory_bytes")? / 1e6,
    })
}

/// Writes the table and a figure each of test and training accuracy.
fn write(question: Question, points: &[Point], out: &Path) -> Result<()> {
    let name = question.name();
    fs::write(out.join(format!("{name}.md")), table(question, points)?)?;
    let shares: [(&str, Share); 2] =
        [("test", |record| record.test), ("training", |record| record.training)];
    for (images, share) in shares {
        let mut series: Vec<Series> = Vec::new();
        for point in points {
            let at = (f64::from(point.value), mean(&point.records, share));
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
    for Point { line, value, records } in points {
        let seeds: Vec<_> = records.iter().map(|it| format!("{:.2}", 100.0 * it.test)).collect();
        writeln!(
            text,
            "| {line} | {value} | {:.2} | {} | {:.2} | {:.0} s | {:.0} MB |",
            100.0 * mean(records, |it| it.test),
            seeds.join(", "),
            100.0 * mean(records, |it| it.training),
            mean(records, |it| it.seconds),
            mean(records, |it| it.megabytes),
        )?;
    }
    Ok(text)
}

fn mean(records: &[Record], value: impl Fn(&Record) -> f64) -> f64 {
    records.iter().map(value).sum::<f64>() / records.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that has not ended must not count as one with an accuracy of 0.
    #[test]
    fn only_the_end_of_a_run_is_a_record() {
        let end = r#"{"event":"test","accuracy":0.9,"training_accuracy":0.95,"seconds":2.5,"peak_memory_bytes":3000000}"#;
        let Record { test, training, seconds, megabytes } = record(end).unwrap();
        assert_eq!((test, training, seconds, megabytes), (0.9, 0.95, 2.5, 3.0));
        assert!(record(r#"{"event":"epoch","epoch":3,"seconds":2.0}"#).is_err());
        assert!(record("").is_err());
    }

    #[test]
    fn the_table_has_the_mean_and_every_seed() {
        let record = |test| Record { test, training: 0.75, seconds: 10.0, megabytes: 100.0 };
        let point = Point { line: "a", value: 3, records: vec![record(0.5), record(0.625)] };
        let text = table(Question::Blocks, &[point]).unwrap();
        assert_eq!(
            text.lines().last(),
            Some("| a | 3 | 56.25 | 50.00, 62.50 | 75.00 | 10 s | 100 MB |")
        );
    }
}

//! `cargo xtask study`: what the chain is worth, on data and in a number of epochs that the reader chooses.
//!
//! A question is a figure: lines that differ in their settings, over the values of one more setting. Every point is a `noprop train --seeds`, so the
//! same command goes on where the last one stopped. While points are missing, table and figures have names of their own, and those of all
//! points stay as they are.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, Result, ensure};
use noprop_files::write_atomically;
use noprop_plot::{Series, SeriesAxes, SeriesFigure, save};
use serde::Deserialize;
use serde_json::Value;

use crate::workspace::{self, BadUsage, report};

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
    /// Settings of all trainings, such as --dataset fashion-mnist --epochs 5 --lr 0.002; without --lr each method has its own rate
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

/// The trainings that answer a question.
struct Study {
    name: &'static str,
    axes: SeriesAxes,
    /// The lines: a name, and settings that no preset or configuration may change.
    lines: &'static [(&'static str, &'static str)],
    /// The symbol of the values along the axis, the setting that they complete, and the values.
    axis: (char, &'static str, &'static [u32]),
}

const BLOCKS: Study = Study {
    name: "blocks",
    axes: SeriesAxes::AccuracyByNumberOfBlocks,
    lines: &[
        ("mlp, shared", "--method dt --network mlp:256,2 --encoder shared"),
        ("mlp, per block", "--method dt --network mlp:256,2 --encoder per-block"),
        ("mlp, frozen", "--method dt --network mlp:256,2 --encoder frozen"),
        ("paper, shared", "--method dt --network paper --encoder shared"),
        ("paper, per block", "--method dt --network paper --encoder per-block"),
        ("paper, frozen", "--method dt --network paper --encoder frozen"),
        ("resnet, shared", "--method dt --network resnet:8 --encoder shared"),
        ("resnet, per block", "--method dt --network resnet:8 --encoder per-block"),
        ("resnet, frozen", "--method dt --network resnet:8 --encoder frozen"),
    ],
    axis: ('T', "--steps=", &[1, 2, 3, 5, 10]),
};

const WIDTH: Study = Study {
    name: "width",
    axes: SeriesAxes::AccuracyByWidth,
    lines: &[
        ("dt, T = 3, shared", "--method dt --encoder shared --steps 3"),
        ("dt, T = 3, per block", "--method dt --encoder per-block --steps 3"),
        ("end to end, T = 3", "--method backprop --encoder shared --steps 3"),
        ("classifier", "--method classifier"),
    ],
    axis: ('W', "--network=resnet:", &[4, 8, 16, 32]),
};

impl Study {
    /// The lines whose name contains `only`.
    fn lines(&self, only: &str) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        self.lines.iter().filter(move |(name, _)| name.contains(only))
    }
}

/// The summary that `noprop train --seeds` prints: means over the seeds, and the largest peak of memory.
#[derive(Deserialize)]
struct Summary {
    dataset: String,
    epochs: u32,
    accuracy: f64,
    /// The test accuracy of each run.
    accuracies: Vec<f64>,
    training_accuracy: Option<f64>,
    seconds: f64,
    /// `None` where the system does not tell.
    peak_memory_bytes: Option<u64>,
}

/// The points so far.
#[derive(Default)]
struct Found {
    rows: Vec<String>,
    /// A series of each line: the test accuracy and the training accuracy.
    series: [Vec<Series>; 2],
    /// The data and the epochs of the last point.
    data: String,
    /// The machines of all trainings, with the version of noprop.
    machines: BTreeSet<String>,
}

/// Trains whatever is missing, prints a row of the table for each point, and writes table and figures at the end.
pub fn run(options: &Options) -> Result<()> {
    let study = match options.question {
        Question::Blocks => &BLOCKS,
        Question::Width => &WIDTH,
    };
    let (symbol, setting, values) = study.axis;
    let lines: Vec<_> = study.lines(&options.only).collect();
    ensure!(!lines.is_empty(), BadUsage(format!("no line has `{}` in its name", options.only)));
    let program = workspace::noprop(workspace::root()?, "")?;
    std::fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let program = workspace::copy(&program, &options.out, "noprop")?.canonicalize()?;
    // Ctrl-C reaches noprop too, which saves its run; the study waits for it and begins no other.
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stopped.clone();
    ctrlc::set_handler(move || stop.store(true, Relaxed))?;
    let named = |name: &str| Series { name: name.into(), points: Vec::new() };
    let all: Vec<_> = lines.iter().map(|(name, _)| named(name)).collect();
    let mut found = Found { series: [all.clone(), all], ..Found::default() };
    let mut failed = 0;
    report(&head(symbol));
    // The smallest values of all lines come first, so that a study that is stopped has something of each line.
    'points: for &value in values {
        for (index, (line, settings)) in lines.iter().enumerate() {
            if stopped.load(Relaxed) {
                break 'points;
            }
            let folder =
                options.out.join("runs").join(slug(&format!("{line}, {symbol} = {value}")));
            let mut train = Command::new(&program);
            train.args(["train", "--quiet", "--json", "--seeds", &options.seeds, "--out"]);
            train.arg(&folder).args(settings.split(' ')).arg(format!("{setting}{value}"));
            match trained(train.args(&options.settings)) {
                Ok(summary) => {
                    let row = row(line, value, &summary);
                    report(&row);
                    found.rows.push(row);
                    let training = summary.training_accuracy.unwrap_or(f64::NAN);
                    for (series, share) in found.series.iter_mut().zip([summary.accuracy, training])
                    {
                        series[index].points.push((f64::from(value), share));
                    }
                    found.data = format!("{}, {} epoch(s)", summary.dataset, summary.epochs);
                    found.machines.extend(machines(&folder));
                }
                Err(_) if stopped.load(Relaxed) => break 'points,
                // The other points do not need this one.
                Err(error) => {
                    failed += 1;
                    report(&format!("{line}, {symbol} = {value} FAILED: {error:#}"));
                }
            }
        }
    }
    if !found.rows.is_empty() {
        found.write(study, options)?;
    }
    ensure!(!stopped.load(Relaxed), "the study was stopped; the same command continues it");
    ensure!(failed == 0, "{failed} points failed; the same command tries them again");
    Ok(())
}

/// The summary of the runs of a `noprop train --seeds --json`. Its warnings go to stderr.
fn trained(train: &mut Command) -> Result<Summary> {
    // A training whose study was killed is asked to stop: its stdin ends.
    train.stdin(Stdio::piped()).env("NOPROP_STOP_WITH_STDIN", "1");
    let mut child = train.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    // Waiting would end it at once.
    let stdin = child.stdin.take();
    let output = child.wait_with_output()?;
    drop(stdin);
    ensure!(output.status.success(), "noprop ended with {}", output.status);
    summary(&output.stdout)
}

/// The summary in the output of `noprop train --seeds --json`.
fn summary(output: &[u8]) -> Result<Summary> {
    ensure!(output.trim_ascii() != b"[]", "the training was stopped");
    let [summary] = serde_json::from_slice(output).context("what noprop printed")?;
    Ok(summary)
}

/// The machines of the runs in `folder`, from their logs: a point may have been trained by an earlier command.
fn machines(folder: &Path) -> BTreeSet<String> {
    let runs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut machines = BTreeSet::new();
    for run in runs {
        let log = std::fs::read_to_string(run.path().join("metrics.jsonl")).unwrap_or_default();
        let events = log.lines().map_while(|line| serde_json::from_str::<Value>(line).ok());
        machines.extend(events.filter_map(|event| machine(&event)));
    }
    machines
}

/// What time and memory depend on besides the settings, if an event of a log tells it.
fn machine(event: &Value) -> Option<String> {
    let hardware = event.get("hardware")?;
    let (threads, processor) = (hardware["threads"].as_u64()?, hardware["processor"].as_str()?);
    let gpu = hardware["gpu"].as_str().map(|gpu| format!(" and {gpu}")).unwrap_or_default();
    let version = event["version"].as_str()?;
    Some(format!("{threads} thread(s) of {processor}{gpu}, noprop {version}"))
}

/// The machines of all trainings in words.
fn in_words(machines: &BTreeSet<String>) -> String {
    let machines: Vec<&str> = machines.iter().map(String::as_str).collect();
    match machines.as_slice() {
        [] => "an unknown machine".into(),
        [machine] => (*machine).into(),
        machines => format!(
            "**not all by the same machine and version ({}): times and memory cannot be compared**",
            machines.join("; ")
        ),
    }
}

/// A name without characters that are awkward in the name of a file.
fn slug(name: &str) -> String {
    name.replace(',', "").replace(" = ", "-").replace(' ', "-")
}

fn head(symbol: char) -> String {
    format!(
        "| line | {symbol} | test accuracy | of each seed | training accuracy | training time | peak memory of the process |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    )
}

fn row(line: &str, value: u32, summary: &Summary) -> String {
    let percent = |share: &f64| format!("{:.2}", 100.0 * share);
    let seeds: Vec<_> = summary.accuracies.iter().map(percent).collect();
    format!(
        "| {line} | {value} | {} | {} | {} | {:.0} s | {} |",
        percent(&summary.accuracy),
        seeds.join(", "),
        summary.training_accuracy.as_ref().map(percent).unwrap_or_default(),
        summary.seconds,
        summary
            .peak_memory_bytes
            .map(|bytes| format!("{} MB", bytes / 1_000_000))
            .unwrap_or_default(),
    )
}

impl Found {
    /// The name of the table and the figures. A part of the lines, or of their points, does not replace all of them.
    fn name(&self, study: &Study, only: &str) -> String {
        let mut name = study.name.to_owned();
        if !only.is_empty() {
            name += &format!("-{}", slug(only));
        }
        let (_, _, values) = study.axis;
        if self.rows.len() < study.lines(only).count() * values.len() {
            name += "-partial";
        }
        name
    }

    /// Writes the table, and a figure of each accuracy.
    fn write(self, study: &Study, options: &Options) -> Result<()> {
        let name = self.name(study, &options.only);
        let Options { seeds, settings, out, .. } = options;
        let (data, machines) = (&self.data, in_words(&self.machines));
        let settings = settings.join(" ");
        let mut text = format!("{data}, seeds {seeds}, `{settings}`, {machines}\n\n");
        writeln!(text, "{}", head(study.axis.0))?;
        for row in &self.rows {
            writeln!(text, "{row}")?;
        }
        let path = out.join(format!("{name}.md"));
        write_atomically(&path, |file| file.write_all(text.as_bytes()))
            .with_context(|| path.display().to_string())?;
        for (images, series) in ["test", "training"].into_iter().zip(self.series) {
            let title = format!("Accuracy on {images} images ({}), mean over seeds", self.data);
            let figure = SeriesFigure { title, axes: study.axes, series };
            save(&figure, &out.join(format!("{name}-{images}")))?;
        }
        // Those of a part are not needed beside those of the whole.
        for ending in [".md", "-test.png", "-test.svg", "-training.png", "-training.svg"] {
            let _ = std::fs::remove_file(out.join(format!("{name}-partial{ending}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SEEDS: &str = r#"{"method":"dt","dataset":"mnist","epochs":3,"accuracy":0.5625,"accuracies":[0.5,0.625],
        "training_accuracy":0.75,"seconds":10.0,"peak_memory_bytes":100000000}"#;

    #[test]
    fn a_row_has_the_mean_and_every_seed() {
        let of = |text: &str| row("a", 3, &summary(format!("[{text}]").as_bytes()).unwrap());
        assert_eq!(of(SEEDS), "| a | 3 | 56.25 | 50.00, 62.50 | 75.00 | 10 s | 100 MB |");
        // What noprop did not measure.
        let unknown = SEEDS.replace("0.75", "null").replace("100000000", "null");
        assert_eq!(of(&unknown), "| a | 3 | 56.25 | 50.00, 62.50 |  | 10 s |  |");
    }

    /// A study that was stopped, or has points that failed, must not replace the table of an earlier one that has them all.
    #[test]
    fn a_part_of_the_points_has_a_name_of_its_own() {
        let name = |only: &str, points: usize| {
            let found = Found { rows: vec![String::new(); points], ..Found::default() };
            found.name(&WIDTH, only)
        };
        assert_eq!([name("", 16), name("", 15)], ["width", "width-partial"]);
        assert_eq!([name("dt,", 8), name("dt,", 7)], ["width-dt", "width-dt-partial"]);
    }

    /// Points may be of commands on other machines, and their times stand in one table.
    #[test]
    fn different_machines_are_named() {
        let start = |processor: &str, gpu: Option<&str>, threads: u32, version: &str| {
            let hardware = json!({ "processor": processor, "threads": threads, "gpu": gpu });
            json!({ "event": "start", "version": version, "hardware": hardware })
        };
        let words = |starts: [Value; 2]| {
            let dir = tempfile::tempdir().unwrap();
            for (seed, start) in starts.iter().enumerate() {
                let run = dir.path().join(format!("seed-{seed}"));
                std::fs::create_dir(&run).unwrap();
                let log = format!("{start}\n{{\"event\":\"stop\"}}\n");
                std::fs::write(run.join("metrics.jsonl"), log).unwrap();
            }
            in_words(&machines(dir.path()))
        };
        let usual = || start("EPYC", None, 8, "0.1.0");
        assert_eq!(words([usual(), usual()]), "8 thread(s) of EPYC, noprop 0.1.0");
        for other in [
            start("Xeon", None, 8, "0.1.0"),
            start("EPYC", Some("cuda:0"), 8, "0.1.0"),
            start("EPYC", None, 1, "0.1.0"),
            start("EPYC", None, 8, "0.2.0"),
        ] {
            let warning = words([usual(), other]);
            assert!(warning.contains("not all") && warning.contains("; "), "{warning}");
        }
        assert_eq!(in_words(&BTreeSet::new()), "an unknown machine");
    }

    /// A part of the seeds must not stand in the table as all of them.
    #[test]
    fn a_point_has_one_summary() {
        for wrong in [String::new(), "[]".into(), format!("[{SEEDS},{SEEDS}]"), "[{}]".into()] {
            assert!(summary(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

//! The figures of a report, one for each data set.

use std::path::PathBuf;

use noprop_plot::{
    AccuracyDots, Dot, DotRow, RatioBar, RatioBars, Series, SeriesAxes, SeriesFigure, save,
};

use super::line::Line;
use super::plan::Plan;
use super::target::{BASELINE, Target};
use crate::error::Result;
use crate::record::Mark;
use crate::spread::Spread;

/// A figure that was drawn.
pub struct Drawn {
    /// The data set.
    pub data: String,
    pub title: String,
    /// PNG and SVG.
    pub files: [PathBuf; 2],
}

/// Draws what can be drawn so far.
pub fn draw(plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<Vec<Drawn>> {
    let mut drawn = Vec::new();
    for of_data in lines.chunk_by(|a, b| a.data == b.data) {
        let Some(data) = of_data.first().map(|line| &line.item.data) else { continue };
        let short = if of_data.iter().any(Line::is_short) { ", short runs" } else { "" };
        // The text after a dot would be taken for an ending and replaced.
        let name = data.name().replace('.', "-");
        let stem = plan.request.out.join(format!("{}-{name}", plan.request.what.name()));
        let (title, files) = match plan.request.what {
            Target::Table2 => {
                let bars = shares(of_data);
                if bars.is_empty() {
                    continue;
                }
                let title = format!("Peak memory of training: {}", data.name());
                let figure = RatioBars {
                    title: title.clone(),
                    other: "back-propagation".into(),
                    bound: "the paper's share, on a GPU".into(),
                    bars,
                };
                (title, save(&figure, &stem)?)
            }
            Target::Fig2 => {
                drawn.extend(of_data.iter().flat_map(prototypes));
                continue;
            }
            Target::Fig3 => {
                let series: Vec<Series> = of_data.iter().filter_map(course).collect();
                if series.is_empty() {
                    continue;
                }
                let title =
                    format!("Validation accuracy against training time: {}{short}", data.name());
                let axes = SeriesAxes::AccuracyOverTime;
                (title.clone(), save(&SeriesFigure { title, axes, series }, &stem)?)
            }
            Target::Table1 | Target::Fig4 | Target::Fig5 => {
                let rows: Vec<DotRow> = of_data.iter().map(dots).collect();
                if rows.iter().all(|row| row.dots.iter().all(Option::is_none)) {
                    continue;
                }
                let title = format!("Test accuracy: {}{short}", data.name());
                let figure = AccuracyDots {
                    title: title.clone(),
                    series: vec!["the paper's sampler".into(), "our sampler, mean".into()],
                    reported: "the paper".into(),
                    rows,
                };
                (title, save(&figure, &stem)?)
            }
        };
        drawn.push(Drawn { data: data.to_string(), title, files });
    }
    Ok(drawn)
}

/// The figures that finished trainings of a line drew of their embeddings.
fn prototypes(line: &Line<'_>) -> impl Iterator<Item = Drawn> {
    let runs = line.trainings.iter().filter(|(_, record)| record.is_some());
    let drawn = runs.map(|(training, _)| Drawn {
        data: line.data.clone(),
        title: format!("Class embeddings before and after training: {}", line.data),
        files: ["png", "svg"]
            .map(|ending| training.run.join("figures/prototypes").with_extension(ending)),
    });
    // A training is finished even if its figures could not be drawn.
    drawn.filter(|drawn| drawn.files.iter().all(|file| file.is_file()))
}

fn dots(line: &Line<'_>) -> DotRow {
    let dot = |spread: Spread| Dot { accuracy: spread.mean, spread: spread.deviation };
    DotRow {
        name: line.row.clone(),
        dots: vec![line.stochastic.map(dot), line.mean.map(dot)],
        reported: line.paper.test.map(|accuracy| accuracy.mean),
    }
}

/// The mean course over the seeds that are done. The time leaves validation out: it takes as many solver steps as classification
/// does, which differ between methods.
fn course(line: &Line<'_>) -> Option<Series> {
    let courses: Vec<&Vec<Mark>> = line.records().map(|record| &record.course).collect();
    let epochs = courses.iter().map(|course| course.len()).min()?;
    let mean = |epoch: usize, value: fn(&Mark) -> f64| {
        courses.iter().map(|course| value(&course[epoch])).sum::<f64>() / courses.len() as f64
    };
    let point = |epoch| {
        (mean(epoch, |mark| mark.training_seconds), mean(epoch, |mark| mark.validation_accuracy))
    };
    Some(Series { name: line.row.clone(), points: (0..epochs).map(point).collect() })
}

/// Peaks as shares of the baseline's, and the paper's shares as their bounds.
fn shares(lines: &[Line<'_>]) -> Vec<RatioBar> {
    let Some(baseline) = lines.iter().find(|line| line.item.recipe.row == BASELINE) else {
        return Vec::new();
    };
    let Some(whole) = baseline.peak_memory_bytes else {
        return Vec::new();
    };
    let others = lines.iter().filter(|line| line.item.recipe.row != BASELINE);
    let bar = |line: &Line<'_>| {
        Some(RatioBar {
            name: format!("{} ({})", line.item.recipe.words(), line.row),
            ratio: line.peak_memory_bytes?.mean / whole.mean,
            bound: line.paper.gigabytes.zip(baseline.paper.gigabytes).map(|(a, b)| a / b),
        })
    };
    others.filter_map(bar).collect()
}

//! The figures of a run, from its records, its weights and the test images.

mod prototypes;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use noprop_data::{Split, picked};
use noprop_method::{
    Integration, MethodKind, NoiseLevels, Sampler, ScheduleSource, Solver, classify,
};
use noprop_plot::{
    AccuracyCurve, ConfusionMatrix, DenoisingPath, Figure, LossCurves, PathSample,
    PerBlockAccuracy, Picture, Sample, SampleGrid, ScheduleFigure, Series, SeriesAxes,
    SeriesFigure, save,
};
use noprop_train::{Evaluation, Event, accuracies, evaluate};

use crate::error::{Context, Result};
use crate::eval_images::EvalImages;
use crate::kept::Moved;
use crate::progress::Progress;
use crate::reproduce::words::counted;
use crate::trained::Trained;

/// Images in the grid of random test samples.
const GRID: usize = 40;
const GRID_COLUMNS: usize = 10;
/// Images whose path through the blocks is drawn.
const PATHS: usize = 3;
/// Test images that are classified with each number of steps.
const STEPS_IMAGES: usize = 1000;
/// Numbers of steps that are tried where time is continuous.
const STEPS: [u32; 9] = [2, 5, 10, 20, 50, 100, 200, 500, 1000];

/// Draws every figure of a run into its `figures/`, and returns their paths. Where time is continuous this takes thousands of steps of
/// a solver.
///
/// # Errors
/// If the run cannot be opened, its test images are not those that it was started with, or a figure cannot be written.
pub fn plot(
    run: &Path,
    moved: &Moved,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>> {
    let trained = Trained::open(run, device)?;
    let own = EvalImages::unchanged(&trained, moved, progress)?;
    let images = trained.experiment.seen(&own.part.images)?.to_device(device)?;
    let sampler = trained.experiment.setup.sampler();
    let test = evaluate(&trained.network, &*trained.method, &images, &sampler)?;
    let mut figures = draw(&trained, &images, &test)?;
    if let Some(figure) = steps(&trained, &images)? {
        figures.extend(save(&figure, &trained.run.figures().join("accuracy-by-steps"))?);
    }
    Ok(figures)
}

/// Draws the figures that a training ends with into the run's `figures/`, and returns their paths.
pub(crate) fn draw(trained: &Trained, images: &Split, test: &Evaluation) -> Result<Vec<PathBuf>> {
    let folder = trained.run.figures();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let mut gallery = Gallery { folder: &folder, written: Vec::new() };
    let dataset = trained.experiment.setup.dataset.name();
    records(trained, test, &mut gallery)?;
    if let Some(figure) = schedule(trained)? {
        gallery.add("schedule", &figure)?;
    }
    if let Some(figure) = prototypes::figure(trained)? {
        gallery.add("prototypes", &figure)?;
    }
    let chain = test.per_block.len() > 1;
    if chain {
        let title = format!(
            "What each block inside the chain gets right: {dataset}, {} test images",
            test.total
        );
        let (per_block, whole_chain) = (test.per_block.clone(), test.accuracy());
        gallery.add("accuracy-by-block", &PerBlockAccuracy { title, per_block, whole_chain })?;
    }
    let class_names = trained.experiment.images.class_names.clone();
    gallery.add(
        "confusion",
        &ConfusionMatrix {
            title: format!("Which class is taken for which: {dataset} test images"),
            class_names: class_names.clone(),
            counts: test.confusion.clone(),
        },
    )?;
    let rows = picked(trained.experiment.setup.seed, images.len(), GRID);
    gallery.add("samples", &samples(trained, images, test, &rows)?)?;
    if chain {
        gallery.add("denoising", &paths(trained, images, test, &rows)?)?;
    }
    Ok(gallery.written)
}

struct Gallery<'a> {
    folder: &'a Path,
    written: Vec<PathBuf>,
}

impl Gallery<'_> {
    fn add(&mut self, name: &str, figure: &impl Figure) -> Result<()> {
        self.written.extend(save(figure, &self.folder.join(name))?);
        Ok(())
    }
}

/// Loss and accuracy over epochs, as far as they were recorded.
fn records(trained: &Trained, test: &Evaluation, gallery: &mut Gallery<'_>) -> Result<()> {
    let mut validation = Vec::new();
    let mut best = 1;
    let mut losses: Vec<Series> = Vec::new();
    for event in trained.events()? {
        let Event::Epoch { epoch, losses: means, validation_accuracy, best_epoch, .. } = event
        else {
            continue;
        };
        validation.push(validation_accuracy);
        best = best_epoch;
        for mean in
            means.into_iter().filter(|mean| matches!(mean.part, noprop_method::Part::Block(_)))
        {
            let name = mean.part.to_string().replace("block.", "block ");
            let point = (f64::from(epoch), mean.error);
            match losses.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => losses.push(Series { name, points: vec![point] }),
            }
        }
    }
    if validation.is_empty() {
        return Ok(());
    }
    let dataset = trained.experiment.setup.dataset.name();
    // Back-propagation has no loss by block.
    if !losses.is_empty() {
        let (guess, y_label) = if trained.experiment.setup.method == MethodKind::FM {
            ("way to the label", "mean squared error of the velocity")
        } else {
            ("label", "mean squared distance to the clean embedding")
        };
        gallery.add(
            "loss",
            &LossCurves {
                title: format!("How well each block guesses the {guess}: {dataset}"),
                y_label: y_label.into(),
                series: losses,
            },
        )?;
    }
    gallery.add(
        "accuracy",
        &AccuracyCurve {
            title: format!("Accuracy while training: {dataset}"),
            validation,
            best_epoch: best as usize,
            test: Some(test.accuracy()),
        },
    )
}

/// The noise schedule, if the method has one.
fn schedule(trained: &Trained) -> Result<Option<ScheduleFigure>> {
    /// The levels at which a learned schedule is drawn.
    const LEVELS: usize = 50;
    let Some(NoiseLevels { schedule, weights }) =
        trained.method.noise_levels(&trained.network, LEVELS)?
    else {
        return Ok(None);
    };
    let title = match trained.method.needs().schedule {
        ScheduleSource::Network => format!("The learned schedule, at {LEVELS} levels"),
        ScheduleSource::Method => {
            let kind = trained.experiment.setup.schedule;
            format!("The {kind} schedule, T = {}", schedule.steps())
        }
    };
    Ok(Some(ScheduleFigure {
        title,
        alpha_bar: schedule.alpha_bars().to_vec(),
        snr: (0..=schedule.steps()).map(|t| schedule.snr(t)).collect(),
        weights,
    }))
}

/// The accuracy of each solver against its steps, on some of the test images, where time is continuous. It takes thousands of steps,
/// so a training does not end with it.
fn steps(trained: &Trained, images: &Split) -> Result<Option<SeriesFigure>> {
    let config = &trained.experiment.setup;
    let Some(partition) = trained.method.partition() else {
        return Ok(None);
    };
    let rows = picked(config.seed, images.len(), STEPS_IMAGES);
    let chosen = images.select(&rows)?;
    let fitting = STEPS.into_iter().filter(|&steps| partition.all_have_a_step(steps));
    let steps: Vec<NonZeroU32> = fitting.filter_map(NonZeroU32::new).collect();
    let mut series = Vec::new();
    let mut solvers = config.method.solvers.to_vec();
    // The order of the figures in docs/results.md.
    solvers.sort_by_key(|&solver| solver == Solver::Posterior);
    for solver in solvers {
        let sampler = |&steps: &NonZeroU32| {
            let integration = Some(Integration { solver, steps });
            Sampler { integration, ..config.sampler() }
        };
        let samplers: Vec<Sampler> = steps.iter().map(sampler).collect();
        let found = accuracies(&trained.network, &*trained.method, &chosen, &samplers)?;
        let points = steps.iter().map(|steps| f64::from(steps.get())).zip(found).collect();
        series.push(Series { name: solver.to_string(), points });
    }
    let (method, dataset) = (config.method, config.dataset.name());
    let title =
        format!("Accuracy against steps: {method} on {dataset}, {} test images", rows.len());
    Ok(Some(SeriesFigure { title, axes: SeriesAxes::AccuracyOverSteps, series }))
}

fn samples(
    trained: &Trained,
    images: &Split,
    test: &Evaluation,
    rows: &[u32],
) -> Result<SampleGrid> {
    let truth = images.labels.to_vec1::<u32>()?;
    let sample = |&row: &u32| {
        let index = row as usize;
        Ok(Sample {
            picture: picture(images, row)?,
            predicted: test.predictions.get(index).copied().unwrap_or_default() as usize,
            truth: truth.get(index).copied().unwrap_or_default() as usize,
        })
    };
    let samples: Vec<Sample> = rows.iter().map(sample).collect::<Result<_>>()?;
    let wrong = samples.iter().filter(|sample| sample.predicted != sample.truth).count();
    let wrong = match wrong {
        0 => "no wrong answer".to_owned(),
        _ => format!("{} framed", counted(wrong, "wrong answer")),
    };
    let count = counted(samples.len(), "random test image");
    Ok(SampleGrid {
        // The name of the data set is last: if it is too long for the figure, nothing else is lost.
        title: format!("{count}, {wrong}: {}", trained.experiment.setup.dataset.name()),
        class_names: trained.experiment.images.class_names.clone(),
        samples,
        columns: GRID_COLUMNS,
    })
}

/// The paths of a few of `rows`, images that the network gets wrong first: there the blocks disagree.
fn paths(
    trained: &Trained,
    images: &Split,
    test: &Evaluation,
    rows: &[u32],
) -> Result<DenoisingPath> {
    let truth = images.labels.to_vec1::<u32>()?;
    let wrong = (0u32..)
        .zip(test.predictions.iter().zip(&truth))
        .filter(|(_, (predicted, truth))| predicted != truth)
        .map(|(row, _)| row);
    let wrong: Vec<u32> = wrong.take(PATHS - 1).collect();
    let others = rows.iter().filter(|row| !wrong.contains(row));
    let chosen: Vec<u32> = wrong.iter().chain(others).take(PATHS).copied().collect();
    let (pictures, _) = images.batch(&chosen)?;
    let sampler = trained.experiment.setup.sampler();
    let answer = classify(&trained.network, &*trained.method, &pictures, &chosen, &sampler)?;
    let per_block: Vec<Vec<Vec<f32>>> =
        answer.per_block.iter().map(Tensor::to_vec2).collect::<candle_core::Result<_>>()?;
    let sample = |(index, &row): (usize, &u32)| {
        let probabilities = per_block
            .iter()
            .filter_map(|block| block.get(index))
            .map(|classes| classes.iter().copied().map(f64::from).collect())
            .collect();
        let truth = truth.get(row as usize).copied().unwrap_or_default() as usize;
        Ok(PathSample { picture: picture(images, row)?, truth, probabilities })
    };
    Ok(DenoisingPath {
        title: paths_title(wrong.len(), chosen.len() - wrong.len()),
        class_names: trained.experiment.images.class_names.clone(),
        samples: chosen.iter().enumerate().map(sample).collect::<Result<_>>()?,
    })
}

/// The title of the paths: it counts the images that are drawn.
fn paths_title(wrong: usize, random: usize) -> String {
    let wrong = match wrong {
        0 => "no answer is wrong".to_owned(),
        _ => counted(wrong, "wrong answer"),
    };
    let random = match random {
        0 => String::new(),
        _ => format!(", {}", counted(random, "random image")),
    };
    format!("How the blocks make up their minds: {wrong}{random}")
}

/// An image of a split as bytes, channels of a pixel together, as it was before normalisation.
fn picture(images: &Split, row: u32) -> Result<Picture> {
    let (channels, height, width) = images.image_shape()?;
    let planes = images.picture(row)?;
    let plane = height * width;
    let bytes = (0..plane).flat_map(|at| planes.iter().skip(at).step_by(plane)).copied().collect();
    let pixels = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    Ok(Picture::new(pixels(width), pixels(height), pixels(channels), bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network without a wrong answer has none to show.
    #[test]
    fn the_title_counts_what_is_shown() {
        let title = |wrong, random| {
            paths_title(wrong, random).replace("How the blocks make up their minds: ", "")
        };
        assert_eq!(title(2, 1), "2 wrong answers, 1 random image");
        assert_eq!(title(1, 2), "1 wrong answer, 2 random images");
        assert_eq!(title(0, 3), "no answer is wrong, 3 random images");
        assert_eq!(title(2, 0), "2 wrong answers");
    }
}

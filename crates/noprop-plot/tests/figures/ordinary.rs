//! Figures of ordinary data: they show their words, a figure of nothing is an error, and the same data give the same bytes.

use std::path::Path;

use noprop_plot::{DenoisingPath, PlotError};

use super::*;
use SeriesAxes::{
    AccuracyByNumberOfBlocks, AccuracyByWidth, AccuracyOverSteps, AccuracyOverTime, ErrorOverTime,
};

/// A figure without its title, its axes or its names explains nothing.
#[test]
fn figures_show_their_words() {
    let course = |name: &str, points: &dyn Fn(f64) -> f64| {
        let times = [1., 2., 5., 10., 20., 50., 100., 200., 500., 1000.];
        line(name, &times.map(|time| (time, points(time))))
    };
    let (fast, slow) = (course("dt, onehot", &|t| 0.1 / t), course("fm, onehot", &|t| 0.2 / t));
    let (euler, heun) = (course("euler", &|t| 0.98 - 0.1 / t), course("heun", &|t| 0.99 - 0.1 / t));
    let few = line("shared", &[1., 2., 5., 10.].map(|count| (count, 0.9 + 0.001 * count)));
    let ours = [dot(0.9906, Some(0.0004)), dot(0.9937, Some(0.0002))];
    let rows = [
        row("dt-onehot", &ours, Some(0.9947)),
        row("fm-onehot", &[dot(0.9916, None), None], Some(0.9921)),
        row("adjoint-onehot", &[None, None], None),
    ];
    let ratios = vec![
        bar("one step", 0.2, Some(0.6)),
        bar("one epoch", 0.8, Some(0.45)),
        bar("memory", 1.7, None),
        bar("awkward", f64::NAN, Some(1.0)),
    ];
    let levels: Vec<f64> = (0..=10).map(|t| f64::from(t) / 10.01).collect();
    let snr: Vec<f64> = levels.iter().map(|a| a / (1.0 - a)).collect();
    let weights: Vec<f64> = (1..=10).map(|t| f64::from(t).exp()).collect();
    let confused = confusion(plain(10), |a, b| if a == b { 900 } else { (a * b % 7) as u64 });
    let grid = |names: [&str; 2]| samples(names.map(str::to_owned).into(), 23, &picture(28, 1));
    let tall = Picture::new(2, 3, 3, (0..18).map(|i| i * 14).collect()).unwrap();
    for (svg, words) in [
        (drawn("loss", &block_losses(10, 30)), "Loss|epoch|error|block 1|block 10"),
        (
            drawn("errors", &lines(ErrorOverTime, &[fast, slow])),
            "Answers|training time in seconds|dt, onehot",
        ),
        (
            drawn("accuracies", &lines(AccuracyOverTime, &[euler.clone(), heun.clone()])),
            "training time without validation, in seconds|euler",
        ),
        (
            drawn("number-of-blocks", &lines(AccuracyByNumberOfBlocks, std::slice::from_ref(&few))),
            "number of blocks T|shared|1|10",
        ),
        (drawn("width", &lines(AccuracyByWidth, &[few])), "width W of the network|shared|1|2|5|10"),
        (
            drawn("steps", &lines(AccuracyOverSteps, &[euler, heun])),
            "Answers|steps of the solver|euler|heun|1000",
        ),
        (
            drawn("dots", &dots(&rows)),
            "Ours beside theirs|dt-onehot|stochastic|the paper|99.0 %|± one standard deviation",
        ),
        (drawn("ratio-bars", &bars(ratios)), "Ours over theirs|one step|0.20|1.70"),
        (
            drawn("accuracy", &curve(&[0.91, 0.97, 0.985, 0.99], 4, Some(0.9936))),
            "test 99.36 %|kept: epoch 4",
        ),
        (
            drawn("schedule", &schedule(&levels, &snr, &weights)),
            "level t|Weight in the loss|step t",
        ),
        (drawn("prototypes", &prototypes(plain(10), &picture(28, 1))), "class 9|learned|grey 0"),
        (drawn("samples", &grid(["2", "7"])), "2 (is 7)"),
        (drawn("samples-words", &grid(["automobile", "hovercraft"])), "automobile|is hovercraft"),
        (drawn("no-columns", &SampleGrid { columns: 0, ..samples(plain(1), 1, &tall) }), "class 0"),
        (drawn("confusion", &confused), "wrong answers: 200 of 9200"),
        (drawn("blocks", &blocks(&[0.98, 0.99, 0.992, 0.9935], 0.9936)), "whole chain 99.36 %"),
        (drawn("denoising", &path(plain(10), 10)), "block 1|each column is a block"),
    ] {
        for words in words.split('|') {
            assert!(svg.shows(words), "{words}: {:?}", svg.texts());
        }
    }
}

/// The words name nothing that is not in the figure.
#[test]
fn values_that_are_absent_have_no_name() {
    let rows = [
        row("fm-onehot", &[dot(0.5, None), None], None),
        row("ct-onehot", &[dot(0.6, Some(f64::NAN)), None], None),
    ];
    let svg = drawn("dots-ours", &dots(&rows));
    assert!(!svg.shows("the paper") && !svg.shows("mean") && svg.shows("stochastic"));
    assert!(!svg.shows("standard deviation"));
}

/// A line through a number makes another number of it.
#[test]
fn no_line_runs_through_the_value_of_a_bar() {
    let ratios = [(0.28, 0.3), (0.32, 0.33), (0.95, 0.9), (1.98, 0.8), (0.9, 1.02)];
    let svg = drawn(
        "ratio-bars-close",
        &bars(ratios.iter().map(|(ratio, bound)| bar("step", *ratio, Some(*bound))).collect()),
    );
    for (ratio, _) in ratios {
        let value = format!("{ratio:.2}");
        let [left, top, right, bottom] =
            svg.of("text").find(|text| text.text == value).unwrap().bounds();
        for line in svg.of("polyline") {
            let points: Vec<(f64, f64)> = line.attributes["points"]
                .split_whitespace()
                .map(|point| point.split_once(',').unwrap())
                .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                .collect();
            let crosses = |(x, y0): (f64, f64), (_, y1): (f64, f64)| {
                (left..right).contains(&x) && y0 < bottom && y1 > top
            };
            assert!(!crosses(points[0], points[1]), "{value}: {points:?}");
        }
    }
}

/// An empty figure would look like a result.
#[test]
fn a_figure_of_nothing_is_an_error() {
    fn refused(figure: &impl Figure) {
        let dir = tempfile::tempdir().unwrap();
        let error = save(figure, &dir.path().join("none")).unwrap_err();
        assert!(matches!(error, PlotError::Empty { .. }), "{error}");
    }
    refused(&losses(Vec::new()));
    for axes in [
        ErrorOverTime,
        AccuracyOverTime,
        AccuracyOverSteps,
        AccuracyByNumberOfBlocks,
        AccuracyByWidth,
    ] {
        refused(&lines(axes, &[]));
    }
    refused(&dots(&[]));
    refused(&dots(&[row("bad", &[dot(f64::NAN, Some(f64::INFINITY))], Some(f64::NAN))]));
    refused(&bars(Vec::new()));
    refused(&curve(&[], 0, None));
    refused(&schedule(&[], &[], &[]));
    refused(&prototypes(Vec::new(), &picture(28, 1)));
    refused(&SampleGrid { samples: Vec::new(), ..samples(plain(1), 0, &picture(28, 1)) });
    refused(&confusion(Vec::new(), |_, _| 0));
    refused(&blocks(&[], 0.9936));
    refused(&DenoisingPath { samples: Vec::new(), ..path(plain(2), 1) });
}

/// Bytes of another size would be read as another picture.
#[test]
fn a_picture_that_is_none_is_refused() {
    assert!(Picture::new(2, 2, 1, vec![0; 5]).is_err());
    assert!(Picture::new(0, 2, 1, Vec::new()).is_err());
    assert!(Picture::new(u32::MAX, u32::MAX, 3, Vec::new()).is_err());
}

/// A figure in a repository must not change when nothing changed.
#[test]
fn the_same_data_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let files = save(&block_losses(5, 9), &dir.path().join(name)).unwrap();
        files.map(|file| std::fs::read(file).unwrap())
    };
    assert!(bytes("a") == bytes("b"));
}

/// A new PNG beside an old SVG would be two figures of one name.
#[test]
fn a_figure_that_cannot_be_saved_changes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let stem = dir.path().join("loss");
    let [png, svg] = save(&block_losses(1, 2), &stem).unwrap();
    let before = std::fs::read(&png).unwrap();
    // A folder is not replaced.
    std::fs::remove_file(&svg).unwrap();
    std::fs::create_dir(&svg).unwrap();
    let error = save(&block_losses(3, 4), &stem).unwrap_err();
    assert!(error.to_string().contains("loss.svg"), "{error}");
    assert!(std::fs::read(&png).unwrap() == before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// The user chose the place, so the error names it.
#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = save(&block_losses(1, 2), Path::new("/nowhere/at/all/loss")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all/loss.png"), "{error}");
}

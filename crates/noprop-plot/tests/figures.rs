//! Every figure, in ordinary and in awkward cases: it is drawn, or the error gives the reason, and the same data give the same bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use noprop_plot::{
    AccuracyCurve, AccuracyDots, AccuracyOverSteps, AccuracyOverTime, ConfusionMatrix,
    DenoisingPath, Dot, DotRow, ErrorOverTime, Figure, LossCurves, PathSample, PerBlockAccuracy,
    Picture, PlotError, Prototype, Prototypes, RatioBar, RatioBars, Sample, SampleGrid,
    ScheduleFigure, Series, save,
};

/// Draws into a fresh folder and returns the SVG's text; NOPROP_GALLERY=DIR keeps the figures for a person to look at.
fn drawn(name: &str, figure: &impl Figure) -> Result<String, PlotError> {
    let temporary = tempfile::tempdir().unwrap();
    let gallery = std::env::var_os("NOPROP_GALLERY").map(std::path::PathBuf::from);
    let folder = gallery.as_deref().unwrap_or(temporary.path());
    let [png, svg] = save(figure, &folder.join(name))?;
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(png).unwrap()));
    let info = decoder.read_info().unwrap();
    assert_eq!((info.info().width, info.info().height), figure.size(), "{name}");
    Ok(std::fs::read_to_string(svg).unwrap())
}

fn losses(blocks: usize, epochs: usize) -> LossCurves {
    let series = (0..blocks).map(|block| Series {
        name: format!("block {}", block + 1),
        points: (0..epochs)
            .map(|e| ((e + 1) as f64, (1.0 + block as f64) / (1.0 + e as f64).powi(2)))
            .collect(),
    });
    LossCurves { title: "Loss".into(), y_label: "error".into(), series: series.collect() }
}

fn picture() -> Picture {
    let bytes = (0..28 * 28).map(|i| (i % 251) as u8).collect();
    Picture::new(28, 28, 1, bytes).unwrap()
}

#[test]
fn loss_curves() {
    let svg = drawn("loss", &losses(10, 30)).unwrap();
    for words in ["Loss", "epoch", "error", "block 1", "block 10"] {
        assert!(svg.contains(words), "{words}");
    }
    drawn("loss-one-epoch", &losses(10, 1)).unwrap();
    drawn("loss-one-block", &losses(1, 5)).unwrap();
    drawn("loss-forty-blocks", &losses(40, 100)).unwrap();
    let mut awkward = losses(3, 5);
    awkward.series[0].points[2].1 = f64::NAN;
    awkward.series[1].points[3].1 = f64::INFINITY;
    awkward.series[2].points.iter_mut().for_each(|point| point.1 = 0.0);
    drawn("loss-awkward", &awkward).unwrap();
    assert!(matches!(drawn("none", &losses(0, 0)), Err(PlotError::Empty { .. })));
}

#[test]
fn error_over_time() {
    let course = |name: &str, slope: f64| Series {
        name: name.into(),
        points: (1..6).map(|e| (10.0 * f64::from(e), 0.02 / f64::from(e) * slope)).collect(),
    };
    let title = "Wrong answers".to_owned();
    let series = vec![course("dt, onehot, shared", 1.0), course("fm, onehot", 1.4)];
    let svg = drawn("error-over-time", &ErrorOverTime { title: title.clone(), series }).unwrap();
    for words in ["Wrong answers", "training time in seconds", "dt, onehot, shared"] {
        assert!(svg.contains(words), "{words}");
    }
    let empty = drawn("none", &ErrorOverTime { title, series: Vec::new() });
    assert!(matches!(empty, Err(PlotError::Empty { .. })));
}

#[test]
fn accuracy_over_time() {
    let course = |name: &str, last: f64| Series {
        name: name.into(),
        points: (1..6).map(|e| (10.0 * f64::from(e), last - 0.1 / f64::from(e))).collect(),
    };
    let title = "Accuracy against time".to_owned();
    let series = vec![course("ct-onehot", 0.98), course("fm-onehot", 0.99)];
    let svg = drawn("accuracy-over-time", &AccuracyOverTime { title: title.clone(), series });
    for words in ["training time in seconds", "ct-onehot"] {
        assert!(svg.as_ref().unwrap().contains(words), "{words}");
    }
    let one = vec![Series { name: "one epoch".into(), points: vec![(3.0, 0.5)] }];
    drawn("accuracy-over-time-one", &AccuracyOverTime { title: title.clone(), series: one })
        .unwrap();
    let empty = drawn("none", &AccuracyOverTime { title, series: Vec::new() });
    assert!(matches!(empty, Err(PlotError::Empty { .. })));
}

#[test]
fn accuracy_dots() {
    let dot = |accuracy, spread| Some(Dot { accuracy, spread });
    let row = |name: &str, dots, reported| DotRow { name: name.into(), dots, reported };
    let figure = |rows| AccuracyDots {
        title: "Ours beside theirs".into(),
        series: vec!["stochastic".into(), "mean".into()],
        reported: "the paper".into(),
        rows,
    };
    let rows = vec![
        row("dt-onehot", vec![dot(0.9906, Some(0.0004)), dot(0.9937, Some(0.0002))], Some(0.9947)),
        row("fm-onehot", vec![dot(0.9916, None), None], Some(0.9921)),
        row("adjoint-onehot", vec![None, None], None),
    ];
    let svg = drawn("accuracy-dots", &figure(rows.clone())).unwrap();
    for words in ["Ours beside theirs", "dt-onehot", "stochastic", "the paper", "99.0 %"] {
        assert!(svg.contains(words), "{words}");
    }
    // Values that are absent have no name in the figure.
    let ours = vec![row("fm-onehot", vec![dot(0.5, None), None], None)];
    let svg = drawn("accuracy-dots-ours", &figure(ours)).unwrap();
    assert!(!svg.contains("the paper") && !svg.contains("mean") && svg.contains("stochastic"));
    let bad = vec![row("bad", vec![dot(f64::NAN, Some(f64::INFINITY))], Some(f64::NAN))];
    for nothing in [Vec::new(), bad] {
        assert!(matches!(drawn("none", &figure(nothing)), Err(PlotError::Empty { .. })));
    }
    drawn("accuracy-dots-many", &figure(vec![rows[0].clone(); 50])).unwrap();
    drawn(
        "accuracy-dots-wide",
        &figure(vec![row("w", vec![dot(0.01, None), dot(1.0, None)], None)]),
    )
    .unwrap();
}

#[test]
fn accuracy_over_steps() {
    let series = |name: &str, best: f64, order: i32| Series {
        name: name.into(),
        points: [2., 5., 10., 20., 50., 100., 200., 500., 1000.]
            .map(|steps: f64| (steps, best - 0.1 / steps.powi(order)))
            .into(),
    };
    let title = "Accuracy against steps".to_owned();
    let figure = |series: Vec<Series>| AccuracyOverSteps { title: title.clone(), series };
    let lines =
        vec![series("posterior", 0.98, 1), series("euler", 0.985, 1), series("heun", 0.986, 2)];
    let svg = drawn("accuracy-over-steps", &figure(lines)).unwrap();
    for words in ["Accuracy against steps", "steps of the solver", "posterior", "heun", "1000"] {
        assert!(svg.contains(words), "{words}");
    }
    drawn("accuracy-over-steps-flat", &figure(vec![series("euler", 0.5, 30)])).unwrap();
    let one = Series { name: "one".into(), points: vec![(2.0, 1.0), (0.0, 0.5), (5.0, f64::NAN)] };
    drawn("accuracy-over-steps-one", &figure(vec![one])).unwrap();
    assert!(matches!(drawn("none", &figure(Vec::new())), Err(PlotError::Empty { .. })));
}

#[test]
fn ratio_bars() {
    let bar = |name: &str, ratio, bound| RatioBar { name: name.into(), ratio, bound };
    let bars = vec![
        bar("one step", 0.2, Some(0.6)),
        bar("one epoch", 0.8, Some(0.45)),
        bar("memory", 1.7, None),
        bar("awkward", f64::NAN, Some(1.0)),
    ];
    let figure = RatioBars {
        title: "Ours over theirs".into(),
        other: "back-propagation".into(),
        bound: "the paper's share, on a GPU".into(),
        bars,
    };
    let svg = drawn("ratio-bars", &figure).unwrap();
    for words in ["Ours over theirs", "one step", "0.20", "1.70"] {
        assert!(svg.contains(words), "{words}");
    }
    let none = RatioBars { bars: Vec::new(), ..figure };
    assert!(matches!(drawn("none", &none), Err(PlotError::Empty { .. })));
}

#[test]
fn accuracy_curve() {
    let figure = |validation: Vec<f64>| AccuracyCurve {
        title: "Accuracy".into(),
        best_epoch: validation.len(),
        validation,
        test: Some(0.9936),
    };
    let svg = drawn("accuracy", &figure(vec![0.91, 0.97, 0.985, 0.99])).unwrap();
    assert!(svg.contains("test 99.36 %") && svg.contains("kept: epoch 4"));
    drawn("accuracy-one-epoch", &figure(vec![0.5])).unwrap();
    drawn("accuracy-perfect", &figure(vec![1.0; 12])).unwrap();
    drawn("accuracy-awkward", &figure(vec![f64::NAN, 0.5])).unwrap();
    let nothing = AccuracyCurve { test: None, ..figure(Vec::new()) };
    assert!(matches!(drawn("none", &nothing), Err(PlotError::Empty { .. })));
}

#[test]
fn schedule() {
    let alpha_bar: Vec<f64> = (0..=10).map(|t| f64::from(t) / 10.01).collect();
    let snr = alpha_bar.iter().map(|a| a / (1.0 - a)).collect();
    let weights = (1..=10).map(|t| f64::from(t).exp()).collect();
    let title = "A schedule".into();
    drawn("schedule", &ScheduleFigure { title, alpha_bar, snr, weights }).unwrap();
}

#[test]
fn prototypes() {
    let class =
        |name: String| Prototype { name, start: picture(), learned: picture(), change: picture() };
    let figure = |classes: usize| Prototypes {
        title: "Class embeddings".into(),
        note: "change: grey 0".into(),
        classes: (0..classes).map(|c| class(format!("class {c}"))).collect(),
    };
    let svg = drawn("prototypes", &figure(10)).unwrap();
    assert!(svg.contains("class 9") && svg.contains("learned") && svg.contains("grey 0"));
    drawn("prototypes-many", &figure(103)).unwrap();
    assert!(matches!(drawn("none", &figure(0)), Err(PlotError::Empty { .. })));
}

#[test]
fn sample_grid() {
    let sample = |predicted, truth| Sample { picture: picture(), predicted, truth };
    let figure = |names: &[&str], samples| SampleGrid {
        title: "Samples".into(),
        class_names: names.iter().map(|&name| name.into()).collect(),
        samples,
        columns: 10,
    };
    let mut samples = vec![sample(1, 1); 23];
    samples[4] = sample(0, 1);
    let svg = drawn("samples", &figure(&["2", "7"], samples.clone())).unwrap();
    assert!(svg.contains("2 (is 7)"));
    let svg = drawn("samples-words", &figure(&["automobile", "hovercraft"], samples)).unwrap();
    assert!(svg.contains("automobile") && svg.contains("is hovercraft"));
    let colour = Picture::new(2, 3, 3, (0..18).map(|i| i * 14).collect()).unwrap();
    let samples = vec![Sample { picture: colour, predicted: 0, truth: 0 }];
    drawn("samples-colour", &SampleGrid { columns: 0, ..figure(&["a"], samples) }).unwrap();
    assert!(Picture::new(2, 2, 1, vec![0; 5]).is_err());
    assert!(Picture::new(0, 2, 1, Vec::new()).is_err());
    assert!(Picture::new(u32::MAX, u32::MAX, 3, Vec::new()).is_err());
}

#[test]
fn confusion_matrix() {
    let figure = |classes: usize, name: &str| ConfusionMatrix {
        title: "Confusion".into(),
        class_names: (0..classes).map(|class| format!("{name}{class}")).collect(),
        counts: (0..classes)
            .map(|row| {
                (0..classes)
                    .map(|column| if row == column { 900 } else { (row * column % 7) as u64 })
                    .collect()
            })
            .collect(),
    };
    drawn("confusion", &figure(10, "")).unwrap();
    drawn("confusion-long-names", &figure(10, "class_number_")).unwrap();
    drawn("confusion-hundred", &figure(100, "class ")).unwrap();
    drawn("confusion-two", &figure(2, "")).unwrap();
    assert!(drawn("none", &figure(0, "")).is_err());
}

#[test]
fn per_block_accuracy() {
    let figure = |per_block: Vec<f64>| PerBlockAccuracy {
        title: "Blocks".into(),
        per_block,
        whole_chain: 0.9936,
    };
    drawn("blocks", &figure(vec![0.98, 0.99, 0.992, 0.9935, 0.9936])).unwrap();
    drawn("blocks-one", &figure(vec![0.9936])).unwrap();
    drawn("blocks-many", &figure((0..100).map(|t| 0.9 + f64::from(t) * 1e-3).collect())).unwrap();
    assert!(drawn("none", &figure(Vec::new())).is_err());
}

#[test]
fn denoising_path() {
    let figure = |blocks: usize, classes: usize| DenoisingPath {
        title: "Path".into(),
        class_names: (0..classes).map(|class| format!("class {class}")).collect(),
        samples: vec![
            PathSample {
                picture: picture(),
                truth: 1,
                probabilities: (0..blocks)
                    .map(|block| {
                        let sure = (block + 1) as f64 / blocks as f64;
                        (0..classes)
                            .map(|class| if class == 1 { sure } else { (1.0 - sure) / 3.0 })
                            .collect()
                    })
                    .collect(),
            };
            2
        ],
    };
    drawn("denoising", &figure(10, 10)).unwrap();
    drawn("denoising-forty-blocks", &figure(40, 10)).unwrap();
    drawn("denoising-hundred-classes", &figure(10, 100)).unwrap();
    drawn("denoising-thousand-blocks", &figure(1000, 3)).unwrap();
}

/// A figure in a repository must not change when nothing changed.
#[test]
fn the_same_data_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let files = save(&losses(5, 9), &dir.path().join(name)).unwrap();
        files.map(|file| std::fs::read(file).unwrap())
    };
    assert!(bytes("a") == bytes("b"));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = save(&losses(1, 2), Path::new("/nowhere/at/all/loss")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all/loss.png"), "{error}");
}

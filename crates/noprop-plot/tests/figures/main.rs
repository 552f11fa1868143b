//! Every figure, from ordinary and from hard data: it is drawn, or the error gives the reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hard_data;
mod ordinary;
mod svg;

use noprop_plot::{
    AccuracyCurve, AccuracyDots, ConfusionMatrix, DenoisingPath, Dot, DotRow, Figure, LossCurves,
    PathSample, PerBlockAccuracy, Picture, Prototype, Prototypes, RatioBar, RatioBars, Sample,
    SampleGrid, ScheduleFigure, Series, SeriesAxes, SeriesFigure, save,
};
use svg::{Element, Svg};

/// Draws a figure and checks what every figure must fulfil: its PNG has its size, its SVG is well-formed, no text leaves it, and
/// no text overlaps another. NOPROP_GALLERY=DIR keeps the figures for a person to look at.
fn drawn(name: &str, figure: &impl Figure) -> Svg {
    let temporary = tempfile::tempdir().unwrap();
    let gallery = std::env::var_os("NOPROP_GALLERY").map(std::path::PathBuf::from);
    let folder = gallery.as_deref().unwrap_or(temporary.path());
    let [png, svg] = save(figure, &folder.join(name)).unwrap();
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(png).unwrap()));
    let reader = decoder.read_info().unwrap();
    assert_eq!((reader.info().width, reader.info().height), figure.size(), "{name}");
    let svg = Svg::parse(&std::fs::read_to_string(svg).unwrap());
    let (width, height) = svg.size();
    assert!(width <= 2000.0 && height <= 8000.0, "{name}: {width} x {height}");
    let texts: Vec<(&Element, [f64; 4])> =
        svg.of("text").map(|text| (text, text.bounds())).collect();
    for (index, (text, [left, top, right, bottom])) in texts.iter().enumerate() {
        let inside = *left >= -1.0 && *top >= 0.0 && *right <= width + 1.0 && *bottom <= height;
        assert!(inside, "{name}: {:?} at {left}, {top}, {right}, {bottom}", text.text);
        for (other, [l, t, r, b]) in &texts[..index] {
            let apart =
                *right <= l + 1.0 || r - 1.0 <= *left || *bottom <= t + 1.0 || b - 1.0 <= *top;
            assert!(apart, "{name}: {:?} overlaps {:?}", text.text, other.text);
        }
    }
    svg
}

fn line(name: &str, points: &[(f64, f64)]) -> Series {
    Series { name: name.into(), points: points.to_vec() }
}

fn lines(axes: SeriesAxes, series: &[Series]) -> SeriesFigure {
    SeriesFigure { title: "Answers".into(), axes, series: series.to_vec() }
}

fn losses(series: Vec<Series>) -> LossCurves {
    LossCurves { title: "Loss".into(), y_label: "error".into(), series }
}

/// The losses of `blocks` blocks in `epochs` epochs.
fn block_losses(blocks: usize, epochs: usize) -> LossCurves {
    let loss = |block: usize, epoch: usize| block as f64 / (epoch as f64).powi(2);
    let course = |block| -> Vec<_> {
        (1..=epochs).map(|epoch| (epoch as f64, loss(block, epoch))).collect()
    };
    losses((1..=blocks).map(|block| line(&format!("block {block}"), &course(block))).collect())
}

fn curve(validation: &[f64], best_epoch: usize, test: Option<f64>) -> AccuracyCurve {
    AccuracyCurve { title: "Accuracy".into(), validation: validation.to_vec(), best_epoch, test }
}

fn blocks(per_block: &[f64], whole_chain: f64) -> PerBlockAccuracy {
    PerBlockAccuracy { title: "Blocks".into(), per_block: per_block.to_vec(), whole_chain }
}

fn schedule(alpha_bar: &[f64], snr: &[f64], weights: &[f64]) -> ScheduleFigure {
    let [alpha_bar, snr, weights] = [alpha_bar, snr, weights].map(<[f64]>::to_vec);
    ScheduleFigure { title: "Schedule".into(), alpha_bar, snr, weights }
}

fn dot(accuracy: f64, spread: Option<f64>) -> Option<Dot> {
    Some(Dot { accuracy, spread })
}

fn row(name: &str, dots: &[Option<Dot>], reported: Option<f64>) -> DotRow {
    DotRow { name: name.into(), dots: dots.to_vec(), reported }
}

fn dots(rows: &[DotRow]) -> AccuracyDots {
    AccuracyDots {
        title: "Ours beside theirs".into(),
        series: vec!["stochastic".into(), "mean".into()],
        reported: "the paper".into(),
        rows: rows.to_vec(),
    }
}

fn bar(name: &str, ratio: f64, bound: Option<f64>) -> RatioBar {
    RatioBar { name: name.into(), ratio, bound }
}

fn bars(bars: Vec<RatioBar>) -> RatioBars {
    RatioBars {
        title: "Ours over theirs".into(),
        other: "back-propagation".into(),
        bound: "the paper's share, on a GPU".into(),
        bars,
    }
}

fn picture(side: u32, channels: u32) -> Picture {
    let shade = |at: u32| (at / channels % side * 255 / side) as u8;
    Picture::new(side, side, channels, (0..side * side * channels).map(shade).collect()).unwrap()
}

/// Names of `count` classes.
fn plain(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

fn confusion(class_names: Vec<String>, count: impl Fn(usize, usize) -> u64) -> ConfusionMatrix {
    let classes = class_names.len();
    let row = |truth| (0..classes).map(|predicted| count(truth, predicted)).collect();
    let counts = (0..classes).map(row).collect();
    ConfusionMatrix { title: "Confusion".into(), class_names, counts }
}

fn path(class_names: Vec<String>, blocks: usize) -> DenoisingPath {
    let classes = class_names.len();
    let sample = |truth: usize| PathSample {
        picture: picture(28, 1),
        truth,
        probabilities: (1..=blocks)
            .map(|block| {
                let sure = block as f64 / blocks as f64;
                let rest = (1.0 - sure) / (classes - 1).max(1) as f64;
                (0..classes).map(|class| if class == truth { sure } else { rest }).collect()
            })
            .collect(),
    };
    let samples = vec![sample(0), sample(classes / 2), sample(classes - 1)];
    DenoisingPath { title: "Path".into(), class_names, samples }
}

/// Images of which every third is answered wrongly.
fn samples(class_names: Vec<String>, count: usize, picture: &Picture) -> SampleGrid {
    let classes = class_names.len();
    let sample = |index: usize| Sample {
        picture: picture.clone(),
        predicted: index % classes,
        truth: if index.is_multiple_of(3) { (index + 1) % classes } else { index % classes },
    };
    let samples = (0..count).map(sample).collect();
    SampleGrid { title: "Samples".into(), class_names, samples, columns: 10 }
}

fn prototypes(class_names: Vec<String>, picture: &Picture) -> Prototypes {
    let class = |name| Prototype {
        name,
        start: picture.clone(),
        learned: picture.clone(),
        change: picture.clone(),
    };
    let classes = class_names.into_iter().map(class).collect();
    Prototypes { title: "Prototypes".into(), note: "grey 0".into(), classes }
}

//! Figures of hard data: names in any script and of any length, very many classes, runs or blocks, one epoch, no mistakes,
//! NaN and infinity. Each figure stays readable, and names what it leaves out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod svg;

use std::collections::HashSet;

use noprop_plot::{
    AccuracyCurve, AccuracyDots, AccuracyOverSteps, AccuracyOverTime, ConfusionMatrix,
    DenoisingPath, Dot, DotRow, ErrorOverTime, Figure, LossCurves, PathSample, PerBlockAccuracy,
    Picture, Prototype, Prototypes, RatioBar, RatioBars, Sample, SampleGrid, ScheduleFigure,
    Series, save,
};
use svg::{Element, Svg};

/// Draws a figure and checks what every figure must fulfil: its SVG is well-formed, no text leaves it, and no text overlaps
/// another. NOPROP_GALLERY=DIR keeps the figures for a person to look at.
fn drawn(name: &str, figure: &impl Figure) -> Svg {
    let temporary = tempfile::tempdir().unwrap();
    let gallery = std::env::var_os("NOPROP_GALLERY").map(std::path::PathBuf::from);
    let folder = gallery.as_deref().unwrap_or(temporary.path());
    let [_, path] = save(figure, &folder.join(name)).unwrap();
    let svg = Svg::parse(&std::fs::read_to_string(path).unwrap());
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

const BLUE: &str = "#0072B2";

/// Names of folders in many scripts, and malicious ones.
const NAMES: [&str; 14] = [
    "cat",
    "猫",
    "ネコ",
    "قطة",
    "🐈",
    "🐈 cat",
    "<script>alert('&\"')</script>",
    "\u{1b}[31mred\u{1b}[0m",
    "two\nlines\tand a tab",
    "\u{202e}backwards\u{0}",
    "",
    "cat",
    "cafe\u{301}",
    "]]>&amp;<!--",
];

/// Hard names, and more of 200 bytes with the same beginning.
fn names(count: usize) -> Vec<String> {
    let long = (NAMES.len()..).map(|index| format!("{}{index:04}", "longname".repeat(25)));
    NAMES.map(str::to_owned).into_iter().chain(long).take(count).collect()
}

fn picture(side: u32, channels: u32) -> Picture {
    let shade = |at: u32| (at / channels % side * 255 / side) as u8;
    Picture::new(side, side, channels, (0..side * side * channels).map(shade).collect()).unwrap()
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

/// The labels of classes that begin with a number.
fn numbers(texts: &[&str]) -> Vec<usize> {
    texts.iter().filter_map(|text| text.split(' ').next()?.parse().ok()).collect()
}

/// If no name is cut, none has a number.
#[test]
fn ordinary_names_stand_alone() {
    let names: Vec<String> = ["cat", "dog", "Größe"].map(str::to_owned).into();
    for svg in [
        drawn("plain-confusion", &confusion(names.clone(), |a, b| (a + b) as u64)),
        drawn("plain-path", &path(names.clone(), 4)),
        drawn("plain-samples", &samples(names.clone(), 12, &picture(28, 1))),
        drawn("plain-prototypes", &prototypes(names.clone(), &picture(28, 1))),
    ] {
        assert!(svg.texts().contains(&"Größe"), "{:?}", svg.texts());
    }
}

/// Every name that is cut has its number, so no two labels are the same.
#[test]
fn names_that_cannot_be_drawn_are_told_apart_by_number() {
    let names = names(16);
    let svg = drawn("names-confusion", &confusion(names.clone(), |a, b| (a * b % 5) as u64));
    let (rows, columns): (Vec<&Element>, _) = svg
        .of("text")
        .filter(|text| text.attributes["text-anchor"] == "end")
        .partition(|text| !text.attributes.contains_key("transform"));
    for labels in [rows, columns] {
        let labels: Vec<&str> = labels.iter().map(|label| label.text.as_str()).collect();
        assert_eq!(numbers(&labels), (0..16).collect::<Vec<_>>());
        assert_eq!((labels[0], labels[1], labels[10]), ("0 cat", "1", "10"));
        assert!(labels[5] == "5 … cat" && labels[14].starts_with("14 longname"), "{labels:?}");
    }
    let svg = drawn("names-path", &path(names.clone(), 6));
    assert!(svg.shows("11 cat") && svg.texts().contains(&"3"));
    let svg = drawn("names-samples", &samples(names.clone(), 16, &picture(28, 1)));
    assert!(svg.shows("0 cat") && svg.texts().contains(&"is 1"), "{:?}", svg.texts());
    let svg = drawn("names-prototypes", &prototypes(names, &picture(28, 1)));
    let labels = svg.texts();
    assert!((0..16).all(|number| numbers(&labels).contains(&number)), "{labels:?}");
}

/// Of a hundred and fifty classes, or a thousand, not all are named and drawn, and the figure states that.
#[test]
fn many_classes() {
    let mistakes = |a: usize, b: usize| match a.abs_diff(b) {
        0 => 50,
        7 if a.is_multiple_of(9) => a as u64,
        _ => 0,
    };
    for count in [150, 1000] {
        let plain: Vec<String> = (0..count).map(|class| format!("class {class}")).collect();
        for (kind, names) in [("plain", plain), ("hard", names(count))] {
            let svg =
                drawn(&format!("{count}-{kind}-confusion"), &confusion(names.clone(), mistakes));
            assert_eq!(
                svg.shows("the 50 of 1000 classes with the most frequent mistakes"),
                count == 1000
            );
            // Class 999 is most often mistaken for class 992, and class 8 never for another.
            let named = numbers(
                &svg.texts().iter().map(|t| t.trim_start_matches("class ")).collect::<Vec<_>>(),
            );
            assert!(named.len() >= 100, "{named:?}");
            if count == 1000 {
                assert!(named.contains(&999) && named.contains(&992) && !named.contains(&8));
            }
            let svg = drawn(&format!("{count}-{kind}-path"), &path(names.clone(), 10));
            assert!(svg.shows(&format!("of {count} classes the 20 likeliest")));
            // The true class of the last strip.
            let last = (count - 1).to_string();
            assert!(svg.shows(&last), "{last}");
            let svg = drawn(
                &format!("{count}-{kind}-samples"),
                &samples(names.clone(), 40, &picture(28, 3)),
            );
            assert!(!svg.texts().is_empty());
            let svg =
                drawn(&format!("{count}-{kind}-prototypes"), &prototypes(names, &picture(28, 1)));
            assert!(svg.shows(&format!("the first 100 of {count} classes")));
        }
    }
}

#[test]
fn a_matrix_without_mistakes_says_so() {
    let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    let svg = drawn("no-mistakes", &confusion(names.clone(), |a, b| u64::from(a == b) * 100));
    assert!(svg.shows("no wrong answer among 1000"));
    let svg = drawn("no-answers", &confusion(names.clone(), |_, _| 0));
    assert!(svg.shows("no wrong answer among 0"));
    let svg = drawn(
        "one-mistake",
        &confusion(names.clone(), |a, b| u64::from(a == b || (a, b) == (1, 2))),
    );
    assert!(svg.shows("wrong answers: 1 of 11"));
    let svg = drawn("large-counts", &confusion(names, |a, b| u64::MAX / (1 + (a * 10 + b) as u64)));
    assert!(svg.shows("wrong answers: 18446744073709551615 of"));
    let one = confusion(vec!["only".into()], |_, _| 3);
    drawn("one-class", &one);
    let ragged = ConfusionMatrix { counts: vec![vec![1, 2, 3], Vec::new(), vec![1]], ..one };
    drawn("ragged", &ragged);
}

fn courses(count: usize, name: impl Fn(usize) -> String) -> Vec<Series> {
    let course = |run: usize| Series {
        name: name(run),
        points: (1..8)
            .map(|e| {
                (f64::from(e) * (3.0 + run as f64), 0.3 / f64::from(e) / (1.0 + run as f64 / 3.0))
            })
            .collect(),
    };
    (0..count).map(course).collect()
}

/// The looks of the lines, from the marks before their names, and the names.
fn legend(svg: &Svg) -> (HashSet<(String, String)>, Vec<&str>) {
    let names: Vec<&Element> = svg
        .of("text")
        .filter(|text| text.attributes["text-anchor"] == "start" && text.number("x") > 300.0)
        .collect();
    let right = names[0].number("x");
    assert!(names.iter().all(|name| name.number("x") == right));
    let place = |mark: &Element| match mark.name.as_str() {
        "circle" => Some(mark.number("cx")),
        "rect" => Some(mark.number("x") + 4.0),
        "polygon" => {
            let points = mark.attributes["points"].split_whitespace();
            let columns =
                points.map(|point| point.split(',').next().unwrap().parse::<f64>().unwrap());
            let columns: Vec<f64> = columns.collect();
            Some(columns.iter().copied().fold(f64::MIN, f64::max) - 5.0)
        }
        _ => None,
    };
    let before = svg.elements.iter().filter(|mark| place(mark) == Some(right - 10.0));
    // A triangle and a diamond are both polygons, of three corners and of four.
    let look = |mark: &Element| {
        let corners = mark.attributes.get("points").map_or(0, |points| points.matches(',').count());
        (format!("{} {corners}", mark.name), mark.attributes["fill"].clone())
    };
    (before.map(look).collect(), names.iter().map(|name| name.text.as_str()).collect())
}

/// Ten and twenty runs in one figure: each has its own look and name, even if their settings read the same.
#[test]
fn many_runs_are_told_apart() {
    let title = "Wrong answers".to_owned();
    for count in [10, 20] {
        let named = courses(count, |run| format!("mnist, dt, onehot, lr {run}"));
        let figure = ErrorOverTime { title: title.clone(), series: named };
        let svg = drawn(&format!("{count}-runs"), &figure);
        let (looks, names) = legend(&svg);
        assert_eq!((looks.len(), names.len()), (count, count), "{looks:?}");
        assert!(names.contains(&"mnist, dt, onehot, lr 9") && !svg.shows("numbered"));
        let alike = |run: usize| {
            match run % 3 {
            0 => "folder:/home/someone/data/猫の写真 (flip, shift 4), dt, 4 intervals, prototype, own".into(),
            1 => "same, dt, onehot".to_owned(),
            _ => "x".repeat(300),
        }
        };
        let series = courses(count, alike);
        let svg = drawn(
            &format!("{count}-runs-alike"),
            &ErrorOverTime { title: title.clone(), series: series.clone() },
        );
        let (looks, names) = legend(&svg);
        assert_eq!(looks.len(), count);
        let found: HashSet<usize> = numbers(&names).into_iter().collect();
        assert_eq!(found, (1..=count).collect(), "{names:?}");
        assert!(svg.shows("numbered in the order in which they were given"));
        drawn(&format!("{count}-accuracies"), &AccuracyOverTime { title: title.clone(), series });
    }
    let all_end_alike = (0..20)
        .map(|run| Series { name: format!("run {run}"), points: vec![(1.0, 0.5), (2.0, 0.01)] });
    let svg = drawn(
        "20-runs-ending-alike",
        &ErrorOverTime { title: title.clone(), series: all_end_alike.collect() },
    );
    assert_eq!(legend(&svg).1.len(), 20);
    let series = courses(75, |run| format!("run {run}"));
    let svg = drawn("75-runs", &ErrorOverTime { title, series });
    assert!(svg.shows("the first 60 of 75 lines") && svg.shows("run 59") && !svg.shows("run 60"));
}

/// A share of no errors is the best result: it is drawn at the bottom, and named.
#[test]
fn errors_that_reach_zero_are_drawn() {
    let series = vec![
        Series { name: "better".into(), points: vec![(1.0, 0.02), (2.0, 0.001), (3.0, 0.0)] },
        Series { name: "worse".into(), points: vec![(1.0, 0.05), (2.0, 0.03), (3.0, 0.01)] },
    ];
    let title = "Wrong answers".to_owned();
    let svg = drawn("zero-errors", &ErrorOverTime { title: title.clone(), series });
    let zero = svg.of("text").find(|text| text.text == "0 %").unwrap().number("y");
    let marks = svg.marks(BLUE);
    assert!(marks.iter().any(|mark| mark.1 == zero), "{marks:?} {zero}");
    assert!(svg.shows("1 %") && !svg.shows("left out"));
    let perfect = vec![Series { name: "perfect".into(), points: vec![(1.0, 0.0), (2.0, 0.0)] }];
    let svg = drawn("only-zero-errors", &ErrorOverTime { title: title.clone(), series: perfect });
    assert_eq!(svg.marks(BLUE).len(), 3);
    let losses = vec![
        Series { name: "block 1".into(), points: vec![(1.0, 0.5), (2.0, 0.0), (3.0, 0.1)] },
        Series { name: "block 2".into(), points: vec![(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)] },
    ];
    let svg = drawn("zero-losses", &LossCurves { title, y_label: "loss".into(), series: losses });
    assert!(svg.texts().contains(&"0") && svg.shows("block 2"));
}

/// A point that is not finite interrupts its line, is counted, and does not move an axis.
#[test]
fn numbers_that_are_not_finite_are_left_out_and_counted() {
    let odd = [0.5, f64::NAN, 0.6, 0.7, f64::INFINITY, f64::NEG_INFINITY];
    let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(odd).collect();
    let series = vec![
        Series { name: "odd".into(), points: points.clone() },
        Series { name: "nothing".into(), points: vec![(1.0, f64::NAN), (f64::NAN, 1.0)] },
        Series { name: "empty".into(), points: Vec::new() },
    ];
    let title = "Odd".to_owned();
    let y_label = "loss".to_owned();
    for svg in [
        drawn("odd-losses", &LossCurves { title: title.clone(), y_label, series: series.clone() }),
        drawn("odd-errors", &ErrorOverTime { title: title.clone(), series: series.clone() }),
        drawn("odd-times", &AccuracyOverTime { title: title.clone(), series: series.clone() }),
        drawn("odd-steps", &AccuracyOverSteps { title: title.clone(), series }),
    ] {
        assert!(
            svg.shows("left out: 5")
                && svg.shows("nothing: no values")
                && svg.shows("empty: no values")
        );
        assert!(svg.texts().iter().all(|text| !text.contains("NaN") && !text.contains("inf")));
    }
    let (validation, test) = (odd.to_vec(), Some(f64::NAN));
    let curve = AccuracyCurve { title: title.clone(), validation, best_epoch: 2, test };
    let svg = drawn("odd-curve", &curve);
    assert!(svg.shows("left out: 5") && !svg.shows("kept"));
    let blocks =
        PerBlockAccuracy { title: title.clone(), per_block: odd.to_vec(), whole_chain: 0.7 };
    assert!(drawn("odd-blocks", &blocks).shows("left out: 3"));
    let schedule =
        ScheduleFigure { title, alpha_bar: odd.to_vec(), snr: odd.to_vec(), weights: odd.to_vec() };
    assert!(drawn("odd-schedule", &schedule).shows("left out: 3"));
    let mut path = path(names(3), 3);
    path.samples[0].probabilities[1] = vec![f64::NAN, f64::INFINITY, -1.0];
    path.samples[1].probabilities = vec![Vec::new(), vec![0.5]];
    path.samples[2].probabilities.clear();
    drawn("odd-path", &path);
}

/// After one epoch there is one point, and it is visible, in the middle above its epoch.
#[test]
fn one_epoch_is_a_point() {
    let title = "One epoch".to_owned();
    let curve = AccuracyCurve {
        title: title.clone(),
        validation: vec![0.5],
        best_epoch: 1,
        test: Some(0.51),
    };
    let svg = drawn("one-epoch-accuracy", &curve);
    let tick = svg.of("text").find(|text| text.text == "1").unwrap().number("x");
    assert!(svg.marks(BLUE).iter().any(|mark| mark.0 == tick) && tick > 300.0);
    assert!(!svg.texts().contains(&"2") && svg.shows("kept: epoch 1, 50.00 %"));
    let series: Vec<Series> = (1..=10)
        .map(|block| Series {
            name: format!("block {block}"),
            points: vec![(1.0, 1.0 / f64::from(block))],
        })
        .collect();
    let svg = drawn(
        "one-epoch-loss",
        &LossCurves { title: title.clone(), y_label: "loss".into(), series },
    );
    // One on the axes and one before its name.
    assert_eq!(svg.of("circle").count(), 20);
    let one = vec![Series { name: "run".into(), points: vec![(0.02, 0.1)] }];
    for svg in [
        drawn("one-epoch-errors", &ErrorOverTime { title: title.clone(), series: one.clone() }),
        drawn("one-epoch-times", &AccuracyOverTime { title: title.clone(), series: one }),
    ] {
        // A fiftieth of a second is not squeezed to the left end of an axis of one second.
        assert!(svg.marks(BLUE).iter().all(|mark| mark.0 > 600.0), "{:?}", svg.marks(BLUE));
    }
    let one = vec![Series { name: "euler".into(), points: vec![(2.0, 0.1)] }];
    drawn("one-number-of-steps", &AccuracyOverSteps { title, series: one });
}

/// All answers right: points lie within the axes, which have no tick above 100 %.
#[test]
fn everything_right_and_everything_wrong() {
    for (name, share) in [("all-right", 1.0), ("all-wrong", 0.0)] {
        let title = name.to_owned();
        let curve = AccuracyCurve {
            title: title.clone(),
            validation: vec![share; 12],
            best_epoch: 1,
            test: Some(share),
        };
        let blocks = PerBlockAccuracy {
            title: title.clone(),
            per_block: vec![share; 10],
            whole_chain: share,
        };
        let series = vec![Series { name: "run".into(), points: vec![(1.0, share), (20.0, share)] }];
        let dots = AccuracyDots {
            title: title.clone(),
            series: vec!["ours".into()],
            reported: "theirs".into(),
            rows: vec![DotRow {
                name: "row".into(),
                dots: vec![Some(Dot { accuracy: share, spread: Some(0.1) })],
                reported: Some(share),
            }],
        };
        let per_cent = format!("{} %", 100.0 * share);
        for svg in [
            drawn(&format!("{name}-curve"), &curve),
            drawn(&format!("{name}-blocks"), &blocks),
            drawn(
                &format!("{name}-times"),
                &AccuracyOverTime { title: title.clone(), series: series.clone() },
            ),
            drawn(&format!("{name}-steps"), &AccuracyOverSteps { title: title.clone(), series }),
            drawn(&format!("{name}-dots"), &dots),
        ] {
            let texts = svg.texts();
            assert!(texts.iter().any(|text| text.replace(".0", "") == per_cent), "{texts:?}");
            assert!(texts.iter().all(|text| !text.starts_with('-') && !text.starts_with("101")));
            let height = svg.size().1;
            assert!(svg.marks(BLUE).iter().all(|mark| mark.1 > 60.0 && mark.1 < height - 55.0));
        }
    }
}

#[test]
fn one_block_and_a_thousand() {
    let title = "Blocks".to_owned();
    for blocks in [1usize, 2, 7, 1000] {
        let per_block: Vec<f64> = (1..=blocks).map(|block| block as f64 / blocks as f64).collect();
        let figure = PerBlockAccuracy {
            title: title.clone(),
            per_block: per_block.clone(),
            whole_chain: 0.9,
        };
        let svg = drawn(&format!("{blocks}-blocks"), &figure);
        assert!(
            svg.texts().contains(&blocks.to_string().as_str()) && svg.of("circle").count() >= 2
        );
        let classes = ["plane", "car", "bird", "cat"].map(str::to_owned).into();
        let svg = drawn(&format!("{blocks}-blocks-path"), &path(classes, blocks));
        let texts = svg.texts();
        let last = if blocks == 1 { "block 1".into() } else { blocks.to_string() };
        assert_eq!(texts.iter().filter(|text| **text == last).count(), 3, "{texts:?}");
        assert_eq!(svg.shows("one in 7 of 1000"), blocks == 1000);
        let alpha_bar: Vec<f64> =
            (0..=blocks).map(|level| 0.999 * level as f64 / blocks as f64).collect();
        let snr = alpha_bar.iter().map(|alpha| alpha / (1.0 - alpha)).collect();
        let schedule = ScheduleFigure { title: title.clone(), alpha_bar, snr, weights: per_block };
        drawn(&format!("{blocks}-blocks-schedule"), &schedule);
        let series = (1..=blocks).map(|block| Series {
            name: format!("block {block}"),
            points: (1..6).map(|e| (f64::from(e), block as f64 / f64::from(e))).collect(),
        });
        let losses =
            LossCurves { title: title.clone(), y_label: "loss".into(), series: series.collect() };
        let svg = drawn(&format!("{blocks}-blocks-loss"), &losses);
        assert!(svg.shows(&format!("block {blocks}")));
    }
}

/// A picture of 1024 pixels is stored in the size in which it is shown, and not as a million rectangles.
#[test]
fn pictures_of_any_size() {
    let names: Vec<String> = ["cat".to_owned(), "dog".to_owned()].into();
    for (side, channels) in [(16, 1), (16, 3), (1024, 1), (1024, 3)] {
        let picture = picture(side, channels);
        let kind = format!("{side}x{channels}");
        let svg = drawn(&format!("{kind}-samples"), &samples(names.clone(), 3, &picture));
        assert_eq!(svg.of("image").count(), 3);
        let bytes: usize = svg.of("image").map(|image| image.attributes["href"].len()).sum();
        assert!(bytes < 60_000, "{bytes}");
        let svg = drawn(&format!("{kind}-prototypes"), &prototypes(names.clone(), &picture));
        assert_eq!(svg.of("image").count(), 6);
    }
    let wide = Picture::new(1024, 16, 3, vec![90; 1024 * 16 * 3]).unwrap();
    let svg = drawn("wide-samples", &samples(names, 1, &wide));
    let image = svg.of("image").next().unwrap();
    assert_eq!((image.number("width"), image.number("height")), (112.0, 2.0));
}

/// With fewer pictures than columns the figure has no empty columns.
#[test]
fn few_samples() {
    let names: Vec<String> = ["cat".to_owned(), "dog".to_owned()].into();
    for (count, width) in [(1, 640.0), (3, 640.0), (7, 912.0), (10, 1296.0), (11, 1296.0)] {
        let svg =
            drawn(&format!("{count}-samples"), &samples(names.clone(), count, &picture(28, 1)));
        assert_eq!((svg.size().0, svg.of("image").count()), (width, count));
    }
    let title = "1 random test image, 1 wrong answer framed: mnist-sample";
    let grid = SampleGrid { title: title.into(), ..samples(names.clone(), 1, &picture(28, 1)) };
    assert!(drawn("long-title", &grid).texts().contains(&title), "a long title widens the figure");
    let svg = drawn("401-samples", &samples(names, 500, &picture(16, 1)));
    assert!(svg.shows("the first 400 of 500 images"));
    // Answers that are not a class.
    let strange = Sample { picture: picture(16, 1), predicted: 77, truth: usize::MAX };
    let strange = SampleGrid {
        samples: vec![strange],
        ..samples(Vec::from(["cat".to_owned()]), 1, &picture(16, 1))
    };
    assert!(drawn("strange-answer", &strange).shows("77"));
}

#[test]
fn long_and_strange_words_everywhere() {
    let hard = || NAMES.join(" / ").repeat(3);
    let dot = |accuracy| Some(Dot { accuracy, spread: Some(0.01) });
    let row = |name: String| DotRow {
        name,
        dots: vec![dot(0.9), dot(0.91), dot(0.905)],
        reported: Some(0.95),
    };
    let dots = AccuracyDots {
        title: hard(),
        series: vec![hard(), hard(), hard()],
        reported: hard(),
        rows: names(50).into_iter().map(row).collect(),
    };
    let svg = drawn("hard-dots", &dots);
    assert!(svg.shows("the first 40 of 50 rows") && svg.texts().contains(&"2"));
    let bar = |name| RatioBar { name, ratio: 0.5, bound: Some(0.7) };
    let mut bars: Vec<RatioBar> = names(50).into_iter().map(bar).collect();
    bars[1].ratio = f64::NAN;
    bars[2].ratio = f64::INFINITY;
    bars[3].ratio = 1e12;
    bars[4].ratio = -1.0;
    bars[5].bound = Some(f64::INFINITY);
    let bars = RatioBars { title: hard(), other: hard(), bound: hard(), bars };
    let svg = drawn("hard-bars", &bars);
    assert!(svg.shows("the first 40 of 50 bars") && svg.shows("NaN") && svg.shows("1.0e12"));
    let reach = svg.of("rect").map(|bar| bar.number("x") + bar.number("width"));
    assert!(reach.fold(0.0, f64::max) <= 1000.0);
    let long = RatioBars {
        bars: vec![RatioBar { name: "long".into(), ratio: 250.0, bound: None }],
        ..bars
    };
    drawn("long-bar", &long);
    let losses = LossCurves { title: hard(), y_label: hard(), series: courses(3, |_| hard()) };
    drawn("hard-losses", &losses);
    drawn("hard-errors", &ErrorOverTime { title: hard(), series: courses(3, |_| hard()) });
    let schedule = ScheduleFigure {
        title: hard(),
        alpha_bar: vec![0.0, 1.0],
        snr: vec![0.0, 1e300],
        weights: vec![1e-300],
    };
    drawn("hard-schedule", &schedule);
    let curve =
        AccuracyCurve { title: hard(), validation: vec![0.9, 0.1], best_epoch: 1, test: None };
    drawn("falling-curve", &curve);
    let grid = SampleGrid { title: hard(), ..samples(names(3), 2, &picture(16, 1)) };
    drawn("hard-samples", &grid);
    let prototypes =
        Prototypes { title: hard(), note: hard(), ..prototypes(names(2), &picture(16, 1)) };
    drawn("hard-prototypes", &prototypes);
}

//! Figures of hard data: names in any script and of any length, very many classes, runs or blocks, one epoch, no mistakes,
//! NaN and infinity. Each figure stays readable, and names what it leaves out.

use std::collections::HashSet;

use super::*;
use SeriesAxes::{AccuracyOverSteps, AccuracyOverTime, ErrorOverTime};

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
        for (kind, names) in [("plain", plain(count)), ("hard", names(count))] {
            let name = |figure: &str| format!("{count}-{kind}-{figure}");
            let svg = drawn(&name("confusion"), &confusion(names.clone(), mistakes));
            let cut = svg.shows("the 50 of 1000 classes with the most frequent mistakes");
            assert_eq!(cut, count == 1000);
            // Class 999 is most often mistaken for class 992, and class 8 never for another.
            let texts = svg.texts().into_iter().map(|text| text.trim_start_matches("class "));
            let named = numbers(&texts.collect::<Vec<_>>());
            assert!(named.len() >= 100, "{named:?}");
            if count == 1000 {
                assert!(named.contains(&999) && named.contains(&992) && !named.contains(&8));
            }
            let svg = drawn(&name("path"), &path(names.clone(), 10));
            assert!(svg.shows(&format!("of {count} classes the 20 likeliest")));
            // The true class of the last strip.
            assert!(svg.shows(&(count - 1).to_string()), "{:?}", svg.texts());
            let svg = drawn(&name("samples"), &samples(names.clone(), 40, &picture(28, 3)));
            assert!(!svg.texts().is_empty());
            let svg = drawn(&name("prototypes"), &prototypes(names, &picture(28, 1)));
            assert!(svg.shows(&format!("the first 100 of {count} classes")));
        }
    }
}

/// A matrix without colour, or with counts of any size, states what it shows.
#[test]
fn a_matrix_without_mistakes_says_so() {
    let one_mistake = |a, b| u64::from(a == b || (a, b) == (1, 2));
    for (name, words, count) in [
        (
            "none",
            "no wrong answer among 1000",
            &(|a, b| u64::from(a == b) * 100) as &dyn Fn(_, _) -> _,
        ),
        ("empty", "no wrong answer among 0", &|_, _| 0),
        ("one", "wrong answers: 1 of 11", &one_mistake),
        ("large", "wrong answers: 18446744073709551615 of", &|a: usize, b: usize| {
            u64::MAX / (1 + (a * 10 + b) as u64)
        }),
    ] {
        let svg = drawn(&format!("mistakes-{name}"), &confusion(plain(10), count));
        assert!(svg.shows(words), "{words}");
    }
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
            Some(columns.fold(f64::MIN, f64::max) - 5.0)
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
    let errors = |name: &str, series: &[Series]| drawn(name, &lines(ErrorOverTime, series));
    for count in [10, 20] {
        let named = courses(count, |run| format!("mnist, dt, onehot, lr {run}"));
        let svg = errors(&format!("{count}-runs"), &named);
        let (looks, names) = legend(&svg);
        assert_eq!((looks.len(), names.len()), (count, count), "{looks:?}");
        assert!(names.contains(&"mnist, dt, onehot, lr 9") && !svg.shows("numbered"));
        let alike = |run: usize| match run % 3 {
            0 => "folder:/home/someone/data/猫の写真 (flip, shift 4), dt, 4 intervals, own".into(),
            1 => "same, dt, onehot".to_owned(),
            _ => "x".repeat(300),
        };
        let series = courses(count, alike);
        let svg = errors(&format!("{count}-runs-alike"), &series);
        let (looks, names) = legend(&svg);
        assert_eq!(looks.len(), count);
        let found: HashSet<usize> = numbers(&names).into_iter().collect();
        assert_eq!(found, (1..=count).collect(), "{names:?}");
        assert!(svg.shows("numbered in the order in which they were given"));
        drawn(&format!("{count}-accuracies"), &lines(AccuracyOverTime, &series));
    }
    let end_alike = (0..20).map(|run| line(&format!("run {run}"), &[(1.0, 0.5), (2.0, 0.01)]));
    let svg = errors("20-runs-ending-alike", &end_alike.collect::<Vec<_>>());
    assert_eq!(legend(&svg).1.len(), 20);
    let svg = errors("75-runs", &courses(75, |run| format!("run {run}")));
    assert!(svg.shows("the first 60 of 75 lines") && svg.shows("run 59") && !svg.shows("run 60"));
}

/// A share of no errors is the best result: it is drawn at the bottom, and named.
#[test]
fn errors_that_reach_zero_are_drawn() {
    let series = [
        line("better", &[(1.0, 0.02), (2.0, 0.001), (3.0, 0.0)]),
        line("worse", &[(1.0, 0.05), (2.0, 0.03), (3.0, 0.01)]),
    ];
    let svg = drawn("zero-errors", &lines(ErrorOverTime, &series));
    let zero = svg.of("text").find(|text| text.text == "0 %").unwrap().number("y");
    let marks = svg.marks(BLUE);
    assert!(marks.iter().any(|mark| mark.1 == zero), "{marks:?} {zero}");
    assert!(svg.shows("1 %") && !svg.shows("left out"));
    let perfect = [line("perfect", &[(1.0, 0.0), (2.0, 0.0)])];
    let svg = drawn("only-zero-errors", &lines(ErrorOverTime, &perfect));
    assert_eq!(svg.marks(BLUE).len(), 3);
    let series = vec![
        line("block 1", &[(1.0, 0.5), (2.0, 0.0), (3.0, 0.1)]),
        line("block 2", &[(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]),
    ];
    let svg = drawn("zero-losses", &losses(series));
    assert!(svg.texts().contains(&"0") && svg.shows("block 2"));
}

/// A point that is not finite interrupts its line, is counted, and does not move an axis.
#[test]
fn numbers_that_are_not_finite_are_left_out_and_counted() {
    let odd = [0.5, f64::NAN, 0.6, 0.7, f64::INFINITY, f64::NEG_INFINITY];
    let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(odd).collect();
    let series = [
        line("odd", &points),
        line("nothing", &[(1.0, f64::NAN), (f64::NAN, 1.0)]),
        line("empty", &[]),
    ];
    for svg in [
        drawn("odd-losses", &losses(series.to_vec())),
        drawn("odd-errors", &lines(ErrorOverTime, &series)),
        drawn("odd-times", &lines(AccuracyOverTime, &series)),
        drawn("odd-steps", &lines(AccuracyOverSteps, &series)),
    ] {
        for words in ["left out: 5", "nothing: no values", "empty: no values"] {
            assert!(svg.shows(words), "{words}");
        }
        assert!(svg.texts().iter().all(|text| !text.contains("NaN") && !text.contains("inf")));
    }
    let svg = drawn("odd-curve", &curve(&odd, 2, Some(f64::NAN)));
    assert!(svg.shows("left out: 5") && !svg.shows("kept"));
    assert!(drawn("odd-blocks", &blocks(&odd, 0.7)).shows("left out: 3"));
    assert!(drawn("odd-schedule", &schedule(&odd, &odd, &odd)).shows("left out: 3"));
    let mut path = path(names(3), 3);
    path.samples[0].probabilities[1] = vec![f64::NAN, f64::INFINITY, -1.0];
    path.samples[1].probabilities = vec![Vec::new(), vec![0.5]];
    path.samples[2].probabilities.clear();
    drawn("odd-path", &path);
}

/// After one epoch there is one point, and it is visible, in the middle above its epoch.
#[test]
fn one_epoch_is_a_point() {
    let svg = drawn("one-epoch-accuracy", &curve(&[0.5], 1, Some(0.51)));
    let tick = svg.of("text").find(|text| text.text == "1").unwrap().number("x");
    assert!(svg.marks(BLUE).iter().any(|mark| mark.0 == tick) && tick > 300.0);
    assert!(!svg.texts().contains(&"2") && svg.shows("kept: epoch 1, 50.00 %"));
    let svg = drawn("one-epoch-loss", &block_losses(10, 1));
    // One on the axes and one before its name.
    assert_eq!(svg.of("circle").count(), 20);
    let one = [line("run", &[(0.02, 0.1)])];
    for svg in [
        drawn("one-epoch-errors", &lines(ErrorOverTime, &one)),
        drawn("one-epoch-times", &lines(AccuracyOverTime, &one)),
    ] {
        // A fiftieth of a second is not squeezed to the left end of an axis of one second.
        assert!(svg.marks(BLUE).iter().all(|mark| mark.0 > 600.0), "{:?}", svg.marks(BLUE));
    }
    drawn("one-number-of-steps", &lines(AccuracyOverSteps, &[line("euler", &[(2.0, 0.1)])]));
    let odd = line("no step", &[(2.0, 1.0), (0.0, 0.5), (5.0, f64::NAN)]);
    drawn("no-step", &lines(AccuracyOverSteps, &[odd]));
}

/// All answers right: points lie within the axes, which have no tick above 100 %.
#[test]
fn everything_right_and_everything_wrong() {
    for (name, share) in [("all-right", 1.0), ("all-wrong", 0.0)] {
        let series = [line("run", &[(1.0, share), (20.0, share)])];
        let rows = [row("row", &[dot(share, Some(0.1))], Some(share))];
        let name = |figure: &str| format!("{name}-{figure}");
        for svg in [
            drawn(&name("curve"), &curve(&[share; 12], 1, Some(share))),
            drawn(&name("blocks"), &blocks(&[share; 10], share)),
            drawn(&name("times"), &lines(AccuracyOverTime, &series)),
            drawn(&name("steps"), &lines(AccuracyOverSteps, &series)),
            drawn(&name("dots"), &dots(&rows)),
        ] {
            let (texts, per_cent) = (svg.texts(), format!("{} %", 100.0 * share));
            assert!(texts.iter().any(|text| text.replace(".0", "") == per_cent), "{texts:?}");
            assert!(texts.iter().all(|text| !text.starts_with('-') && !text.starts_with("101")));
            let height = svg.size().1;
            assert!(svg.marks(BLUE).iter().all(|mark| mark.1 > 60.0 && mark.1 < height - 55.0));
        }
    }
    drawn("wide-dots", &dots(&[row("wide", &[dot(0.01, None), dot(1.0, None)], None)]));
}

/// The number of blocks is a setting, and the last block is the one that matters.
#[test]
fn one_block_and_a_thousand() {
    for count in [1usize, 2, 7, 1000] {
        let shares: Vec<f64> = (0..=count).map(|level| level as f64 / count as f64).collect();
        let svg = drawn(&format!("{count}-blocks"), &blocks(&shares[1..], 0.9));
        let last = count.to_string();
        assert!(svg.texts().contains(&last.as_str()) && svg.of("circle").count() >= 2);
        let classes = ["plane", "car", "bird", "cat"].map(str::to_owned).into();
        let svg = drawn(&format!("{count}-blocks-path"), &path(classes, count));
        let texts = svg.texts();
        let last = if count == 1 { "block 1".into() } else { last };
        assert_eq!(texts.iter().filter(|text| **text == last).count(), 3, "{texts:?}");
        assert_eq!(svg.shows("one in 7 of 1000"), count == 1000);
        let alpha_bar: Vec<f64> = shares.iter().map(|share| 0.999 * share).collect();
        let snr: Vec<f64> = alpha_bar.iter().map(|alpha| alpha / (1.0 - alpha)).collect();
        drawn(&format!("{count}-blocks-schedule"), &schedule(&alpha_bar, &snr, &shares[1..]));
        let svg = drawn(&format!("{count}-blocks-loss"), &block_losses(count, 5));
        assert!(svg.shows(&format!("block {count}")));
    }
}

/// A picture of 1024 pixels is stored in the size in which it is shown, and not as a million rectangles.
#[test]
fn pictures_of_any_size() {
    for (side, channels) in [(16, 1), (16, 3), (1024, 1), (1024, 3)] {
        let picture = picture(side, channels);
        let kind = format!("{side}x{channels}");
        let svg = drawn(&format!("{kind}-samples"), &samples(plain(2), 3, &picture));
        assert_eq!(svg.of("image").count(), 3);
        let bytes: usize = svg.of("image").map(|image| image.attributes["href"].len()).sum();
        assert!(bytes < 60_000, "{bytes}");
        let svg = drawn(&format!("{kind}-prototypes"), &prototypes(plain(2), &picture));
        assert_eq!(svg.of("image").count(), 6);
    }
    let wide = Picture::new(1024, 16, 3, vec![90; 1024 * 16 * 3]).unwrap();
    let svg = drawn("wide-samples", &samples(plain(2), 1, &wide));
    let image = svg.of("image").next().unwrap();
    assert_eq!((image.number("width"), image.number("height")), (112.0, 2.0));
}

/// With fewer pictures than columns the figure has no empty columns.
#[test]
fn few_samples() {
    let grid = |count| samples(plain(2), count, &picture(16, 1));
    for (count, width) in [(1, 640.0), (3, 640.0), (7, 912.0), (10, 1296.0), (11, 1296.0)] {
        let svg = drawn(&format!("{count}-samples"), &grid(count));
        assert_eq!((svg.size().0, svg.of("image").count()), (width, count));
    }
    let title = "1 random test image, 1 wrong answer framed: mnist-sample";
    let long = SampleGrid { title: title.into(), ..grid(1) };
    assert!(drawn("long-title", &long).texts().contains(&title), "a long title widens the figure");
    assert!(drawn("401-samples", &grid(500)).shows("the first 400 of 500 images"));
    // Answers that are not a class.
    let strange = Sample { picture: picture(16, 1), predicted: 77, truth: usize::MAX };
    let strange = SampleGrid { samples: vec![strange], ..grid(1) };
    assert!(drawn("strange-answer", &strange).shows("77"));
}

/// Titles, labels and names come from users.
#[test]
fn long_and_strange_words_everywhere() {
    let hard = || NAMES.join(" / ").repeat(3);
    let triple = [0.9, 0.91, 0.905].map(|accuracy| dot(accuracy, Some(0.01)));
    let rows: Vec<DotRow> = names(50).iter().map(|name| row(name, &triple, Some(0.95))).collect();
    let series = vec![hard(), hard(), hard()];
    let figure = AccuracyDots { title: hard(), series, reported: hard(), rows };
    let svg = drawn("hard-dots", &figure);
    assert!(svg.shows("the first 40 of 50 rows") && svg.texts().contains(&"2"));
    let mut ratios: Vec<RatioBar> =
        names(50).iter().map(|name| bar(name, 0.5, Some(0.7))).collect();
    for (index, ratio) in [(1, f64::NAN), (2, f64::INFINITY), (3, 1e12), (4, -1.0)] {
        ratios[index].ratio = ratio;
    }
    ratios[5].bound = Some(f64::INFINITY);
    let ratios = RatioBars { title: hard(), other: hard(), bound: hard(), bars: ratios };
    let svg = drawn("hard-bars", &ratios);
    assert!(svg.shows("the first 40 of 50 bars") && svg.shows("NaN") && svg.shows("1.0e12"));
    let reach = svg.of("rect").map(|bar| bar.number("x") + bar.number("width"));
    assert!(reach.fold(0.0, f64::max) <= 1000.0);
    drawn("long-bar", &RatioBars { bars: vec![bar("long", 250.0, None)], ..ratios });
    let series = courses(3, |_| hard());
    let figure = SeriesFigure { title: hard(), ..lines(ErrorOverTime, &series) };
    drawn("hard-errors", &figure);
    drawn("hard-losses", &LossCurves { title: hard(), y_label: hard(), series });
    let extreme = schedule(&[0.0, 1.0], &[0.0, 1e300], &[1e-300]);
    drawn("hard-schedule", &ScheduleFigure { title: hard(), ..extreme });
    drawn("falling-curve", &AccuracyCurve { title: hard(), ..curve(&[0.9, 0.1], 1, None) });
    let grid = samples(names(3), 2, &picture(16, 1));
    drawn("hard-samples", &SampleGrid { title: hard(), ..grid });
    let figure = prototypes(names(2), &picture(16, 1));
    drawn("hard-prototypes", &Prototypes { title: hard(), note: hard(), ..figure });
}

//! The pretrained network: thirty digits as people draw them with a mouse, off centre, small, large, thick, thin and slanted; its walks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use noprop_experiment::candle_core::Device;
use noprop_experiment::{Classifier, Image, Route, Sampling};
use serde_json::Value;

/// The side of the page's pad in the units of the drawings, and the side of the ink that the page sends.
const PAD: f64 = 280.0;
const SIDE: usize = 140;

/// Returns the ink of strokes that are `thickness` wide, with four samples a pixel.
fn ink(strokes: &[Vec<(f64, f64)>], thickness: f64) -> Vec<u8> {
    let scale = PAD / SIDE as f64;
    let inked = |x: f64, y: f64| {
        let near = |pair: &[(f64, f64)]| distance((x, y), pair[0], pair[1]) <= thickness / 2.0;
        strokes.iter().any(|stroke| stroke.windows(2).any(near))
    };
    let shade = |at: usize| {
        let (column, row) = ((at % SIDE) as f64, (at / SIDE) as f64);
        let samples = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)];
        let hits = samples.iter().filter(|(x, y)| inked((column + x) * scale, (row + y) * scale));
        u8::try_from(255 * hits.count() / 4).unwrap()
    };
    (0..SIDE * SIDE).map(shade).collect()
}

/// The distance of a point from a segment.
fn distance((x, y): (f64, f64), (ax, ay): (f64, f64), (bx, by): (f64, f64)) -> f64 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = dx * dx + dy * dy;
    let along = if length == 0.0 { 0.0 } else { ((x - ax) * dx + (y - ay) * dy) / length };
    let along = along.clamp(0.0, 1.0);
    (x - ax - along * dx).hypot(y - ay - along * dy)
}

/// A drawing that is not centred and scaled as MNIST's digits are would be misread: at least 27 of 30 must be right.
#[test]
fn drawn_digits_are_read() {
    let drawings: Vec<Value> = serde_json::from_str(include_str!("drawings.json")).unwrap();
    assert_eq!(drawings.len(), 30);
    let digits = Classifier::of_weights("x", noprop_pretrained::MNIST, &Device::Cpu).unwrap();
    let wrong = drawings.iter().enumerate().filter_map(|(number, drawing)| {
        let strokes = serde_json::from_value(drawing["strokes"].clone()).unwrap();
        let strokes: Vec<Vec<(f64, f64)>> = strokes;
        let ink = ink(&strokes, drawing["thickness"].as_f64().unwrap());
        let image = Image::Drawing { ink: &ink, side: SIDE };
        let walk = digits.walk(image, &Sampling::default(), Route::Whole).unwrap();
        let label = drawing["label"].as_u64().unwrap();
        (u64::from(walk.label) != label)
            .then(|| format!("{number}: {label} read as {}", walk.label))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.len() <= 3, "{wrong:?}");
}

/// Of a long way a page gets steps at equal distances, and all of a short one, wherever its steps stand in the chain.
#[test]
fn a_walk_is_thinned_evenly() {
    let digits = Classifier::of_weights("x", noprop_pretrained::MNIST, &Device::Cpu).unwrap();
    let steps = |route: &[usize]| -> Vec<usize> {
        let image = Image::Drawing { ink: &[255], side: 1 };
        let walk = digits.walk(image, &Sampling::default(), Route::Steps(route)).unwrap();
        walk.steps.iter().map(|step| step.step).collect()
    };
    assert_eq!(steps(&[10, 2]), [10, 2]);
    let long: Vec<usize> = (0..1000).map(|index| index % 10 + 1).collect();
    assert_eq!(steps(&long), (0..200).map(|index| 5 * index % 10 + 1).collect::<Vec<_>>());
}

//! A trained run in another program: `Classifier` answers as `noprop predict` does, with every method and with normalisation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests draw other pictures")]
#[path = "folders/png.rs"]
mod png;
mod program;

use std::fs;
use std::path::Path;

use candle_core::Device;
use noprop_data::picture::Polarity;
use noprop_data::{Dataset, Split};
use noprop_experiment::{Answer, Classifier, Image, Route, Sampling};
use png::Pixel;
use program::noprop;
use serde_json::Value;

/// stdout of a command that succeeds.
fn said(folder: &Path, line: &str) -> String {
    let output = noprop(folder, &line.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-5, "{what}: {found:?} {expected:?}");
    }
}

/// The first test image as a picture.
fn write_first_image(test: &Split, path: &Path) {
    let shades = test.picture(0).unwrap();
    let rows: Vec<u8> = shades.chunks(28).flat_map(|row| [&[0], row].concat()).collect();
    fs::write(path, png::file((28, 28), Pixel::Grey8(0), &rows)).unwrap();
}

/// Without the run's normalisation an outside program would answer wrongly, and nothing would show it. The program's own answers are
/// held against those of `eval`, which normalises whole splits.
#[test]
fn a_normalised_run_of_each_method_answers_as_the_program_does() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let test = Dataset::mnist_sample().unwrap().test;
    write_first_image(&test, &root.join("first.png"));
    let images = test.range(0..2).unwrap();
    for (method, steps, flags) in [
        ("dt", 2, "--steps 2"),
        ("ct", 3, "--steps 3"),
        ("fm", 3, "--steps 3"),
        ("classifier", 0, "--encoder shared"),
    ] {
        said(
            root,
            &format!(
                "train --dataset mnist-sample --method {method} {flags} --epochs 1 --normalize channel --quiet --out {method}"
            ),
        );
        let predicted = said(root, &format!("predict --json {method} first.png"));
        let predicted: Value = serde_json::from_str(&predicted).unwrap();
        said(root, &format!("eval {method} --answers {method}.csv"));
        let answers = fs::read_to_string(root.join(method).with_extension("csv")).unwrap();
        let of_eval: Vec<f32> = answers
            .lines()
            .nth(1)
            .unwrap()
            .split(',')
            .skip(3)
            .map(|field| field.parse().unwrap())
            .collect();

        let classifier = Classifier::open(root.join(method), &Device::Cpu).unwrap();
        let picture = classifier.picture(root.join("first.png"), Polarity::AsIs).unwrap();
        let Answer { label, class, probabilities, per_block } = &picture;
        assert_eq!(predicted["label"], *label, "{method}");
        assert_eq!(predicted["class"], **class, "{method}");
        assert_eq!(predicted["per_block"], serde_json::json!(per_block), "{method}");
        assert_eq!(numbers(&predicted["probabilities"]), *probabilities, "{method}");
        assert_close(probabilities, &of_eval, method);

        // A page shows as many columns as the chain has steps: none of a plain classifier.
        let facts = classifier.facts().unwrap();
        assert_eq!((facts.steps, facts.times.len()), (steps, steps + 1), "{method}");
        let walk = classifier.walk(Image::Sample(&test, 0), &Sampling::default(), Route::Whole);
        let walk = walk.unwrap();
        assert_eq!((walk.label, walk.steps.len()), (*label, steps), "{method}");

        let all = classifier.classify(&images).unwrap();
        assert_eq!(all.len(), 2, "{method}");
        // A data set and a picture make other last bits of a shade.
        assert_close(&all[0].probabilities, probabilities, method);
        let alone = classifier.classify(&images.narrow(0, 0, 1).unwrap()).unwrap();
        assert_eq!(all[0], alone[0], "{method}: an answer does not depend on the images beside it");
        assert!(classifier.classify(&images.flatten_from(2).unwrap()).is_err(), "{method}");
    }
}

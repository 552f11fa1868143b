//! The calls of a page, without a browser.

use std::time::Duration;

use noprop_web::{Answers, Sliced};
use serde_json::{Value, json};

const SMALL: &str = r#"{"steps": 2, "epochs": 1, "batch_size": 64}"#;

/// A page trains in slices, sees its curves grow, and its weights classify with a route, on a test image and on a drawing.
#[test]
fn what_a_page_trains_classifies() {
    let mut training = Sliced::start(SMALL).unwrap();
    let state = |training: &Sliced| serde_json::to_value(training.watched()).unwrap();
    training.advance(Duration::ZERO).unwrap();
    assert_eq!(state(&training)["done"], 0);
    training.advance(Duration::from_nanos(1)).unwrap();
    let first = state(&training);
    assert_eq!((&first["done"], &first["state"]), (&json!(1), &json!("running")));
    assert_eq!(first["losses"].as_array().unwrap().len(), 1);
    while state(&training)["state"] == "running" {
        training.advance(Duration::from_secs(5)).unwrap();
    }
    let last = state(&training);
    assert_eq!((&last["state"], &last["done"]), (&json!("finished"), &json!(55)));
    assert!(last["test_accuracy"].as_f64().unwrap() > 0.3, "{last}");
    assert_eq!(last["history"].as_array().unwrap().len(), 1);

    let model = Answers::open(&training.weights().unwrap()).unwrap();
    let facts = serde_json::to_value(model.facts()).unwrap();
    assert_eq!((&facts["steps"], &facts["samples"]), (&json!(2), &json!(1000)));
    let whole = model.classify("sample", &[], r#"{"index": 7, "runs": 3}"#).unwrap();
    assert_eq!(whole.walk.steps.len(), 2);
    assert_eq!(whole.walk.input.pixels, model.sample(7).unwrap().pixels);
    let one = model.classify("sample", &[], r#"{"index": 7, "route": [2]}"#).unwrap();
    assert_eq!(one.walk.steps.len(), 1);
    let mut ink = vec![0; 100 * 100];
    (20..80).for_each(|row| ink[row * 100 + 50] = 255);
    model.classify("drawing", &ink, r#"{"side": 100}"#).unwrap();
}

/// A page would take a training that failed for one that goes on.
#[test]
fn a_training_that_fails_is_over() {
    let steep = r#"{"steps": 2, "epochs": 1, "batch_size": 64, "lr": 1e38, "warmup_steps": 0}"#;
    let mut training = Sliced::start(steep).unwrap();
    let state = |training: &Sliced| serde_json::to_value(training.watched()).unwrap();
    let error = loop {
        match training.advance(Duration::from_secs(5)) {
            Ok(()) => assert_eq!(state(&training)["state"], "running"),
            Err(error) => break error.to_string(),
        }
    };
    let failed = state(&training);
    assert_eq!((&failed["state"], &failed["error"]), (&json!("failed"), &json!(error)));
    training.advance(Duration::from_secs(5)).unwrap();
    assert_eq!(state(&training), failed, "it made another step");
}

/// The weights of an earlier format belong to another network, in which they were trained; those of a later one may mean anything.
#[test]
fn weights_of_another_format_are_refused() {
    let continuous = r#"{"method": "ct", "steps": 2, "epochs": 1}"#;
    let weights = Sliced::start(continuous).unwrap().weights().unwrap();
    Answers::open(&weights).unwrap();
    // The settings are JSON within a text of the header, which is JSON too.
    let format = br#"\"format\":2"#.as_slice();
    let start = weights.windows(format.len()).position(|bytes| bytes == format).unwrap();
    let number = start + format.len() - 1;
    for (other, words) in [(b'1', "lacks the last ReLU"), (b'3', "reads formats up to 2")] {
        let mut changed = weights.clone();
        changed[number] = other;
        let refused = Answers::open(&changed).err().map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|text| text.contains(words)), "{refused:?}");
    }
}

/// Requests come from strangers.
#[test]
fn what_cannot_be_used_is_refused_in_a_sentence() {
    for settings in [
        "[]",
        "{",
        r#"{"dataset": "mnist"}"#,
        r#"{"dataset": "folder:/etc"}"#,
        r#"{"init": {"run": "/", "sha256": ""}}"#,
        r#"{"steps": 0}"#,
        r#"{"steps": 100000, "encoder": "per-block"}"#,
        r#"{"epochs": -1}"#,
        r#"{"unknown": 1}"#,
    ] {
        let refused = Sliced::start(settings).err().map(|error| error.to_string());
        assert!(refused.is_some_and(|text| !text.contains('\n')), "{settings}");
    }
    let model = Answers::open(&Sliced::start(SMALL).unwrap().weights().unwrap()).unwrap();
    let refuses = |kind: &str, bytes: &[u8], options: Value| {
        let refused = model.classify(kind, bytes, &options.to_string()).is_err();
        assert!(refused, "{kind} {options}");
    };
    refuses("sample", &[], json!({ "index": 1000 }));
    refuses("sample", &[], json!({ "runs": 0 }));
    refuses("sample", &[], json!({ "runs": 1_000_000 }));
    refuses("sample", &[], json!({ "route": [3] }));
    refuses("sample", &[], json!({ "route": vec![1; 1001] }));
    refuses("sample", &[], json!({ "sampler": "other" }));
    refuses("drawing", &[1, 2, 3], json!({ "side": 2 }));
    refuses("drawing", &[], json!({ "side": usize::MAX }));
    refuses("picture", b"no picture", json!({}));
    refuses("other", &[], json!({}));
    assert!(model.sample(u32::MAX).is_err());
    assert!(Answers::open(b"no weights").is_err());
}

//! The real binary: a tiny training end to end, and one clear line with exit code 2 for bad input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod program;

use std::process::Output;

use program::{command, noprop};

const TINY: [&str; 8] = ["train", "--steps", "2", "--epochs", "1", "--json", "--quiet", "--out"];

#[test]
fn trains_evaluates_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let tiny: Vec<&str> = TINY.iter().copied().chain(["run"]).collect();
    let trained = noprop(dir.path(), &tiny);
    assert!(trained.status.success(), "{trained:?}");
    assert!(String::from_utf8_lossy(&trained.stderr).contains("bundled sample"));
    let result: serde_json::Value = serde_json::from_slice(&trained.stdout).unwrap();
    let weights = std::fs::read(dir.path().join("run/model.safetensors")).unwrap();

    let eval = ["eval", "--run", "run", "--json"];
    let evaluated = noprop(dir.path(), &eval);
    let evaluated: serde_json::Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    assert_eq!(evaluated["accuracy"], result["test_accuracy"]);
    assert_eq!(evaluated["per_block"].as_array().unwrap().len(), 2);

    // A file's name is bytes; one that is no text is shown as well as it can be.
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"\xff.png");
        std::fs::copy(dir.path().join("run/figures/samples.png"), dir.path().join(name)).unwrap();
        let mut predict = command(dir.path(), &["predict", "--json", "--run", "run"]);
        let predicted = predict.arg(name).output().unwrap();
        assert!(predicted.status.success(), "{predicted:?}");
    }

    let again = noprop(dir.path(), &tiny);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(std::fs::read(dir.path().join("run/model.safetensors")).unwrap(), weights);

    // The same settings again, on one thread: the same bytes.
    let config =
        ["train", "--config", "run/config.toml", "--threads", "1", "--quiet", "--out", "b"];
    assert!(noprop(dir.path(), &config).status.success());
    assert!(std::fs::read(dir.path().join("b/model.safetensors")).unwrap() == weights);

    // Weights under settings that they were not trained with would give wrong answers.
    let settings = dir.path().join("run/config.toml");
    let own = std::fs::read_to_string(&settings).unwrap();
    for (key, theirs, other) in
        [("method", "dt", "backprop"), ("schedule", "cosine", "linear"), ("eta", "0.1", "0.2")]
    {
        let line = |value: &str| match value.parse::<f64>() {
            Ok(_) => format!("{key} = {value}\n"),
            Err(_) => format!("{key} = \"{value}\"\n"),
        };
        std::fs::write(&settings, own.replace(&line(theirs), &line(other))).unwrap();
        let mixed = noprop(dir.path(), &eval);
        assert_eq!(mixed.status.code(), Some(2));
        let said = String::from_utf8_lossy(&mixed.stderr);
        let words = [format!("trained with {key} {theirs}"), format!("has {key} {other}")];
        assert!(words.iter().all(|words| said.contains(words)), "{said}");
    }
    std::fs::write(&settings, own).unwrap();

    std::fs::write(dir.path().join("run/model.safetensors"), b"not weights").unwrap();
    let broken = noprop(dir.path(), &eval);
    assert_eq!(broken.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&broken.stderr).contains("model.safetensors"));
}

/// Each method end to end: train, evaluate in its own way, draw, and refuse what belongs to another.
#[test]
fn every_method_trains_and_evaluates() {
    let dir = tempfile::tempdir().unwrap();
    for (method, more, eval, wrong) in [
        ("ct", ["--steps", "3"], ["--solver", "heun"], ["--steps", "0"]),
        ("fm", ["--steps", "3"], ["--steps", "2"], ["--solver", "posterior"]),
        ("adjoint", ["--steps", "3"], ["--solver", "heun"], ["--solver", "posterior"]),
        ("backprop", ["--steps", "2"], ["--runs", "2"], ["--solver", "euler"]),
        ("classifier", ["--encoder", "shared"], ["--runs", "2"], ["--steps", "2"]),
        ("dt", ["--embedding", "learned:4"], ["--sampler", "stochastic"], ["--steps", "2"]),
    ] {
        let train = ["train", "--method", method, "--epochs", "1", "--json", "--quiet"];
        let out = ["--dataset", "mnist-sample", "--out", method];
        let trained = noprop(dir.path(), &[&train[..], &more, &out].concat());
        assert!(trained.status.success(), "{method}: {trained:?}");
        let evaluated =
            noprop(dir.path(), &[&["eval", "--json", "--run", method][..], &eval].concat());
        let answer: serde_json::Value = serde_json::from_slice(&evaluated.stdout).unwrap();
        assert_eq!(answer["total"], 1000, "{method}: {evaluated:?}");
        let refused = noprop(dir.path(), &[&["eval", "--run", method][..], &wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{method}: {refused:?}");
        assert_eq!(String::from_utf8_lossy(&refused.stderr).lines().count(), 1);
        // Any picture will do; flags that mean nothing to the run are refused rather than ignored.
        let picture = format!("{method}/figures/samples.png");
        assert!(dir.path().join(&picture).is_file());
        let predict = ["predict", "--json", "--run", method, &picture];
        let refused = noprop(dir.path(), &[&predict[..], &wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{method}: {refused:?}");
        let predicted = noprop(dir.path(), &[&predict[..], &eval].concat());
        assert!(predicted.status.success(), "{method}: {predicted:?}");
        if matches!(method, "ct" | "fm") {
            let usual = noprop(dir.path(), &predict);
            assert_ne!(predicted.stdout, usual.stdout, "{method}: {eval:?} changed nothing");
        }
    }
    // Several blocks that share time: one answer each, and steps enough for all of them.
    let divided = ["train", "--method", "fm", "--intervals", "2", "--steps", "4", "--epochs", "1"];
    let out = ["--dataset", "mnist-sample", "--quiet", "--out", "fm2"];
    let trained = noprop(dir.path(), &[&divided[..], &out].concat());
    assert!(trained.status.success(), "{trained:?}");
    let answer = noprop(dir.path(), &["eval", "--json", "--run", "fm2", "--steps", "7"]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["per_block"].as_array().unwrap().len(), 2);
    let few = noprop(dir.path(), &["eval", "--run", "fm2", "--steps", "1"]);
    assert_eq!(few.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&few.stderr).contains("at least 2"), "{few:?}");
    assert!(dir.path().join("fm2/figures/accuracy-by-block.png").is_file());
    // A block of a baseline has no answer of its own, and no figure may claim one.
    for baseline in ["backprop", "classifier"] {
        let answer = noprop(dir.path(), &["eval", "--json", "--run", baseline]);
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(answer["per_block"].as_array().unwrap().len(), 0, "{baseline}");
        assert!(!dir.path().join(baseline).join("figures/accuracy-by-block.png").exists());
        // One epoch of the sample is enough to learn most digits.
        let least = if baseline == "classifier" { 0.85 } else { 0.0 };
        assert!(answer["accuracy"].as_f64().unwrap() > least, "{baseline}: {answer}");
    }
    let chainless = noprop(dir.path(), &["ablate", "classifier"]);
    assert_eq!(chainless.status.code(), Some(2), "{chainless:?}");
    assert!(String::from_utf8_lossy(&chainless.stderr).contains("classifier has no chain"));
    let runs = ["compare", "ct", "fm", "dt", "classifier", "--json", "--figure", "c"];
    let compared = noprop(dir.path(), &runs);
    let lines: serde_json::Value = serde_json::from_slice(&compared.stdout).unwrap();
    let methods: Vec<_> = lines.as_array().unwrap().iter().map(|l| l["method"].clone()).collect();
    assert_eq!(methods, ["ct", "fm", "dt", "classifier"]);
    assert_eq!((&lines[0]["steps"], &lines[3]["steps"]), (&3.into(), &serde_json::Value::Null));
    assert!(dir.path().join("c.png").is_file());
    // Weights of one method given to another.
    std::fs::copy(dir.path().join("ct/model.safetensors"), dir.path().join("fm/model.safetensors"))
        .unwrap();
    let mixed = noprop(dir.path(), &["eval", "--run", "fm"]);
    assert_eq!(mixed.status.code(), Some(2), "{mixed:?}");
}

/// Embeddings that are images start as training images and are trained from there; the start is kept beside them. Both are the
/// same bytes again from the run's own settings.
#[test]
fn prototypes_start_as_images_and_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--embedding", "prototype", "--readout", "posterior", "--threads", "1"];
    let sample = ["--dataset", "mnist-sample"];
    let trained = noprop(dir.path(), &[&TINY[..], &["run"], &flags, &sample].concat());
    assert!(trained.status.success(), "{trained:?}");
    let result: serde_json::Value = serde_json::from_slice(&trained.stdout).unwrap();
    assert!(result["test_accuracy"].as_f64().unwrap() > 0.3, "{result}");
    let config = std::fs::read_to_string(dir.path().join("run/config.toml")).unwrap();
    assert!(config.contains("embedding-start = \"prototype\""), "{config}");
    let stored = noprop_train::read_weights(&dir.path().join("run/model.safetensors")).unwrap();
    let values = |name: &str| stored.tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (start, learned) = (values("embedding.start"), values("embedding.weight"));
    assert_eq!(start.len(), 10 * 28 * 28);
    assert!(start.iter().all(|pixel| (0.0..=1.0).contains(pixel)) && start.contains(&0.0));
    assert!(start.chunks(28 * 28).all(|image| image.iter().sum::<f32>() > 10.0));
    assert_ne!(start, learned);
    let figure = std::fs::read_to_string(dir.path().join("run/figures/prototypes.svg")).unwrap();
    assert!(figure.contains("learned") && figure.contains("mnist-sample"));
    let again = ["train", "--config", "run/config.toml", "--quiet", "--threads", "2", "--out", "b"];
    assert!(noprop(dir.path(), &again).status.success());
    let bytes = |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).unwrap();
    assert!(bytes("run") == bytes("b"));
}

/// A comparison of many runs names all that are unfinished, also those that have no weights yet.
#[test]
fn compare_names_every_unfinished_run() {
    let dir = tempfile::tempdir().unwrap();
    for run in ["a", "b"] {
        std::fs::create_dir(dir.path().join(run)).unwrap();
        std::fs::write(dir.path().join(run).join("config.toml"), "").unwrap();
    }
    std::fs::create_dir(dir.path().join("b/state")).unwrap();
    std::fs::write(dir.path().join("b/state/progress.json"), "").unwrap();
    let compared = noprop(dir.path(), &["compare", "a", "b"]);
    assert_eq!(compared.status.code(), Some(2));
    let said = String::from_utf8_lossy(&compared.stderr);
    assert_eq!(
        said,
        "error: these runs are not finished: a (nothing of it was saved yet: noprop train --resume a starts it again); b (go on with noprop \
         train --resume b)\n"
    );
}

/// Rounded factors are a setting like any other: written with the run, and repeated from there to the byte on any number of
/// threads. The usual precision is left out, so that runs from before there was a choice can be resumed.
#[test]
fn precision_is_kept_with_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let sample = ["--dataset", "mnist-sample", "--encoder", "frozen"];
    let train = |run: &'static str, flags: &[&'static str]| {
        let trained = noprop(dir.path(), &[&TINY[..], &[run], &sample, flags].concat());
        assert!(trained.status.success(), "{trained:?}");
        let bytes = std::fs::read(dir.path().join(run).join("model.safetensors")).unwrap();
        let config = std::fs::read_to_string(dir.path().join(run).join("config.toml")).unwrap();
        (bytes, config)
    };
    let (rounded, config) = train("rounded", &["--precision", "bf16", "--threads", "1"]);
    assert!(config.contains("precision = \"bf16\""), "{config}");
    let again =
        ["train", "--config", "rounded/config.toml", "--quiet", "--threads", "2", "--out", "b"];
    assert!(noprop(dir.path(), &again).status.success());
    assert!(rounded == std::fs::read(dir.path().join("b/model.safetensors")).unwrap());
    let (usual, config) = train("usual", &[]);
    assert!(!config.contains("precision"), "{config}");
    assert!(usual != rounded);
}

/// Blocks learn by cross-entropy too; the setting is kept with the run and repeated from there, and units that are trained apart
/// have it. The usual loss is left out, so that runs from before there was a choice can be resumed.
#[test]
fn blocks_learn_by_cross_entropy() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let bytes = |run: &str| std::fs::read(root.join(run).join("model.safetensors")).unwrap();
    let config = |run: &str| std::fs::read_to_string(root.join(run).join("config.toml")).unwrap();
    let done = |args: &[&str]| {
        let output = noprop(root, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        output.stdout
    };
    let sample = ["--dataset", "mnist-sample", "--encoder", "per-block"];
    let entropy = ["--block-loss", "cross-entropy"];
    let answer = done(&[&TINY[..], &["run"], &sample, &entropy].concat());
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert!(answer["test_accuracy"].as_f64().unwrap() > 0.8, "{answer}");
    assert!(config("run").contains("block-loss = \"cross-entropy\""));
    let again = ["train", "--config", "run/config.toml", "--quiet", "--out"];
    done(&[&again[..], &["whole"]].concat());
    done(&[&again[..], &["parts", "--blocks", "1-2,readout"]].concat());
    done(&["merge", "parts"]);
    assert!(bytes("run") == bytes("whole") && bytes("run") == bytes("parts"));
    done(&[&TINY[..], &["squared"], &sample, &["--block-loss", "squared"]].concat());
    assert!(!config("squared").contains("block-loss") && bytes("squared") != bytes("run"));
    done(&[&TINY[..], &["averaged"], &sample, &["--ema", "0.9"]].concat());
    let compared = done(&["compare", "run", "squared", "averaged"]);
    let compared = String::from_utf8_lossy(&compared);
    assert!(compared.contains("| dt, cross-entropy |"), "{compared}");
    assert!(compared.contains("| dt, EMA 0.9 |"), "{compared}");
}

#[test]
fn bad_input_is_one_line_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("typo.toml"), "epoch = 3").unwrap();
    let cases: [&[&str]; 34] = [
        &["train", "--embedding", "prototypes"],
        &["train", "--precision", "fp8"],
        &["train", "--embedding-start", "random"],
        &["train", "--embedding", "learned:20", "--embedding-start", "prototype"],
        &["train", "--method", "fm", "--readout", "posterior"],
        &["train", "--method", "backprop", "--readout", "posterior"],
        &["train", "--method", "adjoint", "--embedding", "prototype"],
        &["train", "--method", "classifier", "--embedding", "learned:20"],
        &["train", "--method", "fm", "--block-loss", "cross-entropy"],
        &["train", "--block-loss", "absolute"],
        &["train", "--dataset", "folder:nowhere"],
        &["train", "--method", "fm", "--steps", "0"],
        &["train", "--method", "ct", "--loss-weight", "clipped:0"],
        &["train", "--method", "ct", "--order", "paper"],
        &["train", "--path-noise", "0.1"],
        &["train", "--method", "fm", "--path-noise=-0.1"],
        &["train", "--validation-steps", "5"],
        &["train", "--method", "ct", "--validation-steps", "0"],
        &["train", "--readout", "posterior:0"],
        &["train", "--method", "fm", "--readout", "bayes"],
        &["train", "--order", "paper", "--blocks", "1", "--out", "r"],
        &["train", "--intervals", "2"],
        &["train", "--method", "adjoint", "--intervals", "2"],
        &["train", "--method", "adjoint", "--solver", "posterior"],
        &["train", "--method", "fm", "--intervals", "0"],
        &["train", "--method", "fm", "--intervals", "30"],
        &["train", "--embedding", "learned:0"],
        &["train", "--steps", "0"],
        &["train", "--lr", "NaN"],
        &["train", "--batch-size", "100000"],
        &["train", "--dataset", "mnist"],
        &["train", "--config", "typo.toml"],
        &["train", "--resume", "nothing"],
        &["eval", "--run", "nothing"],
    ];
    for case in cases {
        let output = noprop(dir.path(), case);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{case:?}: {stderr}");
        assert!(stderr.contains("error: "), "{case:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{case:?}: {stderr}");
        let left = ["runs", "r"].map(|name| dir.path().join(name).exists());
        assert_eq!(left, [false; 2], "{case:?} left a run behind");
    }
}

/// The tests below train the smallest network that there is.
const SMALL: [&str; 7] = ["train", "--dataset", "mnist-sample", "--steps", "1", "--epochs", "1"];

/// A sweep that is asked for again trains only what is missing, and never mixes trainings with other settings.
#[test]
fn a_sweep_goes_on_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = |seeds: &str, more: &[&str]| {
        let flags = ["--quiet", "--json", "--out", "all", "--log-file", "log", "--seeds", seeds];
        noprop(dir.path(), &[&SMALL[..], &flags, more].concat())
    };
    let compared = |output: &Output| -> serde_json::Value {
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let weights = |seed: u32| {
        std::fs::read(dir.path().join(format!("all/seed-{seed}/model.safetensors"))).unwrap()
    };
    let first = compared(&sweep("0..2", &[]));
    assert_eq!((&first[0]["n"], first.as_array().unwrap().len()), (&2.into(), 1));
    let [a, b] = first[0]["accuracies"].as_array().unwrap().as_slice() else { panic!("{first}") };
    let mean = (a.as_f64().unwrap() + b.as_f64().unwrap()) / 2.0;
    assert_eq!(first[0]["accuracy"], mean, "{first}");
    assert!(first[0]["training_accuracy"].as_f64().unwrap() > 0.5, "{first}");
    let (zero, one) = (weights(0), weights(1));
    assert!(zero != one && !dir.path().join("all/seed-2").exists());
    let second = sweep("0..=2", &[]);
    assert_eq!(compared(&second)[0]["n"], 3);
    assert!(!String::from_utf8_lossy(&second.stderr).contains("seed"), "{second:?}");
    assert!(weights(0) == zero && weights(1) == one);
    // A seed of a sweep is the training of that seed alone.
    let alone = [&SMALL[..], &["--quiet", "--seed", "1", "--out", "alone"]].concat();
    assert!(noprop(dir.path(), &alone).status.success());
    assert!(std::fs::read(dir.path().join("alone/model.safetensors")).unwrap() == one);

    // The time ends before the training or within it: an empty list, and no failure.
    let long = ["train", "--dataset", "mnist-sample", "--steps", "1", "--epochs", "1000"];
    let timed = ["--seeds", "9", "--max-time", "0.5s", "--quiet", "--json", "--out", "timed"];
    assert_eq!(compared(&noprop(dir.path(), &[&long[..], &timed].concat())), serde_json::json!([]));

    let other = sweep("0..3", &["--lr", "1e-3"]);
    let said = String::from_utf8_lossy(&other.stderr);
    assert_eq!(other.status.code(), Some(2));
    assert!(said.lines().count() == 1 && said.contains("all/seed-0 has other settings"), "{said}");
    assert!(weights(0) == zero);
    for wrong in [["--seed", "1"], ["--seeds", "4..4"], ["--resume", "all/seed-0"]] {
        assert_eq!(sweep("0..2", &wrong).status.code(), Some(2), "{wrong:?}");
    }

    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let is_timed = |line: &str| line.starts_with("20") && line[..30].contains('T');
    assert!(log.lines().all(is_timed), "{log}");
    assert_eq!(log.matches("seed 0 is done").count(), 1, "{log}");
    // What --quiet leaves out on the terminal.
    assert_eq!(log.matches("epoch 1/1").count(), 3, "{log}");
    for wrong in ["no/where", "in/run/log"] {
        let flags = ["--log-file", wrong, "--out", "in/run"];
        let refused = noprop(dir.path(), &[&SMALL[..], &flags].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong}: {refused:?}");
        assert!(!dir.path().join("in").exists());
    }
}

/// The time of a training may run out; nothing of it is lost.
#[test]
fn a_training_whose_time_is_over_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--seed", "3", "--max-time", "0.001s", "--out", "run"];
    let stopped = noprop(dir.path(), &[&SMALL[..], &flags].concat());
    assert!(stopped.status.success(), "{stopped:?}");
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert!(said.contains("the time is over") && said.contains("--resume run"), "{said}");
    assert!(noprop(dir.path(), &["train", "--resume", "run", "--quiet"]).status.success());
    let whole = [&SMALL[..], &["--seed", "3", "--quiet", "--out", "whole"]].concat();
    assert!(noprop(dir.path(), &whole).status.success());
    let weights =
        |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).unwrap();
    assert!(weights("run") == weights("whole"));
}

/// A training that ended early says so in its card, and cannot be made longer without a word.
#[test]
fn a_training_that_ends_early_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // A rate that spoils what the first epochs learned.
    let flags = ["--epochs", "30", "--patience", "1", "--lr", "0.3", "--quiet", "--out", "run"];
    let trained = noprop(dir.path(), &[&SMALL[..5], &flags].concat());
    assert!(trained.status.success(), "{trained:?}");
    assert!(String::from_utf8_lossy(&trained.stderr).contains("the training ends with epoch"));
    let card = std::fs::read_to_string(dir.path().join("run/README.md")).unwrap();
    assert!(card.contains("(of 30, ended by a patience of 1)"), "{card}");
    let longer = noprop(dir.path(), &["train", "--resume", "run", "--epochs", "40"]);
    assert_eq!(longer.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&longer.stderr).contains("--epochs cannot be raised"));
    for (wrong, words) in [
        (["--patience", "3", "--epochs", "3"], "--patience must be less"),
        (["--clip-gradients", "0", "--epochs", "3"], "clip-gradients must be"),
    ] {
        let refused = noprop(dir.path(), &[&SMALL[..5], &wrong, &["--out", "no"]].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
        assert!(!dir.path().join("no").exists());
    }
}

/// Completions and manual pages come from the command line itself, so they name what it has.
#[test]
fn shells_and_man_know_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| {
        let output = noprop(dir.path(), args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&["completions", shell]);
        assert!(script.contains("clip-gradients") && script.contains("compare"), "{shell}");
    }
    let (whole, train) = (said(&["man"]), said(&["man", "train"]));
    assert!(whole.starts_with(".ie") && whole.contains("noprop\\-train"), "{whole}");
    assert!(train.contains(".TH noprop-train 1") && train.contains("\\-\\-patience"), "{train}");
    let unknown = noprop(dir.path(), &["man", "nothing"]);
    assert_eq!(unknown.status.code(), Some(2));
}

//! Runs of an earlier format: settings that mean the same are read, others are refused with the reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod program;

use std::fs;
use std::path::Path;

use program::noprop;

fn done(folder: &Path, line: &str) {
    let output = noprop(folder, &line.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {output:?}");
}

fn refused(folder: &Path, line: &str, words: &str) {
    let output = noprop(folder, &line.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}: {said}");
    assert!(said.contains(words) && said.lines().count() == 1, "{line} should say {words}: {said}");
}

const TRAIN: &str = "train --dataset mnist-sample --epochs 1 --quiet --steps 2";

/// Changes the settings of the run in `folder/run`.
fn change(folder: &Path, run: &str, from: &str, to: &str) {
    let path = folder.join(run).join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// A network without the ReLU is not built any more: its weights in the new one would answer, and answer wrongly.
#[test]
fn continuous_runs_of_the_first_format_are_refused_and_their_settings_train_anew() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(root, &format!("{TRAIN} --method ct --out r"));
    done(root, "eval r");
    change(root, "r", "format = 2\n", "format = 3\n");
    refused(root, "eval r", "reads formats up to 2");
    change(root, "r", "format = 3\n", "");
    for line in ["eval r", "info r", "plot r", "train --resume r --epochs 2", "train --init r"] {
        refused(root, line, "lacks the last ReLU of the paper's Fig. 6");
    }
    done(root, "train --config r/config.toml --quiet --out again");
    done(root, "eval again");
}

/// In the first format the blocks of `dt` with the weights of Eq. 8 outweighed the cross-entropy T times too much.
#[test]
fn weighted_blocks_of_the_first_format_answer_but_are_not_trained_further() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(root, &format!("{TRAIN} --embedding learned:6 --loss-weight clipped:5 --out r"));
    change(root, "r", "format = 2\n", "");
    done(root, "eval r");
    refused(root, "train --resume r --epochs 2", "but not trained further");
    // Its name at that time.
    change(root, "r", "\"clipped:5\"", "\"min-snr:5\"");
    done(root, "eval r");
}

/// A setting that every training has stands in the file that people read. The weights of the default training stay as they were, byte for
/// byte, so its place in them is left out.
#[test]
fn the_readouts_rate_stands_in_the_settings_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(root, &format!("{TRAIN} --out r"));
    let config = fs::read_to_string(root.join("r/config.toml")).unwrap();
    assert!(config.contains("\nreadout-lr-scale = 10.0\n"), "{config}");
    let weights = fs::read(root.join("r/model.safetensors")).unwrap();
    let told = |words: &[u8]| weights.windows(words.len()).any(|bytes| bytes == words);
    assert!(told(b"weight-decay") && !told(b"readout-lr-scale") && !told(b"format"));
    change(root, "r", "readout-lr-scale = 10.0\n", "");
    done(root, "train --resume r --epochs 2 --quiet");
}

/// The name `posterior` without its σ stood for Bayes' rule: in a run it has that meaning, and in a file that a person wrote it is refused.
#[test]
fn a_readout_of_two_meanings_is_read_in_runs_and_refused_in_what_people_write() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(root, &format!("{TRAIN} --readout bayes --out r"));
    change(root, "r", "\"bayes\"", "\"posterior\"");
    let state = root.join("r/state/progress.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("bayes", "posterior")).unwrap();
    for line in [
        "eval r",
        "train --resume r --epochs 2 --quiet",
        "train --config r/config.toml --quiet --out again",
    ] {
        done(root, line);
    }
    fs::write(root.join("mine.toml"), "readout = \"posterior\"\n").unwrap();
    refused(root, "train --config mine.toml", "means what is now bayes");
}

/// Settings of a run from before they had a format, or a rate of the readout, are read as they were meant, and where they mean another
/// training now a warning is printed.
#[test]
fn settings_of_the_first_format_are_read_as_they_were_meant() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(root, &format!("{TRAIN} --method backprop --out r"));
    change(root, "r", "readout-lr-scale = 1.0\n", "");
    done(root, "train --config r/config.toml --quiet --out again");
    let config = fs::read_to_string(root.join("again/config.toml")).unwrap();
    assert!(config.contains("readout-lr-scale = 10.0"), "{config}");

    done(root, &format!("{TRAIN} --loss-weight snr --out w"));
    change(root, "w", "format = 2\n", "");
    let output = noprop(root, &["train", "--config", "w/config.toml", "--quiet", "--out", "b"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this does not repeat that run") && output.status.success(), "{said}");
    fs::write(root.join("mine.toml"), "format = 3\n").unwrap();
    refused(root, "train --config mine.toml", "reads formats up to 2");
}

/// The KL of trained embeddings was not minimised in the first format.
#[test]
fn a_training_without_the_kl_is_not_taken_up_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(root, &format!("{TRAIN} --embedding learned:6 --schedule notebook --out r"));
    change(root, "r", "format = 2\n", "");
    done(root, "eval r");
    refused(root, "train --resume r --epochs 2", "but not trained further");
}

/// Units whose settings an earlier version wrote in other words go on, and are merged.
#[test]
fn units_of_the_first_format_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let units = format!("{TRAIN} --encoder per-block --loss-weight uniform --out r");
    done(root, &format!("{units} --blocks 1"));
    change(root, "r", "readout-lr-scale = 10.0\n", "");
    done(root, &format!("{units} --blocks 2,readout"));
    done(root, "merge r");
}

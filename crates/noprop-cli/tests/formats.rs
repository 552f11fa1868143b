//! Runs of an earlier format: what means the same is read, what does not is refused with the reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn noprop(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_noprop"))
        .current_dir(folder)
        .env_remove("NOPROP_DATA_DIR")
        .args(line.split(' '))
        .output()
        .unwrap()
}

fn done(folder: &Path, line: &str) {
    let output = noprop(folder, line);
    assert!(output.status.success(), "{line}: {output:?}");
}

fn refused(folder: &Path, line: &str, words: &str) {
    let output = noprop(folder, line);
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
    done(root, &format!("{TRAIN} --embedding learned:6 --loss-weight snr --out r"));
    change(root, "r", "format = 2\n", "");
    done(root, "eval r");
    refused(root, "train --resume r --epochs 2", "but not trained further");
    // Its name at that time.
    change(root, "r", "\"snr\"", "\"min-snr:5\"");
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

/// The name `posterior` without its σ stood for Bayes' rule.
#[test]
fn a_readout_of_two_meanings_is_refused_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(root, &format!("{TRAIN} --readout posterior --out r"));
    done(root, "eval r");
    change(root, "r", "posterior:0.5", "posterior");
    refused(root, "eval r", "means what is now bayes");
}

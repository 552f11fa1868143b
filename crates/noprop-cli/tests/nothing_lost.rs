//! Work is not lost, and flags are obeyed or refused: signals, kills, closed pipes, replaced folders, longer trainings, first weights.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use program::{command, noprop};

/// A training of two blocks on the bundled sample, and more arguments.
fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--dataset", "mnist-sample", "--steps", "2"][..], more].concat()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    stderr(output)
}

fn refused(folder: &Path, args: &[&str], words: &str) {
    let output = noprop(folder, args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    assert!(
        said.contains(words) && said.lines().count() == 1,
        "{args:?} should say {words}: {said}"
    );
}

fn weights(folder: &Path, run: &str) -> Vec<u8> {
    fs::read(folder.join(run).join("model.safetensors")).unwrap()
}

/// A setting that is given beside `--resume` and silently ignored makes a result that was not asked for.
#[test]
fn settings_beside_resume_are_refused_and_epochs_train_further() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(&noprop(root, &train(&["--epochs", "1", "--quiet", "--out", "r"])));
    for flag in [
        ["--lr", "5"],
        ["--batch-size", "16"],
        ["--seed", "1"],
        ["--method", "ct"],
        ["--validation", "9"],
        ["--normalize", "channel"],
        ["--precision", "bf16"],
        ["--embedding", "prototype"],
    ] {
        let args = [&["train", "--resume", "r"][..], &flag].concat();
        refused(root, &args, &format!("cannot be used with '{}", flag[0]));
    }
    done(&noprop(root, &["train", "--resume", "r", "--epochs", "3", "--quiet"]));
    let read = |file: &str| fs::read_to_string(root.join("r").join(file)).unwrap();
    assert!(read("config.toml").contains("\nepochs = 3\n"));
    assert_eq!(read("metrics.jsonl").matches("\"event\":\"epoch\"").count(), 3);
    let card = read("README.md");
    assert!(card.contains("another number of epochs on the way: 1, then 3"), "{card}");
    assert!(card.contains("were read 2 times"), "{card}");
    // Nothing is left to do, and nothing changes.
    let before = weights(root, "r");
    done(&noprop(root, &["train", "--resume", "r", "--quiet"]));
    assert!(weights(root, "r") == before);
    refused(root, &["train", "--resume", "r", "--epochs", "2"], "epochs is 2, but 3 are done");
}

/// Nothing is divided by a batch of nothing.
#[test]
fn a_batch_of_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &train(&["--batch-size", "0"]), "batch-size must be at least 2");
}

/// A flag that changes nothing would make a result that was not asked for.
#[test]
fn flags_that_change_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (flags, words) in [
        (["--method", "ct", "--schedule", "linear"], "--schedule is for the method dt"),
        (["--method", "backprop", "--loss-weight", "snr"], "--loss-weight is for the methods"),
        (["--method", "classifier", "--seed", "1"], "--steps is for the methods dt, ct, fm,"),
        (["--encoder", "shared", "--eta", "2"], "--eta is for the methods dt and ct with"),
        (["--encoder", "frozen", "--dropout", "0.5"], "--dropout is not for a frozen encoder"),
        (["--embedding", "prototype", "--embedding-scale", "2"], "--embedding-scale is not for"),
        (["--seed", "1", "--skip-bad", "--quiet"], "--skip-bad is for folder:PATH"),
    ] {
        refused(dir.path(), &train(&flags), words);
    }
}

/// A million threads would take the machine down before the first is put to work.
#[test]
fn a_number_of_threads_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    for number in ["0", "513", "99999999999", "two"] {
        refused(dir.path(), &train(&["--threads", number]), "--threads");
    }
}

/// A kill before the first save costs the time until then, not the run.
#[test]
fn a_run_without_a_saved_state_starts_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(&noprop(root, &train(&["--epochs", "1", "--quiet", "--out", "r"])));
    let whole = weights(root, "r");
    fs::remove_dir_all(root.join("r/state")).unwrap();
    fs::remove_file(root.join("r/model.safetensors")).unwrap();
    fs::write(root.join("r/metrics.jsonl"), "{\"event\":\"sta").unwrap();
    let said = done(&noprop(root, &["train", "--resume", "r", "--quiet"]));
    assert!(said.contains("nothing of r was saved yet: it starts from its beginning"), "{said}");
    assert!(weights(root, "r") == whole);
    // Of a finished run the state may have been deleted to save space: its weights are not trained over.
    fs::remove_dir_all(root.join("r/state")).unwrap();
    refused(root, &["train", "--resume", "r", "--quiet"], "its saved state is gone");
    assert!(weights(root, "r") == whole);
}

/// A disk that fails in the middle of a training is not a mistake in the command: a scheduler must try it again.
#[test]
fn a_failed_write_has_the_exit_code_of_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(&noprop(root, &train(&["--epochs", "1", "--quiet", "--out", "r"])));
    let weights = root.join("r/model.safetensors");
    fs::remove_file(&weights).unwrap();
    fs::create_dir_all(weights.join("in-the-way")).unwrap();
    let failed = noprop(root, &["train", "--resume", "r", "--epochs", "2", "--quiet"]);
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("cannot write weights"), "{}", stderr(&failed));
}

/// `--force` on the folder of a project that happens to have a `config.toml` would delete the project.
#[test]
fn only_a_run_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for file in ["config.toml", "README.md", "figures/mine.png", "state/x", ".lock"] {
        let file = root.join("site").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "[site]\n").unwrap();
    }
    let args = train(&["--epochs", "1", "--quiet", "--out", "site", "--force"]);
    refused(root, &args, "site is not a run of noprop");
    fs::remove_file(root.join("site/.lock")).unwrap();
    refused(root, &args, "site");
    for file in ["README.md", "figures/mine.png", "state/x"] {
        assert!(root.join("site").join(file).is_file(), "{file}");
    }
}

/// A seed that TOML cannot hold would train a run that cannot be read.
#[test]
fn every_seed_that_trains_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let out = ["--epochs", "1", "--quiet", "--out", "r", "--seed"];
    refused(root, &train(&[&out[..], &["9223372036854775808"]].concat()), "--seed");
    assert!(!root.join("r").exists());
    done(&noprop(root, &train(&[&out[..], &["9223372036854775807"]].concat())));
    done(&noprop(root, &["info", "--run", "r"]));
}

/// The accuracy comes first: figures that cannot be written are a warning.
#[test]
fn figures_that_cannot_be_drawn_do_not_cost_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(&noprop(root, &train(&["--epochs", "1", "--quiet", "--out", "r"])));
    fs::remove_dir_all(root.join("r/figures")).unwrap();
    fs::write(root.join("r/figures"), "in the way").unwrap();
    let output = noprop(root, &["train", "--resume", "r", "--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("test accuracy"), "{output:?}");
    assert!(stderr(&output).contains("noprop plot"), "{output:?}");
}

/// Weights of another run are a start; what depends on the number of classes begins anew, and another network is refused.
#[test]
fn a_training_starts_from_the_weights_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(&noprop(root, &train(&["--epochs", "2", "--quiet", "--out", "r"])));
    // At a rate of nearly nothing the weights stay what they were: so the start is the other run's.
    let init = ["train", "--init", "r", "--epochs", "1", "--lr", "1e-12", "--quiet", "--json"];
    let started = noprop(root, &[&init[..], &["--out", "same"]].concat());
    let said = done(&started);
    assert!(said.contains("weights from") && said.contains("tensors taken"), "{said}");
    assert!(!said.contains("anew"), "{said}");
    let accuracy = |run: &str| {
        let answer = noprop(root, &["info", "--run", run, "--json"]);
        serde_json::from_slice::<serde_json::Value>(&answer.stdout).unwrap()["test_accuracy"]
            .as_f64()
            .unwrap()
    };
    assert!((accuracy("same") - accuracy("r")).abs() < 0.02);
    let config = fs::read_to_string(root.join("same/config.toml")).unwrap();
    assert!(config.contains("[init]"), "{config}");
    let again = ["train", "--config", "same/config.toml", "--quiet", "--out", "again"];
    done(&noprop(root, &again));
    assert!(weights(root, "again") == weights(root, "same"));

    let own = ["train", "--init", "r", "--out", "./r", "--force"];
    refused(root, &own, "would replace the run that its weights come from: choose another --out");
    let other = ["--encoder", "per-block", "--out", "other"];
    refused(root, &[&init[..], &other].concat(), "are of another network");
    assert!(!root.join("other").exists());
    fs::write(root.join("r/model.safetensors"), "other").unwrap();
    let again = ["train", "--config", "same/config.toml", "--quiet", "--out", "c"];
    refused(root, &again, "another SHA-256");
    refused(root, &["train", "--init", "nowhere"], "there is nothing of that name");
}

#[cfg(unix)]
mod signals_and_pipes {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    /// A cluster's SIGTERM and a closed terminal's SIGHUP save, as Ctrl-C does.
    #[test]
    fn a_training_that_is_asked_to_stop_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        done(&noprop(root, &train(&["--epochs", "3", "--quiet", "--out", "whole"])));
        for signal in ["-TERM", "-HUP", "-INT"] {
            let run = &signal[1..];
            let args = train(&["--epochs", "3", "--out", run]);
            let mut child = command(root, &args).stderr(Stdio::piped()).spawn().unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap());
            let mut line = String::new();
            while !line.starts_with("epoch 1/3 ") {
                line.clear();
                assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended too early");
            }
            let pid = child.id().to_string();
            // Twice at once, as `timeout` does to a process and its group.
            let kill = ["-c", "kill $1 $0; kill $1 $0", &pid, signal];
            assert!(Command::new("sh").args(kill).status().unwrap().success());
            // The reader is gone before the last words: nothing depends on it.
            drop(said);
            assert!(child.wait().unwrap().success(), "{signal}");
            let log = fs::read_to_string(root.join(run).join("metrics.jsonl")).unwrap();
            assert!(log.contains("\"event\":\"stop\""), "{signal} did not stop it: {log}");
            done(&noprop(root, &["train", "--resume", run, "--quiet"]));
            assert!(weights(root, run) == weights(root, "whole"), "{signal}");
        }
    }

    /// `noprop info RUN | head -1` ends quietly, and a training whose log is not read goes on.
    #[test]
    fn a_reader_that_goes_away_ends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let training = train(&["--epochs", "2", "--out", "r"]);
        let mut child =
            command(root, &training).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert!(child.wait().unwrap().success());
        assert!(root.join("r/README.md").is_file());

        let info = ["info", "--run", "r"];
        let mut child =
            command(root, &info).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

/// A log or an export would destroy a run whose file it is given.
#[test]
fn files_of_a_run_take_no_other_output() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let small = ["--network", "mlp:4,1", "--epochs", "1", "--quiet", "--out"];
    done(&noprop(root, &train(&[&small[..], &["r"]].concat())));
    let before = weights(root, "r");
    let log = ["other", "--log-file", "r/model.safetensors"];
    refused(root, &train(&[&small[..], &log].concat()), "is a file of another run");
    for file in ["r/model.safetensors", "r/config.toml", "r/metrics.jsonl"] {
        let export = ["export", "r", "--format", "onnx", "--force", "--out", file];
        refused(root, &export, "is a file of a run");
    }
    assert_eq!(weights(root, "r"), before);
    assert!(!root.join("other").exists());
}

/// The number of held-out images and the like follow from the data that a config file names.
#[test]
fn a_config_file_may_name_its_data_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::write(root.join("data.toml"), "dataset = \"mnist-sample\"").unwrap();
    let words = ["train", "--config", "data.toml", "--network", "mlp:4,1", "--epochs", "1"];
    done(&noprop(root, &[&words[..], &["--quiet", "--out", "r"]].concat()));
    let config = fs::read_to_string(root.join("r/config.toml")).unwrap();
    assert!(config.contains("dataset = \"mnist-sample\""), "{config}");
    assert!(config.contains("validation = 500\n"), "{config}");
}

/// A number below zero is refused for its value, with the name of the setting.
#[test]
fn numbers_below_zero_are_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for flag in ["--lr", "--ema", "--dropout", "--seed", "--validation"] {
        let output = noprop(dir.path(), &train(&[flag, "-1", "--out", "r"]));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&flag[2..]) && said.contains("-1"), "{flag}: {said}");
        assert!(!said.contains("unexpected argument"), "{said}");
    }
    refused(dir.path(), &train(&["--clip-gradients", "1e-300", "--out", "r"]), "got 1e-300");
    let none = noprop(dir.path(), &train(&["--patience", "0", "--out", "r"]));
    assert!(stderr(&none).contains("above 0"), "{none:?}");
}

/// A script must not take a training that was stopped for one that is done.
#[test]
fn a_stopped_training_answers_in_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--max-time", "1s", "--epochs", "1000", "--quiet", "--json", "--out", "r"];
    let output = noprop(dir.path(), &train(&words));
    done(&output);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, serde_json::json!({ "run": "r", "done": false }));
}

//! A training spread over processes gives the bytes of one process, whatever is killed on the way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod program;

use std::path::Path;
use std::process::{Child, Stdio};

use program::{command, noprop};

fn done(folder: &Path, args: &[&str]) -> String {
    let output = noprop(folder, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code 2 and one line on stderr, which is returned.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = noprop(folder, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    said
}

const TINY: [&str; 10] = [
    "train",
    "--dataset",
    "mnist-sample",
    "--encoder",
    "frozen",
    "--steps",
    "4",
    "--epochs",
    "3",
    "--quiet",
];

/// `train` with the tiny settings and these arguments.
fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TINY[..], more].concat()
}

fn model(folder: &Path, run: &str) -> Vec<u8> {
    std::fs::read(folder.join(run).join("model.safetensors")).unwrap()
}

#[test]
fn parts_merge_to_the_bytes_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    done(dir, &tiny(&["--out", "whole"]));
    done(dir, &tiny(&["--out", "apart", "--blocks", "2-3", "--threads", "1"]));
    let unfinished = refused(dir, &["merge", "apart"]);
    for unit in ["block.1 is missing", "block.4 is missing", "readout is missing"] {
        assert!(unfinished.contains(unit), "{unfinished}");
    }
    assert!(!unfinished.contains("block.2"), "{unfinished}");
    assert!(!dir.join("apart/model.safetensors").exists());

    // The same command by two processes at once, and units in any order.
    let readout = tiny(&["--out", "apart", "--blocks", "readout"]);
    let mut first = command(dir, &readout).stderr(Stdio::null()).spawn().unwrap();
    done(dir, &tiny(&["--out", "apart", "--blocks", "1,4"]));
    assert!(first.wait().unwrap().success());
    let status: serde_json::Value =
        serde_json::from_str(&done(dir, &["status", "apart", "--json"])).unwrap();
    let units = status.as_array().unwrap();
    assert_eq!(units.len(), 5);
    assert!(units.iter().all(|unit| unit["status"] == "done" && unit["epochs"] == 3), "{status}");
    let merged: serde_json::Value =
        serde_json::from_str(&done(dir, &["merge", "apart", "--json"])).unwrap();
    assert!(model(dir, "whole") == model(dir, "apart"));
    let whole: serde_json::Value =
        serde_json::from_str(&done(dir, &["eval", "--run", "whole", "--json"])).unwrap();
    assert_eq!(merged["test_accuracy"], whole["accuracy"]);
    let learned = done(dir, &["eval", "whole", "--split", "train", "--json"]);
    let learned: serde_json::Value = serde_json::from_str(&learned).unwrap();
    assert_eq!(merged["training_accuracy"], learned["accuracy"]);
    // The times of all units, and of the validation.
    let log = std::fs::read_to_string(dir.join("apart/metrics.jsonl")).unwrap();
    let events: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs: Vec<_> = events.iter().filter(|event| event["event"] == "epoch").collect();
    let total = |key: &str| epochs.iter().map(|epoch| epoch[key].as_f64().unwrap()).sum::<f64>();
    let whole_time = epochs.last().unwrap()["total_seconds"].as_f64().unwrap();
    assert!(whole_time > total("seconds"), "{log}");
    assert_eq!(merged["seconds"].as_f64(), Some(whole_time));
    let notes = |unit: &str, epoch: u32| -> f64 {
        let file = dir.join(format!("apart/units/{unit}/epochs/{epoch:04}.safetensors"));
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        let after = text.split("\\\"seconds\\\":").nth(1).unwrap();
        after.split(',').next().unwrap().parse().unwrap()
    };
    let units = ["block.1", "block.2", "block.3", "block.4", "readout"];
    let first: f64 = units.iter().map(|unit| notes(unit, 1)).sum();
    assert!((epochs[0]["seconds"].as_f64().unwrap() - first).abs() < 1e-9, "{first}: {log}");
    assert!(merged["peak_memory_bytes"].is_null(), "a merge's memory is not a training's");

    // Again, and after a unit was trained again: the same.
    done(dir, &["merge", "apart"]);
    assert!(model(dir, "whole") == model(dir, "apart"));
    done(dir, &tiny(&["--out", "apart", "--blocks", "2", "--force"]));
    done(dir, &["merge", "apart"]);
    assert!(model(dir, "whole") == model(dir, "apart"));

    // A unit of another training, or of another block, is not taken for one of this.
    let other = "units/block.2";
    done(dir, &tiny(&["--out", "other", "--blocks", "2", "--seed", "7"]));
    std::fs::rename(dir.join("apart").join(other), dir.join("kept")).unwrap();
    std::fs::rename(dir.join("other").join(other), dir.join("apart").join(other)).unwrap();
    assert!(refused(dir, &["merge", "apart"]).contains("other settings"));
    std::fs::remove_dir_all(dir.join("apart").join(other)).unwrap();
    copy(&dir.join("apart/units/block.3"), &dir.join("apart").join(other));
    assert!(refused(dir, &["merge", "apart"]).contains("block.2."));
    std::fs::remove_dir_all(dir.join("apart").join(other)).unwrap();
    std::fs::rename(dir.join("kept"), dir.join("apart").join(other)).unwrap();

    // A file that a disk cut short, and one of another version.
    let epoch = dir.join("apart").join(other).join("epochs/0002.safetensors");
    let bytes = std::fs::read(&epoch).unwrap();
    std::fs::write(&epoch, &bytes[..bytes.len() - 4]).unwrap();
    assert!(refused(dir, &["merge", "apart"]).contains("0002.safetensors"));
    let version = format!("\\\"version\\\":\\\"{}\\\"", env!("CARGO_PKG_VERSION"));
    let older = version.replace(env!("CARGO_PKG_VERSION"), "0.0.9");
    let at = bytes.windows(version.len()).position(|window| window == version.as_bytes()).unwrap();
    assert_eq!(version.len(), older.len());
    std::fs::write(&epoch, [&bytes[..at], older.as_bytes(), &bytes[at + older.len()..]].concat())
        .unwrap();
    assert!(refused(dir, &["merge", "apart"]).contains("0.0.9"));
    std::fs::write(&epoch, &bytes).unwrap();
    let silent = noprop(dir, &["merge", "apart"]);
    assert!(silent.status.success() && silent.stderr.is_empty(), "{silent:?}");

    // A lost file: going on, the unit would find nothing to do, and no merge would ever follow.
    std::fs::remove_file(&epoch).unwrap();
    let lost = refused(dir, &["train", "--resume", "apart", "--blocks", "2"]);
    assert!(lost.contains("0002.safetensors is missing") && lost.contains("--force"), "{lost}");
    std::fs::write(&epoch, &bytes).unwrap();

    // Bits are promised for one kind of processor: of several kinds somebody should know.
    let key = b"\\\"processor\\\":\\\"";
    let name = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let mut another = bytes.clone();
    another[name] = b'?';
    std::fs::write(&epoch, another).unwrap();
    let warned = noprop(dir, &["merge", "apart"]);
    assert!(String::from_utf8_lossy(&warned.stderr).contains("several kinds of machine"));
    std::fs::write(&epoch, bytes).unwrap();
    done(dir, &["merge", "apart"]);
    assert!(model(dir, "whole") == model(dir, "apart"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("epochs")).unwrap();
    for file in ["state.safetensors", "epochs/0001.safetensors", "epochs/0002.safetensors"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    std::fs::copy(from.join("epochs/0003.safetensors"), to.join("epochs/0003.safetensors"))
        .unwrap();
}

/// Killed with the signal that cannot be caught, after its first epoch of many.
#[test]
#[cfg(unix)]
fn a_killed_part_goes_on_where_it_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let train = ["train", "--dataset", "mnist-sample", "--encoder", "frozen", "--steps", "4"];
    let long = |more: &[&'static str]| [&train[..], &["--epochs", "12", "--quiet"], more].concat();
    done(dir, &long(&["--out", "whole"]));
    let all = long(&["--out", "apart", "--blocks", "1-4,readout", "--threads", "1"]);
    let mut killed = command(dir, &all).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&mut killed, &dir.join("apart/units/block.3/epochs/0001.safetensors"));
    // Another process cannot spoil what this one writes.
    let locked = noprop(dir, &long(&["--out", "apart", "--blocks", "2"]));
    let said = String::from_utf8_lossy(&locked.stderr).into_owned();
    assert_eq!(locked.status.code(), Some(1), "{said}");
    assert!(said.contains("block.2 is in training"), "{said}");
    killed.kill().unwrap();
    assert!(!killed.wait().unwrap().success(), "it was done before it was killed");
    // Nobody can know which unit is meant.
    let unnamed = refused(dir, &["train", "--resume", "apart", "--quiet"]);
    assert!(unnamed.contains("--blocks"), "{unnamed}");
    done(dir, &["train", "--resume", "apart", "--blocks", "1-4,readout", "--quiet"]);
    done(dir, &["merge", "apart"]);
    assert!(model(dir, "whole") == model(dir, "apart"));
}

fn wait_for(child: &mut Child, file: &Path) {
    while !file.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// With the threads split among workers, blocks with encoders of their own and behind a shared one, whose gradients meet.
#[test]
fn workers_do_not_change_a_bit() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let train = ["train", "--dataset", "mnist-sample", "--steps", "3", "--epochs", "1", "--quiet"];
    for encoder in ["frozen", "shared"] {
        for (run, more) in [
            ("one", &["--threads", "2", "--block-workers", "1"][..]),
            ("two", &["--threads", "3", "--block-workers", "2"]),
            ("default", &["--threads", "1"]),
        ] {
            let out = ["--force", "--out", run, "--encoder", encoder];
            done(dir, &[&train[..], more, &out].concat());
        }
        assert!(model(dir, "one") == model(dir, "two"), "{encoder}");
        assert!(model(dir, "one") == model(dir, "default"), "{encoder}");
    }
    assert!(refused(dir, &tiny(&["--block-workers", "0"])).contains("block-workers"));
}

#[test]
fn what_cannot_be_parted_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let train = ["train", "--dataset", "mnist-sample", "--steps", "2", "--out", "run", "--blocks"];
    for (blocks, more, reason) in [
        ("1", &["--encoder", "shared"][..], "share an image encoder"),
        ("1", &["--embedding", "learned:4", "--encoder", "per-block"], "gradients of all"),
        ("1", &["--method", "backprop"], "end to end"),
        ("3", &["--encoder", "frozen"], "blocks 1 to 2"),
        ("readout", &["--encoder", "frozen", "--readout", "bayes"], "no readout"),
        ("0", &["--encoder", "frozen"], "3-5,8,readout"),
    ] {
        let said = refused(dir, &[&train[..], &[blocks], more].concat());
        assert!(said.contains(reason), "{said}");
        assert!(!dir.join("run").exists());
    }
    assert!(refused(dir, &tiny(&["--blocks", "1"])).contains("--out"));
    std::fs::create_dir(dir.join("mine")).unwrap();
    std::fs::write(dir.join("mine/beach.jpg"), "").unwrap();
    assert!(refused(dir, &tiny(&["--blocks", "1", "--out", "mine"])).contains("already exists"));
    done(dir, &tiny(&["--out", "run", "--blocks", "1"]));
    let other = refused(dir, &tiny(&["--out", "run", "--blocks", "2", "--seed", "1"]));
    assert!(other.contains("other settings"), "{other}");
    assert!(refused(dir, &["eval", "--run", "run"]).contains("noprop merge run"));
}

/// A feature that was not built in is named, and nothing is begun.
#[cfg(not(feature = "mpi"))]
#[test]
fn training_over_mpi_needs_its_feature() {
    let dir = tempfile::tempdir().unwrap();
    let said = refused(dir.path(), &tiny(&["--out", "run", "--distributed", "mpi"]));
    assert!(said.contains("feature mpi"), "{said}");
    let said =
        refused(dir.path(), &tiny(&["--out", "run", "--distributed", "mpi", "--blocks", "1"]));
    assert!(said.contains("--blocks"), "{said}");
    assert!(!dir.path().join("run").exists());
}

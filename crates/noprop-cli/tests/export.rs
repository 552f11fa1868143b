//! `noprop export`: a file that is written whole or not at all, and one clear line with exit code 2 for what cannot be exported.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod program;

use std::fs;
use std::path::Path;

use program::noprop;

fn done(folder: &Path, args: &[&str]) -> String {
    let output = noprop(folder, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exports `run` to the file `out`. Returns the line on stderr, after exit code 2.
fn refused(folder: &Path, run: &str, out: &str, more: &[&str]) -> String {
    let export = ["export", run, "--format", "onnx", "--out", out];
    let output = noprop(folder, &[&export[..], more].concat());
    assert_eq!(output.status.code(), Some(2), "{run} {out} {more:?}: {output:?}");
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    said
}

const TINY: [&str; 10] = [
    "train",
    "--dataset",
    "mnist-sample",
    "--network",
    "mlp:8,1",
    "--steps",
    "2",
    "--epochs",
    "1",
    "--quiet",
];

/// The names of the files in `folder`, which a refusal must not change.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A file is replaced only on request, and nothing is left of an export that is refused.
#[test]
fn a_file_is_written_once_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    done(dir, &[&TINY[..], &["--out", "dt"]].concat());
    let export = ["export", "dt", "--format", "onnx", "--out", "dt.onnx"];
    let said = done(dir, &export);
    let ports =
        "image [N, 1, 28, 28], noise [N, 1, 1, 10] → probabilities [N, 10], per_block [N, 2, 10]";
    assert!(said.starts_with("dt.onnx: ") && said.contains(ports), "{said}");
    let bytes = fs::read(dir.join("dt.onnx")).unwrap();

    fs::create_dir(dir.join("folder")).unwrap();
    let before = files(dir);
    let there = refused(dir, "dt", "dt.onnx", &["--sampler", "stochastic"]);
    assert!(there.contains("dt.onnx exists") && there.contains("--force"), "{there}");
    assert_eq!(fs::read(dir.join("dt.onnx")).unwrap(), bytes);
    for (run, out, more, reason) in [
        ("dt", "folder", &["--force"][..], "cannot write folder"),
        ("dt", "nowhere/x.onnx", &[], "cannot write nowhere/x.onnx"),
        ("dt", "x.onnx", &["--steps", "5"], "--steps is for the methods ct, fm and adjoint"),
        ("dt", "x.onnx", &["--runs", "0"], "--runs"),
        ("nowhere", "x.onnx", &[], "nowhere"),
        ("folder", "x.onnx", &[], "config.toml"),
    ] {
        let said = refused(dir, run, out, more);
        assert!(said.contains(reason), "{said}");
        assert_eq!(files(dir), before, "{said}");
    }

    let noisy = ["--sampler", "stochastic", "--runs", "4", "--force", "--json"];
    let said = done(dir, &[&export[..], &noisy].concat());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["inputs"]["noise"], serde_json::json!([4, 3, 10]));
    assert_eq!(fs::metadata(dir.join("dt.onnx")).unwrap().len(), said["bytes"].as_u64().unwrap());
}

/// Weights that are not there yet cannot be exported, and the line says what to do.
#[test]
fn a_run_without_weights_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let apart = ["--encoder", "frozen", "--blocks", "1", "--out", "apart"];
    done(dir, &[&TINY[..], &apart].concat());
    let said = refused(dir, "apart", "x.onnx", &[]);
    assert!(said.contains("noprop merge apart"), "{said}");
    fs::create_dir(dir.join("begun")).unwrap();
    fs::copy(dir.join("apart/config.toml"), dir.join("begun/config.toml")).unwrap();
    let said = refused(dir, "begun", "x.onnx", &[]);
    assert!(said.contains("model.safetensors"), "{said}");
    assert!(!dir.join("x.onnx").exists());
}

//! The help texts and errors of the program, word for word: they are part of the product, so a change of one must be seen.
//! After a wanted change: `INSTA_UPDATE=always cargo test -p noprop-cli --test snapshots`, and read the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

/// stdout, or stderr where the program refuses, with the folder it ran in left out.
fn said(args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("typo.toml"), "epoch = 3\n").unwrap();
    std::fs::write(dir.path().join("text.png"), "no picture\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_noprop"))
        .current_dir(dir.path())
        .env_remove("NOPROP_DATA_DIR")
        .args(args)
        .output()
        .unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    let code = output.status.code().unwrap();
    format!("exit {code}\n{}", String::from_utf8(text).unwrap())
}

#[test]
fn help() {
    insta::assert_snapshot!("help", said(&["--help"]));
    let commands = [
        "train",
        "eval",
        "predict",
        "export",
        "plot",
        "info",
        "compare",
        "reproduce",
        "serve",
        "fetch",
    ];
    for command in commands {
        insta::assert_snapshot!(format!("help_{command}"), said(&[command, "--help"]));
    }
}

#[test]
fn refusals() {
    let cases: [&[&str]; 12] = [
        &["tarin"],
        &["train", "--dataset", "nmist"],
        &["train", "--dataset", "mnist"],
        &["train", "--preset", "papr"],
        &["train", "--method", "bp"],
        &["train", "--device", "cuda"],
        &["train", "--dataset", "mnist-sample", "--steps", "0"],
        &["train", "--dataset", "mnist-sample", "--dropout", "1"],
        &["train", "--dataset", "mnist-sample", "--lr", "NaN"],
        &["train", "--dataset", "mnist-sample", "--config", "typo.toml"],
        &["train", "--resume", "nowhere"],
        &["eval", "--run", "nowhere"],
    ];
    let all: Vec<String> =
        cases.iter().map(|case| format!("$ noprop {}\n{}", case.join(" "), said(case))).collect();
    insta::assert_snapshot!("refusals", all.join("\n"));
}

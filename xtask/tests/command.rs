//! The chores as a person calls them: their messages and exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

fn xtask(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .current_dir(dir)
        .env_remove("NOPROP_DATA_DIR")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_bad_mirror_is_bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    for mirror in ["ftp://a.b/", "nowhere"] {
        let output = xtask(dir.path(), &["fetch-mnist", "--mirror", mirror]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(mirror), "{}", stderr(&output));
    }
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_mirror_without_the_files_is_one_line_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let output = xtask(dir.path(), &["fetch-cifar10", "--mirror", "empty", "--data-dir", "here"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let errors: Vec<_> = text.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(
        errors,
        [
            "error: cannot get cifar-10-binary.tar.gz: empty: the file is not there, packed or unpacked; \
             check the network, or give another source with --mirror URL-OR-DIR"
        ]
    );
    // An empty folder would look like a data set.
    assert!(!dir.path().join("here/cifar10").exists());
}

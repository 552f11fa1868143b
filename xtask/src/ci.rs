//! `cargo xtask ci`: the checks that must pass before a change lands.
//!
//! They need the Rust toolchain and a C compiler, and install nothing. `.ci/run` calls this chore and adds the tests of Slurm and MPI, whose
//! programs it installs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::program::say;

/// The checks in the order in which they run: arguments of cargo.
const CHECKS: [&str; 5] = [
    "fmt --all --check",
    "clippy --workspace --all-targets --locked -- -D warnings",
    "doc --workspace --no-deps --locked",
    "test --workspace",
    // Every library must be ready for a registry: its files are there, and its manifest is complete. The lock file is left out, because the
    // libraries cannot be resolved against a registry that does not have them yet.
    "package --workspace --exclude noprop-cli --exclude xtask --no-verify --allow-dirty --exclude-lockfile --offline",
];

/// Runs the checks, and stops at the first that fails.
pub fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    for check in CHECKS {
        say(&format!("cargo {check}"));
        let status = Command::new(env!("CARGO"))
            .args(check.split_whitespace())
            .env("RUSTDOCFLAGS", "-D warnings")
            .current_dir(root)
            .status()?;
        ensure!(status.success(), "cargo {check}: failed");
    }
    Ok(())
}

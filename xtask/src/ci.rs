//! `cargo xtask ci`: the checks that must pass before a change lands.
//!
//! They need the Rust toolchain and a C compiler, and install nothing. `.ci/run` calls this chore and adds the tests of Slurm and MPI, whose
//! programs it installs.

use anyhow::Result;

use crate::workspace::{self, report};

/// The checks in the order in which they run: arguments of cargo.
const CHECKS: [&str; 6] = [
    "fmt --all --check",
    "clippy --workspace --all-targets --locked -- -D warnings",
    "doc --workspace --no-deps --locked",
    "test --workspace",
    // Projects that use the crates from outside. In the same target folder, for what is the same in both builds.
    "test --manifest-path outside/Cargo.toml --target-dir target --locked",
    // Every library must be ready for a registry: its files are there, and its manifest is complete. The lock file is left out, because the
    // libraries cannot be resolved against a registry that does not have them yet.
    "package --workspace --exclude noprop-cli --exclude xtask --no-verify --allow-dirty --exclude-lockfile --offline",
];

/// Runs the checks, and stops at the first that fails.
pub fn run() -> Result<()> {
    let root = workspace::root()?;
    for check in CHECKS {
        report(&format!("cargo {check}"));
        let mut cargo = workspace::cargo(root, check);
        if check.starts_with("doc") {
            cargo.env("RUSTDOCFLAGS", "-D warnings");
        }
        workspace::run(&mut cargo)?;
    }
    Ok(())
}

//! `cargo xtask sanitize`: the tests of the crate with the `unsafe` code, watched by AddressSanitizer.
//!
//! Every read and write of the compiled kernels is checked for leaving its allocation, also those that the vector
//! instructions make, which an interpreter does not know.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The sanitizer's run-time library comes with the toolchain for this target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

pub fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let status = Command::new(env!("CARGO"))
        .args(["test", "--package", "noprop-kernels", "--lib", "--tests", "--target", TARGET])
        // Of its own, or every other build would start anew.
        .args(["--target-dir", "target/sanitize"])
        // The sanitizer brings an allocator of its own, which has none of the system's settings.
        .args(["--", "--skip", "the_gnu_allocator_takes_the_settings"])
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // The flag is not stable, but the toolchain that is pinned has it: this lets it be used, here and nowhere else.
        .env("RUSTC_BOOTSTRAP", "1")
        // Pools of buffers live as long as their threads, which is no leak.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "the sanitizer or a test found something");
    Ok(())
}

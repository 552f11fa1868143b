//! `cargo xtask sanitize`: the tests of the crate with the `unsafe` code, under AddressSanitizer.
//!
//! It finds every read and write of the compiled kernels outside of an allocation, also those by vector
//! instructions, which an interpreter does not support. Overflow and debug assertions are checked too; the plain tests leave these checks
//! out of this crate, because they would make trainings in tests too slow.

use anyhow::{Context, Result};

use crate::workspace;

/// The tests, with settings of cargo that replace those of the root `Cargo.toml`.
const TESTS: &str = "test --package noprop-kernels --lib --tests \
    --config profile.test.package.noprop-kernels.overflow-checks=true \
    --config profile.test.package.noprop-kernels.debug-assertions=true";
/// The sanitizer's run-time library comes with the toolchain for this target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

pub fn run() -> Result<()> {
    let root = workspace::root()?;
    let mut tests = workspace::cargo(root, TESTS);
    tests
        .args(["--target", TARGET])
        // A folder of its own, because its flags would make every other build start again.
        .args(["--target-dir", "target/sanitize"])
        // The sanitizer has its own allocator, without the settings of the system's.
        .args(["--", "--skip", "the_gnu_allocator_takes_the_settings"])
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // The flag is unstable; this allows it on the pinned stable toolchain, for this command alone.
        .env("RUSTC_BOOTSTRAP", "1")
        // Pools of buffers live as long as their threads, which is not a leak.
        .env("ASAN_OPTIONS", "detect_leaks=0");
    workspace::run(&mut tests).context("the sanitizer or a test found something")
}

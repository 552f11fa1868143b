//! The program that an engine's test runs, and a line for whoever waits for it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A line of what happened. With nobody to tell, the exit code has to do.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Where cargo puts what it builds.
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The program noprop: the one that NOPROP names, which is built already, or one that is built here with these `features`. A build here is of
/// the program alone, for which candle is built anew where the last one was of the whole workspace.
pub fn noprop(root: &Path, features: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NOPROP") {
        return PathBuf::from(path).canonicalize().context("NOPROP names no program");
    }
    let build = ["build", "-p", "noprop-cli", "--features", features];
    let built = Command::new(env!("CARGO")).args(build).current_dir(root).status()?;
    ensure!(built.success(), "noprop does not build");
    Ok(target(root).join("debug").join(format!("noprop{}", std::env::consts::EXE_SUFFIX)))
}

//! `cargo xtask ci`: what `.ci/run` does, for those who do not want to remember where it is.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let status = Command::new(root.join(".ci/run")).current_dir(root).status()?;
    ensure!(status.success(), "something does not hold");
    Ok(())
}

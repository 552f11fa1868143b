//! The workspace: its folder, the program built from it, and a line of output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Prints a line. If the reader of the output is gone, the chore continues: its exit code is the result.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The folder of the workspace.
pub fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")
}

/// The folder for cargo's output.
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The program noprop: the one that NOPROP names, or else one that is built here with these `features`. After a build of the whole
/// workspace, a build here compiles candle again, because it is of the program alone.
pub fn noprop(root: &Path, features: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NOPROP") {
        return PathBuf::from(path).canonicalize().context("NOPROP does not name a program");
    }
    let build = ["build", "-p", "noprop-cli", "--features", features];
    let built = Command::new(env!("CARGO")).args(build).current_dir(root).status()?;
    ensure!(built.success(), "noprop does not build");
    Ok(target(root).join("debug").join(format!("noprop{}", std::env::consts::EXE_SUFFIX)))
}

/// An empty folder of this name among cargo's output; what it held before is removed.
pub fn fresh_folder(root: &Path, name: &str) -> Result<PathBuf> {
    let folder = target(root).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}

/// A copy of a program in `folder`, so that a build in the meantime does not change what runs.
pub fn copy(program: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let to = folder.join(name);
    std::fs::copy(program, &to).with_context(|| program.display().to_string())?;
    Ok(to)
}

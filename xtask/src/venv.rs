//! Environments of Python among cargo's output, for the chores that run Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{quiet, report, run, target};

/// The Python of the environment `name` among cargo's output, with the packages in `requirements`, a file in `root`. It is made unless it
/// is there with these requirements; `what` names its content.
pub fn python(root: &Path, name: &str, requirements: &str, what: &str) -> Result<PathBuf> {
    let (folder, requirements) = (target(root).join(name), root.join(requirements));
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    // The requirements of the last installation; if they differ now, it is repeated.
    let stamp = folder.join("installed.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    report(&format!("installing {what} into {} (once)", folder.display()));
    let host = if cfg!(windows) { "python" } else { "python3" };
    let mut venv = Command::new(host);
    run(quiet(venv.args(["-m", "venv"]).arg(&folder))).context("no Python with venv")?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-compile", "-r"]).arg(&requirements);
    run(quiet(&mut pip)).context("pip could not install it")?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
}

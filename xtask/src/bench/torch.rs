//! The PyTorch peer: a virtual environment under `target/peers`, made on first use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{quiet, report, run};

/// The peer's Python and script.
#[derive(Debug, Clone)]
pub struct Torch {
    python: PathBuf,
    script: PathBuf,
}

impl Torch {
    /// A command that starts the peer; the caller adds the number of threads.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(&self.script);
        command
    }

    /// The same for single layers.
    pub fn layers(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.script.with_file_name("torch_layers.py"));
        command
    }
}

/// The peer in `python`, or in an environment that is created for it unless it is there already.
pub fn find(root: &Path, python: Option<&Path>) -> Result<Torch> {
    let peers = root.join("xtask/peers");
    let script = peers.join("torch_peer.py");
    if let Some(python) = python {
        return Ok(Torch { python: python.into(), script });
    }
    let requirements = peers.join("requirements.txt");
    let folder = root.join("target/peers/torch");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let torch = Torch { python, script };
    // The requirements of the last installation; if they differ now, it is repeated.
    let stamp = folder.join("installed.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(torch);
    }
    report(
        "installing PyTorch into target/peers/torch (once; a few gigabytes on Linux, where PyPI's build brings CUDA)",
    );
    let host = if cfg!(windows) { "python" } else { "python3" };
    let mut venv = Command::new(host);
    run(quiet(venv.args(["-m", "venv"]).arg(&folder))).context("no Python with venv")?;
    let mut pip = Command::new(&torch.python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-compile", "-r"]).arg(&requirements);
    run(quiet(&mut pip)).context("pip could not install it")?;
    std::fs::write(&stamp, wanted)?;
    Ok(torch)
}

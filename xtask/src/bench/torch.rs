//! The PyTorch peer: a virtual environment under `target/peers`, made on first use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::venv;

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
    let python = venv::python(
        root,
        "peers/torch",
        "xtask/peers/requirements.txt",
        "PyTorch (a few gigabytes on Linux, where PyPI's build brings CUDA)",
    )?;
    Ok(Torch { python, script })
}

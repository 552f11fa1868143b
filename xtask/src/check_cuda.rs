//! `cargo xtask check-cuda`: the CUDA build on a machine with or without a GPU.
//!
//! nvcc compiles the kernels, and clippy checks the crates with the feature cuda, tests included. `cargo test -p noprop-kernels` tests the
//! results of the kernels without CUDA, and `scripts/gpu/check.sh` on a GPU.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// The kernels' sources in the order in which the program joins them.
const KERNELS: [&str; 5] = ["prelude.cu", "random.cu", "conv.cu", "dense.cu", "loss.cu"];
/// The oldest GPU that CUDA 13 supports (Turing), and the H100 and H200.
const ARCHITECTURES: [&str; 2] = ["compute_75", "compute_90"];

pub fn run() -> Result<()> {
    let root = workspace::root()?;
    let folder = root.join("crates/noprop-kernels/src/gpu/kernels");
    let mut source = String::new();
    for name in KERNELS {
        let path = folder.join(name);
        source += &std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    let target = root.join("target-cuda");
    std::fs::create_dir_all(&target)?;
    let joined = target.join("kernels.cu");
    std::fs::write(&joined, source)?;
    for architecture in ARCHITECTURES {
        let compile = format!(
            "nvcc -ptx -arch={architecture} -Werror all-warnings -o '{}' '{}'",
            target.join("kernels.ptx").display(),
            joined.display()
        );
        shell(root, &compile).with_context(|| format!("the kernels for {architecture}"))?;
    }
    shell(
        root,
        "cargo clippy -p noprop-cli -p noprop-train -p noprop-kernels --all-targets --features noprop-cli/cuda,noprop-train/cuda,noprop-kernels/cuda -- -D warnings",
    )
}

/// Runs a command with CUDA's compiler and libraries: the machine's, or those that the script installs.
fn shell(root: &Path, command: &str) -> Result<()> {
    // In two steps, because a failure within eval would not end the script.
    let script = format!("set -e; env=$(scripts/gpu/toolkit.sh); eval \"$env\"; {command}");
    workspace::run(Command::new("bash").args(["-c", &script]).current_dir(root))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Without CUDA a command would check or build something else.
    #[test]
    fn nothing_runs_without_the_toolkit() {
        let without_scripts = tempfile::tempdir().unwrap();
        assert!(shell(without_scripts.path(), "touch it-ran").is_err());
        assert!(!without_scripts.path().join("it-ran").exists());
    }

    /// NOPROP_CUDA_DIR may name a folder of its user, such as a home.
    #[test]
    fn the_toolkit_removes_no_files_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("thesis.tex");
        std::fs::write(&file, "").unwrap();
        let mut toolkit = Command::new("bash");
        toolkit.arg("scripts/gpu/toolkit.sh").current_dir(workspace::root().unwrap());
        toolkit.env("NOPROP_CUDA_DIR", dir.path()).env_remove("CUDA_HOME");
        let ended = toolkit.output().unwrap();
        let complaint = String::from_utf8_lossy(&ended.stderr);
        // Where nvcc is installed, the folder is not looked at.
        assert!(ended.status.success() || complaint.contains("other files"), "{complaint}");
        assert!(file.is_file());
    }
}

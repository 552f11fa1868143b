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
    let script = format!("set -e; eval \"$(scripts/gpu/toolkit.sh)\"; {command}");
    workspace::run(Command::new("bash").args(["-c", &script]).current_dir(root))
}

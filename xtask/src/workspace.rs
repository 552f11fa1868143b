//! What the chores share: the workspace's folder, the program built from it, other programs, and a line of output.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A command that its user can correct. The line says how.
#[derive(Debug)]
pub struct BadUsage(pub String);

impl fmt::Display for BadUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUsage {}

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

/// cargo with `arguments`, in the workspace.
pub fn cargo(root: &Path, arguments: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments.split_whitespace()).current_dir(root);
    cargo
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status();
    let status = status.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(status.success(), "failed: {command:?}");
    Ok(())
}

/// The output of a command that must succeed.
///
/// # Errors
/// The last line of its stderr, if it fails.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.lines().next_back().unwrap_or("it failed without a word");
    let program = Path::new(command.get_program()).display();
    ensure!(output.status.success(), "{program}: {complaint}");
    Ok(output.stdout)
}

/// A command without input and output.
pub fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Sends a signal, such as `-9`, to a process.
pub fn signal(which: &str, id: u32) -> Result<()> {
    run(Command::new("kill").args([which, &id.to_string()]))
}

/// Waits until `done` returns true.
pub fn wait(what: &str, patience: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        ensure!(started.elapsed() < patience, "{what}: not within {patience:?}");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The program noprop: the one that NOPROP names, or else one that is built here with these `features`. After a build of the whole
/// workspace, a build here compiles candle again, because it is of the program alone.
pub fn noprop(root: &Path, features: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NOPROP") {
        let there = PathBuf::from(&path).canonicalize();
        return there.map_err(|error| {
            BadUsage(format!("NOPROP names no program: {}: {error}", path.display())).into()
        });
    }
    run(cargo(root, "build -p noprop-cli").args(["--features", features]))?;
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

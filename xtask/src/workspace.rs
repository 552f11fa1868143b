//! What the chores share: the workspace's folder, the program built from it, other programs, and a line of output.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use noprop_files::UNFINISHED;

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
    Ok(built_program(root, "noprop"))
}

/// A program that cargo has built in the workspace.
pub fn built_program(root: &Path, name: &str) -> PathBuf {
    built(root, &format!("{name}{EXE_SUFFIX}"))
}

/// A file that cargo has built in the workspace, with the profile of a plain `cargo build`.
pub fn built(root: &Path, file: &str) -> PathBuf {
    profile(target(root), std::env::var_os("CARGO_BUILD_TARGET")).join(file)
}

/// The folder of that profile in `target`. The output for a target that is named has a folder of its own.
fn profile(target: PathBuf, triple: Option<OsString>) -> PathBuf {
    let output = match triple {
        Some(triple) => target.join(triple),
        None => target,
    };
    output.join("debug")
}

/// An empty folder of this name among cargo's output; what it held before is removed.
///
/// # Errors
/// [`BadUsage`] if one of the `needed` files is in it.
pub fn fresh_folder(root: &Path, name: &str, needed: &[&Path]) -> Result<PathBuf> {
    emptied(target(root).join(name), needed)
}

fn emptied(folder: PathBuf, needed: &[&Path]) -> Result<PathBuf> {
    if folder.exists() {
        let whole = folder.canonicalize()?;
        for path in needed {
            let is_inside = path.canonicalize().is_ok_and(|path| path.starts_with(&whole));
            ensure!(
                !is_inside,
                BadUsage(format!(
                    "{} lies in a folder that is emptied first: move it elsewhere",
                    path.display()
                ))
            );
        }
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}

/// A copy of a program in `folder`, so that a build in the meantime does not change what runs.
pub fn copy(program: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let (beside, to) = (folder.join(format!("{UNFINISHED}{name}")), folder.join(name));
    // The program may be that of the last call, and a copy onto itself would empty it.
    std::fs::copy(program, &beside).with_context(|| program.display().to_string())?;
    std::fs::rename(&beside, &to).with_context(|| to.display().to_string())?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that was built for a named target lies elsewhere.
    #[test]
    fn a_build_for_a_target_has_its_own_folder() {
        let of = |triple: Option<&str>| profile("target".into(), triple.map(OsString::from));
        assert_eq!(of(None), Path::new("target/debug"));
        let triple = "x86_64-unknown-linux-gnu";
        assert_eq!(of(Some(triple)), Path::new("target").join(triple).join("debug"));
    }

    /// A chore that is given the program of its last call must not destroy it.
    #[test]
    fn a_program_is_copied_onto_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (program, other) = (dir.path().join("noprop"), dir.path().join("other"));
        std::fs::write(&program, "first").unwrap();
        std::fs::write(&other, "second").unwrap();
        for (from, content) in [(&program, "first"), (&other, "second")] {
            let copied = copy(from, dir.path(), "noprop").unwrap();
            assert_eq!(std::fs::read_to_string(copied).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    /// The same where the folder is emptied before the program is copied.
    #[test]
    fn a_folder_that_holds_what_is_needed_is_not_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("same-bytes");
        std::fs::create_dir(&folder).unwrap();
        let (old, new) = (folder.join("old"), dir.path().join("new"));
        std::fs::write(&old, "").unwrap();
        std::fs::write(&new, "").unwrap();
        let refused = emptied(folder.clone(), &[&new, &old]).unwrap_err();
        assert!(refused.is::<BadUsage>() && old.is_file(), "{refused}");
        let empty = emptied(folder, &[&new]).unwrap();
        assert!(empty.is_dir() && !old.exists());
    }
}

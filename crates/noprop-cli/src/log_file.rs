//! The file of `--log-file`: what a training prints, line by line with times, and its diagnostics.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use noprop_experiment::shell::shown_path;
use noprop_train::RunDirectory;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::args::Train;

/// The file, once one is open. Every line is one write at its end, so several processes can share it.
static FILE: OnceLock<File> = OnceLock::new();
/// Whether a line could not be written.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Opens the file of a training at its end, or creates it.
///
/// # Errors
/// If it cannot be written, or would spoil the run or the settings of the training.
pub fn open(path: &Path, training: &Train) -> Result<&'static File> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_in = |folder: &Option<PathBuf>| {
        folder.as_deref().is_some_and(|folder| absolute(path).starts_with(absolute(folder)))
    };
    let run = if training.seeds.is_some() { &None } else { &training.out };
    ensure!(
        !is_in(run) && !is_in(&training.resume) && !is_in(&training.config),
        "--log-file must be outside of the run, and another file than --config"
    );
    ensure!(
        !RunDirectory::is_of_a_run(path),
        "--log-file {} is a file of another run: name another file",
        shown_path(path)
    );
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot write the log file {}", shown_path(path)))?;
    Ok(FILE.get_or_init(|| file))
}

/// Writes lines, each with the time, if a file is open. A log that cannot be written must not end a training.
pub fn line(words: &str) {
    let Some(mut file) = FILE.get() else { return };
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let lines = words.lines().filter(|line| !line.is_empty());
    let text: String = lines.map(|line| format!("{time} {line}\n")).collect();
    if let Err(error) = file.write_all(text.as_bytes())
        && !FAILED.swap(true, Ordering::Relaxed)
    {
        let _ =
            writeln!(std::io::stderr(), "warning: the log file lacks lines from here on: {error}");
    }
}

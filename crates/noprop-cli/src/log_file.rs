//! The file of `--log-file`: what a training prints, line by line with times, and its diagnostics.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use noprop_experiment::shell::shown_path;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The file, once one is open. Every line is one write at its end, so several processes can share it.
static FILE: OnceLock<File> = OnceLock::new();

/// Opens the file at its end, or creates it.
///
/// # Errors
/// If it cannot be written.
pub fn open(path: &Path) -> Result<&'static File> {
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
    let _ = file.write_all(text.as_bytes());
}

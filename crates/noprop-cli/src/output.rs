//! Output for a person or a script. A reader that goes away ends neither a training nor a command with a panic, as `println!` would.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use noprop_experiment::shell::shown;

use crate::log_file;

/// The reader of stdout is gone: `noprop info RUN | head -1`. The command ends quietly.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the output is gone")]
pub struct ReaderGone;

/// The command did a part of what it was asked; the text names the rest.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Some runs or pictures have no answer.
    #[error("{0}")]
    Incomplete(String),
    /// A training came to its end, but not to its figures.
    #[error(
        "the figures could not be drawn: {reason}; the training is done and saved, and noprop plot {run} draws them again"
    )]
    Figures {
        /// The run directory, as one word of a command.
        run: String,
        reason: noprop_experiment::Error,
    },
    /// An answer was not written to stdout.
    #[error("cannot write the answer: {0}")]
    Unwritten(std::io::Error),
    /// A training of several failed; those before it are done.
    #[error("seed {seed}: {line}")]
    Seed {
        seed: u64,
        /// Its error.
        line: String,
        code: u8,
    },
    /// Some rows of a reproduction could not be made; the others are in the report.
    #[error("{rows} could not be made, the report has the others: {first}")]
    Rows {
        /// Their number in words.
        rows: String,
        /// The error of the first.
        first: String,
        code: u8,
    },
}

impl Failed {
    /// The exit code: 2 if the user can mend all of it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Incomplete(_) | Self::Figures { .. } | Self::Unwritten(_) => 1,
            Self::Rows { code, .. } | Self::Seed { code, .. } => *code,
        }
    }
}

/// Writes a line of an answer to stdout; to be followed by `?`.
///
/// # Errors
/// [`ReaderGone`] if its reader has gone away; the operating system's reason if it cannot be written.
macro_rules! answer {
    ($($word:tt)*) => {
        $crate::output::answer_line(format_args!($($word)*))
    };
}

/// Writes a line to stderr. What is running does not depend on whether anybody reads it.
macro_rules! note {
    ($($word:tt)*) => {
        $crate::output::note_line(format_args!($($word)*))
    };
}

pub(crate) use {answer, note};

pub fn answer_line(words: Arguments<'_>) -> anyhow::Result<()> {
    let words = tame(words);
    log_file::line(&words);
    answer_bytes(format!("{words}\n").as_bytes())
}

/// Writes an answer to stdout as it is.
///
/// # Errors
/// As for `answer!`.
pub fn answer_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => Ok(other.map_err(Failed::Unwritten)?),
    }
}

pub fn note_line(words: Arguments<'_>) {
    let words = tame(words);
    log_file::line(&words);
    let _ = std::io::stderr().lock().write_fmt(format_args!("{words}\n"));
}

/// Writes a line of another process to stderr, which has logged it itself.
pub fn pass_on(line: &str) {
    if !line.is_empty() {
        let _ =
            std::io::stderr().lock().write_fmt(format_args!("{}\n", tame(format_args!("{line}"))));
    }
}

/// The words, line by line, without characters that a terminal obeys: names of files and classes come from strangers.
fn tame(words: Arguments<'_>) -> String {
    let words = words.to_string();
    let lines: Vec<_> = words.split('\n').map(shown).collect();
    lines.join("\n")
}

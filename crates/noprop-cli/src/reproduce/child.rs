//! The commands of a reproduction: `noprop` itself, in a process of its own for each, and how Ctrl-C reaches it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::output::note;
use crate::progress::Verbosity;
use crate::stop;

/// How often it is looked whether a child is done and whether somebody wants to stop.
const POLL: Duration = Duration::from_millis(50);
/// An answer in JSON is less than this.
const MAX_ANSWER: u64 = 16 << 20;

/// Why the work on a row did not go on.
#[derive(Debug)]
pub enum Halt {
    /// Somebody pressed Ctrl-C: the whole reproduction stops.
    Stopped,
    /// The row's command failed; other rows are not concerned.
    Refused(Refusal),
    /// The reproduction itself cannot go on.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

/// What a command that failed had to say.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its exit code: 2 for what the user can mend.
    pub code: i32,
    /// Its error.
    pub line: String,
}

/// Starts commands one at a time.
pub struct Children {
    program: PathBuf,
    verbosity: Verbosity,
    /// How often Ctrl-C was pressed.
    interrupts: Arc<AtomicU32>,
}

impl Children {
    /// From now on Ctrl-C stops the child, and then this process.
    pub fn new(verbosity: Verbosity) -> Result<Self> {
        let interrupts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&interrupts);
        stop::on_request(move |number| counted.store(number, Ordering::SeqCst))?;
        let program = std::env::current_exe().context("cannot find the program itself")?;
        Ok(Self { program, verbosity, interrupts })
    }

    pub fn stop_is_asked(&self) -> bool {
        self.interrupts.load(Ordering::SeqCst) > 0
    }

    /// Runs `noprop` with `arguments` to its end and returns what it printed.
    pub fn run(&self, arguments: &[OsString]) -> Result<String, Halt> {
        if self.stop_is_asked() {
            return Err(Halt::Stopped);
        }
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A training whose reproduction was killed is asked to stop: its stdin ends.
        command.stdin(Stdio::piped()).env(stop::WITH_STDIN, "1");
        // In a group of its own a terminal's Ctrl-C reaches the child through `wait` alone; twice would make it stop at once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("cannot start noprop")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let shown = self.verbosity;
        let (answer, complaint, status) = thread::scope(|scope| {
            let answer = scope.spawn(move || stdout.map(read_answer).unwrap_or_default());
            let complaint =
                scope.spawn(move || stderr.map(|pipe| pass_on(pipe, shown)).unwrap_or_default());
            let status = self.wait(&mut child);
            (answer.join().unwrap_or_default(), complaint.join().unwrap_or_default(), status)
        });
        let status = status?;
        if self.stop_is_asked() {
            return Err(Halt::Stopped);
        }
        if status.success() {
            return Ok(answer);
        }
        let line = match complaint.strip_prefix("error: ") {
            Some(line) => line.to_owned(),
            None if complaint.is_empty() => format!("it ended with {status}"),
            None => complaint,
        };
        // Without a code it was killed, which is no fault of its input.
        Err(Halt::Refused(Refusal { code: status.code().unwrap_or(1), line }))
    }

    /// Waits, and hands every Ctrl-C on: the first asks a training to save and stop, the second ends it at once.
    fn wait(&self, child: &mut Child) -> Result<std::process::ExitStatus> {
        let mut handed_on = 0;
        loop {
            if let Some(status) = child.try_wait().context("cannot wait for noprop")? {
                return Ok(status);
            }
            while handed_on < self.interrupts.load(Ordering::SeqCst) {
                handed_on += 1;
                interrupt(child);
            }
            thread::sleep(POLL);
        }
    }
}

/// As if Ctrl-C had been pressed in the child's own terminal.
fn interrupt(child: &mut Child) {
    // The child is not waited for yet, so its number is still its own. A shell has `kill` built in wherever there is one.
    let asked = cfg!(unix).then(|| {
        let pid = child.id().to_string();
        Command::new("sh").args(["-c", "kill -INT \"$0\"", &pid]).status()
    });
    if !matches!(asked, Some(Ok(status)) if status.success()) {
        // Its last saved state is whole.
        let _ = child.kill();
    }
}

fn read_answer(pipe: impl Read) -> String {
    let mut text = String::new();
    // An answer that is no text is no answer.
    let _ = pipe.take(MAX_ANSWER).read_to_string(&mut text);
    text
}

/// Shows what a child says and returns its last error, or else its last line.
fn pass_on(pipe: impl Read, verbosity: Verbosity) -> String {
    let mut last = String::new();
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if verbosity == Verbosity::Normal {
            note!("{line}");
        }
        if line.starts_with("error: ") || !line.is_empty() && !last.starts_with("error: ") {
            last = line;
        }
    }
    last
}

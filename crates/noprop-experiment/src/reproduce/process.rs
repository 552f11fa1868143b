//! Commands of the program in processes of their own, and the way in which a request to stop reaches them.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::worker::{Halt, Refusal};
use crate::error::Error;

/// The time between two looks at a child, and at requests to stop.
const POLL: Duration = Duration::from_millis(50);
/// An answer in JSON is less than this.
const MAX_ANSWER: u64 = 16 << 20;

/// The environment variable that makes a training stop when its stdin ends. [`Processes`] sets it, so that a training does not outlive a
/// reproduction that was killed.
pub const STOP_WITH_STDIN: &str = "NOPROP_STOP_WITH_STDIN";

/// Runs the commands of a program, one at a time, each in a process of its own.
#[derive(Debug)]
pub struct Processes {
    program: PathBuf,
    requests: Arc<AtomicU32>,
}

impl Processes {
    /// Runs the commands of `program`. `requests` is the number of requests to stop: the first asks a command to save and stop, the second
    /// ends it at once.
    pub fn new(program: PathBuf, requests: Arc<AtomicU32>) -> Self {
        Self { program, requests }
    }

    /// Returns whether somebody asked to stop.
    pub fn stop_is_asked(&self) -> bool {
        self.requests.load(Ordering::SeqCst) > 0
    }

    /// Runs the program with `arguments` to its end, calls `show` with every line of its stderr, and returns its stdout.
    ///
    /// # Errors
    /// [`Halt::Stopped`] on a request to stop; [`Halt::Refused`] with its last error if it fails; [`Halt::Broken`] if it cannot be started.
    pub fn run(&self, arguments: &[OsString], show: impl Fn(&str) + Send) -> Result<String, Halt> {
        if self.stop_is_asked() {
            return Err(Halt::Stopped);
        }
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A training whose reproduction was killed is asked to stop: its stdin ends.
        command.stdin(Stdio::piped()).env(STOP_WITH_STDIN, "1");
        // In a group of its own a terminal's Ctrl-C reaches the child through `wait` alone; twice would make it stop at once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(broken)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (answer, complaint, status) = thread::scope(|scope| {
            let answer = scope.spawn(move || stdout.map(read_answer).unwrap_or_default());
            let complaint =
                scope.spawn(move || stderr.map(|pipe| pass_on(pipe, show)).unwrap_or_default());
            let status = self.wait(&mut child);
            (answer.join().unwrap_or_default(), complaint.join().unwrap_or_default(), status)
        });
        let status = status.map_err(broken)?;
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
        // Without a code it was killed, which is not a fault of its input.
        Err(Halt::Refused(Refusal { code: status.code().unwrap_or(1), line }))
    }

    /// Waits, and hands every Ctrl-C on: the first asks a training to save and stop, the second ends it at once.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut handed_on = 0;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            while handed_on < self.requests.load(Ordering::SeqCst) {
                handed_on += 1;
                interrupt(child);
            }
            thread::sleep(POLL);
        }
    }
}

/// A process could not be started or waited for.
fn broken(error: io::Error) -> Halt {
    Halt::Broken(Error::Refused(format!("cannot run a command in a process of its own: {error}")))
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
    // If the output is not text, the answer stays empty.
    let _ = pipe.take(MAX_ANSWER).read_to_string(&mut text);
    text
}

/// Shows the lines of a child's stderr, and returns its last error, or else its last line.
fn pass_on(pipe: impl Read, show: impl Fn(&str)) -> String {
    let mut last = String::new();
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        show(&line);
        if line.starts_with("error: ") || !line.is_empty() && !last.starts_with("error: ") {
            last = line;
        }
    }
    last
}

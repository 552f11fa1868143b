//! A worker process: each line to it is a JSON request, each line from it a JSON object in answer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A running worker. Dropping it ends it.
pub struct Side {
    name: &'static str,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Side {
    /// Starts `command` with the number of threads as its last argument.
    pub fn start(name: &'static str, mut command: Command, threads: usize) -> Result<Self> {
        let mut child = command
            .arg(threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { name, child, requests, answers })
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        let name = self.name;
        let requests = self.requests.as_mut().context("the worker has ended")?;
        writeln!(requests, "{request}").with_context(|| format!("{name} has ended"))?;
        requests.flush()?;
        let mut line = String::new();
        let length = self.answers.read_line(&mut line)?;
        ensure!(length > 0, "{name} ended without an answer to {request}");
        serde_json::from_str(&line).with_context(|| format!("{name} answered {line:?}"))
    }

    /// Sends a request and returns the part `key` of its answer.
    pub fn part<T: DeserializeOwned>(&mut self, request: &Value, key: &str) -> Result<T> {
        let answer = self.ask(request)?;
        let part = serde_json::from_value(answer[key].clone());
        part.with_context(|| format!("{} gave no {key}", self.name))
    }

    /// Seconds of each of `count` rounds of `work`.
    pub fn seconds(&mut self, work: &str, count: usize) -> Result<Vec<f64>> {
        let request = match work {
            "step" | "step-all" => json!({ work: count }),
            _ => json!(work),
        };
        self.part(&request, "seconds")
    }

    /// The peak of its memory in bytes.
    pub fn peak(&mut self) -> Result<f64> {
        self.part(&json!("peak"), "peak")
    }

    /// The logits of every block, one list per block.
    pub fn logits(&mut self) -> Result<Vec<Vec<f64>>> {
        self.part(&json!("logits"), "logits")
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // A worker ends when its input does; one that is busy is killed.
        self.requests = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

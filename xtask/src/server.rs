//! `noprop serve`, started for a trial.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// `noprop serve`, until it is dropped.
pub struct Server {
    pub process: Child,
    /// The address of its page.
    pub address: String,
}

impl Server {
    /// Starts the server of `program` on a free port, with its runs in `runs`.
    pub fn start(program: &Path, runs: &Path) -> Result<Self> {
        let mut process = Command::new(program)
            .args(["serve", "--port", "0", "--runs"])
            .arg(runs)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = process.stderr.take().context("the server has an output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("noprop is at ").map(str::to_owned));
        // Its later lines are read too, because a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.context("noprop serve names no address")?;
        Ok(Self { process, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

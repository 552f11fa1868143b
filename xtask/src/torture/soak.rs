//! Long trainings: the memory, the open files and the threads of a process do not grow, alone and with a page that asks all the time.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::lab::Lab;
use crate::server::Server;
use crate::workspace::{quiet, report};

/// The steps of one epoch of the training: 3,500 images in batches of 8.
const EPOCH: u32 = 438;
const SETTINGS: &str = "--dataset mnist-sample --steps 2 --batch-size 8 --seed 3 --threads 1";
/// The time between two looks at a process.
const EVERY: Duration = Duration::from_millis(250);
/// The time between two requests: with it 10,000 of them go along with several epochs.
const BETWEEN: Duration = Duration::from_millis(5);
/// The share of memory by which a later part of a training may lie above an earlier one.
const GROWTH: f64 = 0.02;

/// Makes both trials, and returns the number of those that failed.
pub fn all(lab: &Lab, steps: u32, requests: u32) -> Result<u32> {
    let mut faults = 0;
    let epochs = steps.div_ceil(EPOCH);
    for (name, trial) in [
        (
            format!("{} steps", epochs * EPOCH),
            &(|| training(lab, epochs)) as &dyn Fn() -> Result<()>,
        ),
        (format!("{requests} requests during a training"), &|| asked(lab, requests)),
    ] {
        let result = trial();
        faults += u32::from(result.is_err());
        let result = result.map_or_else(|error| format!("FAILED: {error:#}"), |()| "passed".into());
        report(&format!("{name}: {result}"));
    }
    Ok(faults)
}

fn training(lab: &Lab, epochs: u32) -> Result<()> {
    let run = lab.place("soak");
    let mut command = Command::new(&lab.program);
    command.args(["train", "--quiet"]).args(SETTINGS.split(' '));
    command.args(["--epochs", &epochs.to_string(), "--out"]).arg(&run);
    let mut child = quiet(&mut command).spawn()?;
    let mut looks = Vec::new();
    while child.try_wait()?.is_none() {
        looks.extend(Look::at(child.id()));
        sleep(EVERY);
    }
    ensure!(child.wait()?.success(), "the training failed");
    // At its end a training draws figures, which takes memory of its own.
    let figures = looks.len() / 50;
    looks.truncate(looks.len() - figures);
    steady(&looks)
}

fn asked(lab: &Lab, requests: u32) -> Result<()> {
    let runs = lab.place("soak-page");
    let server = Server::start(&lab.program, &runs)?;
    let host = server.address.trim_start_matches("http://").trim_end_matches('/');
    let page = Page { host: host.to_owned() };
    let events = page.events()?;
    let settings = r#"{"dataset":"mnist-sample","steps":2,"epochs":1000,"batch_size":8,"seed":3}"#;
    let begun = page.ask("POST", "/api/training", settings)?;
    ensure!(begun["run"].is_string(), "it did not begin: {begun}");
    let mut looks = Vec::new();
    let paths = ["/api/training", "/api/models", "/api/runs", "/", "/api/engine"];
    let began = Instant::now();
    for (number, path) in (0..requests).zip(paths.iter().cycle()) {
        page.ask("GET", path, "").with_context(|| format!("request {number}, {path}"))?;
        sleep(BETWEEN);
        if number % 20 == 0 {
            looks.extend(Look::at(server.process.id()));
        }
    }
    report(&format!("  {requests} answers in {:.0} s", began.elapsed().as_secs_f64()));
    page.ask("POST", "/api/training/stop", "{}")?;
    let last = events.join().unwrap_or_else(|_| bail!("the reader of events panicked"))?;
    let epochs = last["history"].as_array().context("the training has no history")?;
    let in_order = epochs.iter().zip(1..).all(|(epoch, number)| epoch["epoch"] == number);
    ensure!(in_order && !epochs.is_empty(), "the stream has not every epoch: {epochs:?}");
    report(&format!("  the stream told {} epochs", epochs.len()));
    steady(&looks)
}

/// The memory, threads and open files of a process at one moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    kilobytes: u64,
    threads: u64,
    files: u64,
}

/// One of the numbers of a look.
type Quantity = fn(&Look) -> u64;

impl Look {
    /// Looks at a process; nothing if it has just ended.
    fn at(process: u32) -> Option<Self> {
        let folder = format!("/proc/{process}");
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let files = fs::read_dir(format!("{folder}/fd")).ok()?.count() as u64;
        Some(Self { kilobytes: number("VmRSS:")?, threads: number("Threads:")?, files })
    }
}

/// Checks that the last fifth of a process holds no more than the second fifth.
fn steady(looks: &[Look]) -> Result<()> {
    let fifth = looks.len() / 5;
    ensure!(fifth > 0, "it ended too early to see a growth");
    let mid = |part: &[Look], of: Quantity| {
        let mut all: Vec<u64> = part.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (early, late) = (&looks[fifth..2 * fifth], &looks[looks.len() - fifth..]);
    let quantities: [(_, Quantity, _); 3] = [
        ("kB of memory", |look| look.kilobytes, GROWTH),
        ("threads", |look| look.threads, 0.0),
        ("open files", |look| look.files, 0.0),
    ];
    for (name, of, growth) in quantities {
        let (before, after) = (mid(early, of), mid(late, of));
        report(&format!("  {name}: {before}, later {after} (medians; {} looks)", looks.len()));
        ensure!(after as f64 <= before as f64 * (1.0 + growth), "{name} grew: {before} to {after}");
    }
    Ok(())
}

/// The page of a server, as a program sees it.
struct Page {
    host: String,
}

impl Page {
    /// Sends a request on a connection of its own. A page, which is no JSON, is answered by null.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.host)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{}", head.lines().next().unwrap_or_default());
        Ok(serde_json::from_str(body).unwrap_or_default())
    }

    /// Listens to the training until it has stopped, and returns the last message. Each must tell as many steps as the one before, or more.
    fn events(&self) -> Result<std::thread::JoinHandle<Result<Value>>> {
        let mut stream = TcpStream::connect(&self.host)?;
        write!(stream, "GET /api/training/events HTTP/1.1\r\nHost: {}\r\n\r\n", self.host)?;
        Ok(spawn(move || {
            let (mut done, mut told) = (0, 0);
            for line in BufReader::new(stream).lines() {
                let line = line?;
                let Some(message) = line.strip_prefix("data:") else { continue };
                let training: Value = serde_json::from_str(message)?;
                let now = training["done"].as_u64().unwrap_or(0);
                ensure!(now >= done, "step {now} was told after step {done}");
                (done, told) = (now, told + 1);
                if training["state"] == "stopped" {
                    report(&format!("  {told} messages, {done} steps"));
                    return Ok(training);
                }
            }
            bail!("the stream of events ended")
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leak of 4 % of the memory, or of one file, is found, and noise is not.
    #[test]
    fn a_growth_is_found() {
        let looks = |of: fn(u64) -> Look| (0..500).map(of).collect::<Vec<_>>();
        let noisy = |time| Look { kilobytes: 100_000 + time % 7 * 500, threads: 3, files: 9 };
        steady(&looks(noisy)).unwrap();
        let leak = |time| Look { kilobytes: 100_000 + time * 12, threads: 3, files: 9 };
        assert!(steady(&looks(leak)).unwrap_err().to_string().contains("memory grew"));
        let files = |time| Look { kilobytes: 100_000, threads: 3, files: 9 + time / 250 };
        assert!(steady(&looks(files)).unwrap_err().to_string().contains("files grew"));
        assert!(steady(&looks(noisy)[..4]).is_err());
    }
}

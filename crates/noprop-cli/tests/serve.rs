//! `noprop serve`: its answers are those of `predict`, an address that is taken is an error of one line, and Ctrl-C saves a training.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests draw other pictures")]
#[path = "folders/png.rs"]
mod png;
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use noprop_data::Dataset;
use png::Pixel;
use program::{command, noprop};
use serde_json::Value;

fn done(folder: &Path, line: &str) -> Output {
    let output = noprop(folder, &line.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {output:?}");
    output
}

/// A server in the background, ended with the test.
struct Serving {
    child: Child,
    port: u16,
}

impl Serving {
    fn start(folder: &Path) -> Self {
        let mut child =
            command(folder, &["serve", "--port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().trim_end_matches('/').rsplit(':').next().unwrap();
        let port = port.parse().map_err(|_| line.clone()).unwrap();
        Self { child, port }
    }

    /// The JSON that answers a POST.
    fn post(&self, address: &str, kind: &str, body: &[u8]) -> Value {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            connection,
            "POST {address} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.port,
            body.len()
        )
        .unwrap();
        connection.write_all(body).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The page must not answer otherwise than the command does.
#[test]
fn the_page_answers_as_predict_does() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    done(
        root,
        "train --dataset mnist-sample --steps 2 --epochs 1 --quiet --normalize channel --out runs/first",
    );
    let test = Dataset::mnist_sample().unwrap().test;
    let shades = test.picture(5).unwrap();
    let rows: Vec<u8> = shades.chunks(28).flat_map(|row| [&[0], row].concat()).collect();
    fs::write(root.join("five.png"), png::file((28, 28), Pixel::Grey8(0), &rows)).unwrap();
    let serving = Serving::start(root);
    for (flags, query) in [
        ("", ""),
        ("--invert", "&invert=true"),
        ("--sampler stochastic --runs 3 --seed 7", "&sampler=stochastic&runs=3&seed=7"),
    ] {
        let line = format!("predict --json --run runs/first five.png {flags}");
        let predicted = done(root, line.trim_end()).stdout;
        let predicted: Value = serde_json::from_slice(&predicted).unwrap();
        let address = format!("/api/models/first/classify?image=picture{query}");
        let answered = serving.post(
            &address,
            "application/octet-stream",
            &fs::read(root.join("five.png")).unwrap(),
        );
        assert_eq!(answered["label"], predicted["label"], "{flags}");
        assert_eq!(answered["class"], predicted["class"], "{flags}");
        let pairs = numbers(&answered["probabilities"])
            .into_iter()
            .zip(numbers(&predicted["probabilities"]));
        for (a, b) in pairs {
            assert!((a - b).abs() < 1e-6, "{flags}: {answered} {predicted}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = noprop(dir.path(), &["serve", "--port", &port.to_string()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with(&format!("error: cannot listen on 127.0.0.1:{port}")), "{error}");
    assert!(error.contains("--port") && error.lines().count() == 1, "{error}");
}

/// A server that cannot start says why: it must not wait for requests that it cannot answer.
#[test]
fn a_place_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for (flags, words) in [
        (["--runs", "file"], "error: file is not a folder, so runs cannot be in it\n"),
        (
            ["--run", "absent"],
            "error: absent is not a run directory: there is nothing of that name\n",
        ),
    ] {
        let output = noprop(dir.path(), &[&["serve", "--port", "0"][..], &flags].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), words);
    }
}

/// A person who ends the server must not lose the training that it carries out.
#[test]
#[cfg(unix)]
fn ctrl_c_saves_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(dir.path());
    let settings = br#"{"dataset": "mnist-sample", "steps": 2, "epochs": 1000}"#;
    let begun = serving.post("/api/training", "application/json", settings);
    let run = dir.path().join("runs").join(begun["run"].as_str().unwrap());
    let id = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert!(serving.child.wait().unwrap().success());
    assert!(fs::read_to_string(run.join("metrics.jsonl")).unwrap().contains("\"event\":\"stop\""));
    assert!(run.join("state/progress.json").is_file());
}

//! A training in the server: one at a time, watched, stopped and resumed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use crate::support::Home;

/// A training of `epochs` short epochs.
fn settings(epochs: u32) -> Value {
    json!({ "dataset": "mnist-sample", "steps": 2, "epochs": epochs, "batch_size": 64, "seed": 1 })
}

/// The training once `is` holds. A test that waits too long is stopped by its runner.
async fn until(home: &Home, is: impl Fn(&Value) -> bool) -> Value {
    loop {
        let training = home.get("/api/training").await.fine();
        if is(&training) {
            return training;
        }
        assert_ne!(training["state"], "failed", "{training}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The whole life of a training: begun, watched, not joined by a second one, stopped, resumed, finished and listed.
#[tokio::test]
async fn a_training_is_watched_stopped_and_resumed() {
    let home = Home::new();
    home.post("/api/training/stop", json!({})).await.refusal(409);
    let begun = home.post("/api/training", settings(3)).await.fine();
    assert_eq!(begun["run"], "mnist-sample-dt-1");
    let running = until(&home, |training| training["done"].as_u64().unwrap() > 3).await;
    assert_eq!(
        (&running["state"], &running["blocks"], &running["epochs"]),
        (&json!("running"), &json!(2), &json!(3))
    );
    assert_eq!(running["settings"]["batch-size"], 64);
    assert!(running["losses"].as_array().unwrap().len() > 2);
    assert_eq!(running["losses"][0][1].as_array().unwrap().len(), 2);
    home.post("/api/training", settings(1)).await.refusal(409);
    home.post("/api/training/resume", json!({ "run": "first" })).await.refusal(409);
    assert_eq!(home.get("/api/runs/mnist-sample-dt-1").await.fine()["state"], "running");

    assert_eq!(home.post("/api/training/stop", json!({})).await.fine()["state"], "stopping");
    let stopped = until(&home, |training| training["state"] == "stopped").await;
    let done = stopped["done"].as_u64().unwrap();
    let all = 3 * stopped["steps_per_epoch"].as_u64().unwrap();
    assert!(done < all, "{done} of {all}");
    assert_eq!(home.get("/api/runs/mnist-sample-dt-1").await.fine()["state"], "saved");

    home.post("/api/training/resume", json!({ "run": "mnist-sample-dt-1" })).await.fine();
    let finished = until(&home, |training| training["state"] == "finished").await;
    assert_eq!(finished["done"].as_u64().unwrap(), all);
    let epochs: Vec<&Value> =
        finished["history"].as_array().unwrap().iter().map(|epoch| &epoch["epoch"]).collect();
    assert_eq!(epochs, [1, 2, 3]);
    assert!(finished["test_accuracy"].as_f64().unwrap() > 0.5);
    let view = home.get("/api/runs/mnist-sample-dt-1").await.fine();
    assert_eq!(view["state"], "finished");
    assert!(!view["figures"].as_array().unwrap().is_empty());
    home.classify("mnist-sample-dt-1", "image=sample&index=0", Body::empty()).await.fine();
}

/// One block stands still while the others go on, and the run says so.
#[tokio::test]
async fn a_block_is_paused_while_the_others_learn() {
    let home = Home::new();
    let pause = async |block: u32, paused: bool| {
        home.post("/api/training/pause", json!({ "block": block, "paused": paused })).await
    };
    pause(1, true).await.refusal(409);
    home.post("/api/training", settings(3)).await.fine();
    assert_eq!(home.get("/api/training").await.fine()["pausable"], true);
    for block in [0, 3] {
        pause(block, true).await.refusal(400);
    }
    assert_eq!(pause(2, true).await.fine()["paused"], json!([2]));
    let stands = |training: &Value| {
        let losses = training["losses"].as_array().unwrap();
        losses.last().is_some_and(|point| point[1][1].is_null() && point[1][0].is_number())
    };
    until(&home, stands).await;
    assert_eq!(pause(2, false).await.fine()["paused"], json!([]));
    let finished = until(&home, |training| training["state"] == "finished").await;
    assert!(!stands(&finished), "{}", finished["losses"]);
    let view = home.get("/api/runs/mnist-sample-dt-1").await.fine();
    let card = view["card"].as_str().unwrap();
    assert!(
        card.contains("| paused for a time | block 2 |") && card.contains("does not repeat"),
        "{card}"
    );

    let baseline =
        json!({ "dataset": "mnist-sample", "method": "backprop", "steps": 2, "epochs": 50 });
    home.post("/api/training", baseline).await.fine();
    pause(1, true).await.refusal(400);
    home.post("/api/training/stop", json!({})).await.fine();
    until(&home, |training| training["state"] == "stopped").await;
}

/// What cannot be trained is refused in a sentence, and leaves neither a run nor a training behind.
#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    let home = Home::new();
    let refused = [
        json!({ "dataset": "folder:/etc" }),
        json!({ "dataset": "cifar10" }),
        json!({ "dataset": "nmist" }),
        json!({ "dataset": "mnist-sample", "init": { "run": "/etc", "sha256": "" } }),
        json!({ "dataset": "mnist-sample", "epoch": 3 }),
        json!({ "dataset": "mnist-sample", "steps": 0 }),
        json!({ "dataset": "mnist-sample", "steps": 1001 }),
        json!({ "dataset": "mnist-sample", "lr": -1 }),
        json!({ "dataset": "mnist-sample", "lr": "fast" }),
        json!({ "dataset": "mnist-sample", "batch_size": 1_000_000 }),
        json!({ "dataset": "mnist-sample", "solver": "euler" }),
        json!({ "dataset": "mnist-sample", "image-size": 8 }),
        json!([]),
        json!("train"),
    ];
    for settings in refused {
        let sentence = home.post("/api/training", settings.clone()).await.refusal(400);
        assert!(sentence.len() < 900, "{settings}: {sentence}");
    }
    assert_eq!(home.get("/api/training").await.fine()["state"], "none");
    assert_eq!(fs::read_dir(home.runs()).unwrap().count(), 1);
}

/// A folder of pictures that the server was started with may be trained on, and no other: this one is known, and found to be empty.
#[tokio::test]
async fn a_folder_that_was_given_is_opened_and_no_other() {
    let home = Home::with(|options| {
        let given = options.runs.with_file_name("given");
        fs::create_dir(&given).unwrap();
        options.folders = vec![given];
    });
    let asked = async |name: &str| {
        let folder = home.dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let settings = json!({ "dataset": format!("folder:{}", folder.display()) });
        home.post("/api/training", settings).await.refusal(400)
    };
    assert!(asked("other").await.contains("not one of those"));
    assert!(asked("given/../other").await.contains("not one of those"));
    let sentence = asked("given").await;
    assert!(!sentence.contains("not one of those"), "{sentence}");
    let engine = home.get("/engine.json").await.fine();
    assert!(engine["datasets"][1].as_str().unwrap().ends_with("given"), "{engine}");
}

/// Pages that close, and pages that never read what they are sent, delay neither the training nor the end of the server.
#[test]
fn pages_that_close_or_never_read_stop_nothing() {
    let home = Home::new();
    let (port, stopper, dir) = (home.port, home.server.stopper(), home.dir);
    let serving = std::thread::spawn(move || home.server.run());
    let say = |request: &str| {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(connection, "{request}").unwrap();
        connection
    };
    let events = format!("GET /api/training/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let deaf: Vec<TcpStream> = (0..20).map(|_| say(&events)).collect();
    let body = settings(2).to_string();
    let train = say(&format!(
        "POST /api/training HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let mut lines = BufReader::new(train).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "HTTP/1.1 200 OK");
    drop(lines);
    let mut seen = Vec::new();
    for line in BufReader::new(say(&events)).lines() {
        let Some(message) = line.unwrap().strip_prefix("data: ").map(str::to_owned) else {
            continue;
        };
        let training: Value = serde_json::from_str(&message).unwrap();
        seen.push(training["done"].as_u64().unwrap());
        if training["state"] == "finished" {
            break;
        }
    }
    assert!(seen.is_sorted() && seen.len() > 2, "{seen:?}");
    assert!(dir.path().join("runs/mnist-sample-dt-1/model.safetensors").is_file());
    stopper.stop();
    serving.join().unwrap().unwrap();
    drop(deaf);
}

/// A server that is asked to end saves its training first, so that it can go on.
#[test]
fn the_end_of_the_server_saves_its_training() {
    let home = Home::new();
    let (port, stopper, dir) = (home.port, home.server.stopper(), home.dir);
    let serving = std::thread::spawn(move || home.server.run());
    let body = settings(1000).to_string();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        connection,
        "POST /api/training HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut lines = BufReader::new(connection).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "HTTP/1.1 200 OK");
    stopper.stop();
    serving.join().unwrap().unwrap();
    let run = dir.path().join("runs/mnist-sample-dt-1");
    assert!(run.join("state/progress.json").is_file());
    assert!(fs::read_to_string(run.join("metrics.jsonl")).unwrap().contains("\"stop\""));
}

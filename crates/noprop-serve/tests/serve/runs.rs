//! Models and runs as they are shown.

use std::fs::{self, File};

use axum::body::Body;
use image::{GrayImage, Luma};
use noprop_data::Dataset;
use noprop_experiment::{Settings, Source};
use serde_json::{Value, json};

use crate::support::{Home, RUN, copy, train_run};

fn states(list: &Value) -> Vec<(String, String)> {
    let text = |run: &Value, key: &str| run[key].as_str().unwrap().to_owned();
    let runs = list["runs"].as_array().unwrap();
    runs.iter().map(|run| (text(run, "id"), text(run, "state"))).collect()
}

/// Runs that are damaged, unfinished or in training must be shown as such, and spoil nothing for the others.
#[tokio::test]
async fn every_run_is_listed_with_its_state() {
    let home = Home::new();
    let run = |name: &str| {
        copy(&home.runs().join(RUN), &home.runs().join(name));
        home.runs().join(name)
    };
    fs::write(run("bad-log").join("metrics.jsonl"), "no event\n").unwrap();
    fs::write(run("bad-settings").join("config.toml"), "steps = [").unwrap();
    fs::remove_file(run("no-weights").join("model.safetensors")).unwrap();
    let stopped = run("stopped");
    let log = fs::read_to_string(stopped.join("metrics.jsonl")).unwrap();
    let untested: Vec<&str> = log.lines().filter(|line| !line.contains("\"test\"")).collect();
    fs::write(stopped.join("metrics.jsonl"), untested.join("\n") + "\n").unwrap();
    let busy = run("busy");
    let lock = File::create(busy.join(".lock")).unwrap();
    lock.lock().unwrap();
    fs::create_dir(home.runs().join("no-run")).unwrap();
    fs::write(home.runs().join("file"), "").unwrap();

    let list = home.get("/api/runs").await.fine();
    let expected = [
        ("bad-log", "damaged"),
        ("bad-settings", "damaged"),
        ("busy", "running"),
        (RUN, "finished"),
        ("no-weights", "damaged"),
        ("stopped", "saved"),
    ];
    let expected = expected.map(|(id, state)| (id.to_owned(), state.to_owned()));
    assert_eq!(states(&list), expected);
    let first = &list["runs"][3];
    assert_eq!(
        (&first["dataset"], &first["method"], &first["epochs"]),
        (&json!("mnist-sample"), &json!("dt"), &json!(1))
    );
    let accuracy = first["accuracy"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&accuracy), "{first}");
    assert!(list["runs"][0]["error"].as_str().unwrap().contains("not an event"), "{list}");

    // A training that ends elsewhere is seen, whatever was remembered of it.
    drop(lock);
    assert_eq!(states(&home.get("/api/runs").await.fine())[2].1, "finished");
    for (id, _) in expected {
        home.get(&format!("/api/runs/{id}")).await.fine();
    }
    let models = home.get("/api/models").await.fine();
    let ids: Vec<&str> =
        models.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(
        ids.contains(&RUN) && !ids.contains(&"no-weights") && !ids.contains(&"bad-log"),
        "{ids:?}"
    );
}

/// A run that was named is the one to begin with, and is not listed twice.
#[tokio::test]
async fn a_named_run_comes_first_and_once() {
    let home = Home::with(|options| {
        copy(&options.runs.join(RUN), &options.runs.join("a"));
        options.run = Some(options.runs.join(RUN));
    });
    let list = home.get("/api/runs").await.fine();
    let expected = [("run", "finished"), ("a", "finished")];
    assert_eq!(states(&list), expected.map(|(id, state)| (id.to_owned(), state.to_owned())));
    assert_eq!(list["runs"][0]["name"], RUN);
    let models = home.get("/api/models").await.fine();
    assert_eq!((&models[0]["id"], &models[0]["pretrained"]), (&json!("run"), &json!(false)));
    home.classify("run", "image=sample&index=0", Body::empty()).await.fine();
    home.get(&format!("/api/runs/{RUN}")).await.refusal(404);
}

/// A folder may have any name: it must not be taken for the pretrained model or for the run that was named.
#[tokio::test]
async fn a_folder_has_an_id_of_its_own() {
    let home = Home::with(|options| {
        for name in ["pretrained", "run"] {
            copy(&options.runs.join(RUN), &options.runs.join(name));
        }
        options.run = Some(options.runs.join(RUN));
    });
    let list = home.get("/api/runs").await.fine();
    let ids: Vec<_> = states(&list).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["run", "./pretrained", "./run"]);
    let named = home.get("/api/runs/.%2Fpretrained").await.fine();
    assert_eq!(named["name"], "pretrained");
    let facts = home.get("/api/models/.%2Fpretrained").await.fine();
    assert_eq!(facts["dataset"], "mnist-sample", "the pretrained model is of mnist");
}

/// The test of a run that goes on after its end is one of other weights.
#[tokio::test]
async fn a_run_that_went_on_has_no_test() {
    let home = Home::new();
    let tested = home.get(&format!("/api/models/{RUN}")).await.fine();
    assert!(tested["test_accuracy"].is_number() && tested["card"].is_string());
    let log = home.runs().join(RUN).join("metrics.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let epoch = text.lines().find(|line| line.contains("validation_accuracy")).unwrap();
    fs::write(&log, format!("{text}{epoch}\n")).unwrap();
    fs::remove_file(home.runs().join(RUN).join("README.md")).unwrap();
    let facts = home.get(&format!("/api/models/{RUN}")).await.fine();
    assert!(facts["test_accuracy"].is_null() && facts["card"].is_null(), "{facts}");
}

/// A run on a folder of pictures has their test images, until the folder is another.
#[tokio::test]
async fn a_folder_of_pictures_has_test_images() {
    let home = Home::new();
    let pictures = home.dir.path().join("pictures");
    for (half, number) in [("train", 8), ("test", 3)] {
        for (class, shade) in [("dark", 0_u8), ("light", 200)] {
            let folder = pictures.join(half).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..number {
                let picture = GrayImage::from_pixel(28, 28, Luma([shade + i]));
                picture.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let settings = Settings { validation: Some(4), batch_size: Some(2), ..Settings::default() };
    train_run(Source::Folder(pictures.clone()), settings, &home.runs().join("pictures"));
    let facts = home.get("/api/models/pictures").await.fine();
    assert_eq!((&facts["samples"], &facts["remark"]), (&json!(6), &Value::Null));
    let last = home.get("/api/models/pictures/samples/5").await.fine();
    assert_eq!((&last["label"], &last["pixels"][0]), (&json!(1), &json!(202)));
    home.classify("pictures", "image=sample&index=5", Body::empty()).await.fine();

    let home = Home::with(|options| copy(&home.runs(), &options.runs));
    fs::remove_file(pictures.join("test/light/2.png")).unwrap();
    let facts = home.get("/api/models/pictures").await.fine();
    assert_eq!(facts["samples"], 0);
    assert!(facts["remark"].as_str().unwrap().starts_with("There are no test images"), "{facts}");
}

/// Without a run of one's own, the page must have something to show.
#[tokio::test]
async fn the_pretrained_model_answers() {
    let home = Home::new();
    let models = home.get("/api/models").await.fine();
    assert_eq!((&models[0]["id"], &models[0]["pretrained"]), (&json!("pretrained"), &json!(true)));
    let facts = home.get("/api/models/pretrained").await.fine();
    assert_eq!((&facts["id"], &facts["drawing"]), (&json!("pretrained"), &json!(true)));
    let mut right = 0;
    for index in 0..20 {
        let sample = home.get(&format!("/api/models/pretrained/samples/{index}")).await.fine();
        let query = format!("image=sample&index={index}");
        let walk = home.classify("pretrained", &query, Body::empty()).await.fine();
        right += u32::from(walk["label"] == sample["label"]);
    }
    assert!(right >= 18, "{right} of 20");
}

/// A view without its curves, figures, card or weights shows half of a run.
#[tokio::test]
async fn a_run_is_shown_whole() {
    let home = Home::new();
    let view = home.get(&format!("/api/runs/{RUN}")).await.fine();
    assert_eq!(view["settings"]["steps"], 2);
    assert!(view["parameters"].as_u64().unwrap() > 10_000);
    assert!(view["card"].as_str().unwrap().starts_with("# NoProp on mnist-sample"));
    let epochs = view["epochs"].as_array().unwrap();
    assert_eq!(
        (epochs.len(), &epochs[0]["epoch"], &epochs[0]["losses"][0]["part"]),
        (1, &json!(1), &json!("block.1"))
    );
    for figure in view["figures"].as_array().unwrap() {
        let name = figure.as_str().unwrap();
        let drawn = home.get(&format!("/api/runs/{RUN}/figures/{name}")).await;
        let kind = if name.ends_with(".svg") { "image/svg+xml" } else { "image/png" };
        assert_eq!(drawn.headers["content-type"], kind);
        assert!(drawn.body.len() > 1000, "{name}");
    }
    let weights = home.get(&format!("/api/runs/{RUN}/model.safetensors")).await;
    assert_eq!(weights.body, fs::read(home.runs().join(RUN).join("model.safetensors")).unwrap());
    assert!(weights.headers["content-disposition"].to_str().unwrap().contains("first.safetensors"));

    copy(&home.runs().join(RUN), &home.runs().join("copy"));
    let compared = home.post("/api/compare", json!({ "runs": [RUN, "copy"] })).await.fine();
    assert_eq!(
        (compared["lines"].as_array().unwrap().len(), &compared["lines"][0]["n"]),
        (1, &json!(1))
    );
    assert_eq!(compared["lines"][0]["name"], RUN);
    assert!(compared["markdown"].as_str().unwrap().starts_with("| method |"));
    home.post("/api/compare", json!({ "runs": [RUN, "nobody"] })).await.refusal(404);
    home.post("/api/compare", json!({ "runs": [] })).await.refusal(400);
    home.post("/api/compare", json!({ "ids": [RUN] })).await.refusal(400);
}

/// A copy adds nothing to a mean: it has no line, and a person is told why.
#[tokio::test]
async fn a_run_without_a_line_is_explained() {
    let home = Home::new();
    copy(&home.runs().join(RUN), &home.runs().join("copy"));
    for runs in [[RUN, "copy"], [RUN, RUN]] {
        let compared = home.post("/api/compare", json!({ "runs": runs })).await.fine();
        let notes = compared["notes"].as_array().unwrap();
        assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("once"), "{notes:?}");
    }
    let alone = home.post("/api/compare", json!({ "runs": [RUN] })).await.fine();
    assert_eq!(alone["notes"], json!([]));
}

/// JavaScript rounds whole numbers beyond 2^53: a page that repeats a run must not train with another seed.
#[tokio::test]
async fn a_large_seed_is_told_digit_by_digit() {
    let home = Home::new();
    let config = home.runs().join(RUN).join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let line = text.lines().find(|line| line.starts_with("seed = ")).unwrap();
    fs::write(&config, text.replace(line, "seed = 1754000000123456789")).unwrap();
    for address in ["/api/runs", "/api/runs/first"] {
        let answer = String::from_utf8(home.get(address).await.body).unwrap();
        assert!(answer.contains("\"seed\":\"1754000000123456789\""), "{answer}");
    }
    let view = home.get("/api/runs/first").await.fine();
    assert_eq!(view["settings"]["seed"], "1754000000123456789");
}

/// A folder whose name is no text has no address: it is counted, so that a person knows of it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_run_whose_name_is_no_text_is_counted() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let home = Home::new();
    assert_eq!(home.get("/api/runs").await.fine()["left_out"], 0);
    copy(&home.runs().join(RUN), &home.runs().join(OsStr::from_bytes(b"caf\xe9")));
    let list = home.get("/api/runs").await.fine();
    assert_eq!((states(&list).len(), &list["left_out"]), (1, &json!(1)));
}

/// A run that goes while a page shows it is a sentence on that page, also where its model was open.
#[tokio::test]
async fn a_run_that_is_deleted_while_it_is_shown_is_gone() {
    let home = Home::new();
    let sample = "image=sample&index=3";
    home.get(&format!("/api/models/{RUN}")).await.fine();
    home.classify(RUN, sample, Body::empty()).await.fine();
    fs::remove_dir_all(home.runs().join(RUN)).unwrap();
    let addresses = [
        "runs/first",
        "runs/first/figures/x.png",
        "runs/first/model.safetensors",
        "models/first",
        "models/first/samples/0",
    ];
    for address in addresses {
        let sentence = home.get(&format!("/api/{address}")).await.refusal(404);
        assert!(sentence.contains("deleted"), "{address}: {sentence}");
    }
    home.classify(RUN, sample, Body::empty()).await.refusal(404);
    home.post("/api/training/resume", json!({ "run": RUN })).await.refusal(404);
    assert_eq!(home.get("/api/runs").await.fine()["runs"], json!([]));
}

/// The digit that is shown, its label and the answer belong together.
#[tokio::test]
async fn test_images_are_classified() {
    let home = Home::new();
    let facts = home.get(&format!("/api/models/{RUN}")).await.fine();
    assert_eq!(
        (&facts["samples"], &facts["blocks"], &facts["drawing"]),
        (&json!(1000), &json!(2), &json!(true))
    );
    let test = Dataset::mnist_sample().unwrap().test;
    let mut right = 0;
    for index in 0..20 {
        let sample = home.get(&format!("/api/models/{RUN}/samples/{index}")).await.fine();
        assert_eq!(sample["pixels"], json!(test.picture(index).unwrap()));
        let walk =
            home.classify(RUN, &format!("image=sample&index={index}"), Body::empty()).await.fine();
        assert_eq!(walk["input"]["pixels"], sample["pixels"]);
        assert_eq!(walk["probabilities"].as_array().unwrap().len(), 10);
        right += u32::from(walk["label"] == sample["label"]);
    }
    assert!(right >= 12, "{right} of 20");
    let route = async |route: &str| {
        home.classify(RUN, &format!("image=sample&index=0&route={route}"), Body::empty()).await
    };
    for (asked, steps) in [("2,1", vec![2, 1]), ("2", vec![2]), ("", vec![])] {
        let walk = route(asked).await.fine();
        let made: Vec<&Value> =
            walk["steps"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
        assert_eq!(made, steps, "{asked}");
    }
    route("3").await.refusal(400);
    home.get(&format!("/api/models/{RUN}/samples/1000")).await.refusal(404);
    home.get(&format!("/api/models/{RUN}/samples/x")).await.refusal(400);
}

/// A model that was trained further must not answer with its old weights.
#[tokio::test]
async fn changed_weights_are_opened_again() {
    let home = Home::new();
    let model = home.runs().join(RUN).join("model.safetensors");
    home.classify(RUN, "image=sample&index=0", Body::empty()).await.fine();
    fs::write(&model, "damaged").unwrap();
    home.classify(RUN, "image=sample&index=0", Body::empty()).await.refusal(500);
}

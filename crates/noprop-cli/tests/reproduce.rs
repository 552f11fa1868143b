//! `noprop reproduce` through the real binary, on a folder of a few tiny pictures: the runs that it trains, reuses and refuses, and the
//! same results when it is stopped in any way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use program::{command, noprop};

/// A grey PNG, its pixels stored without compression.
fn png(side: u32, pixel: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let checksum = |bytes: &[u8]| {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
            })
        })
    };
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        [&(data.len() as u32).to_be_bytes(), &body[..], &checksum(&body).to_be_bytes()].concat()
    };
    let rows: Vec<u8> = (0..side)
        .flat_map(|y| {
            std::iter::once(0).chain((0..side).map(move |x| (x, y)).map(|(x, y)| pixel(x, y)))
        })
        .collect();
    let (low, high) = rows.iter().fold((1u32, 0u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65521;
        (low, (high + low) % 65521)
    });
    let length = rows.len() as u16;
    let stored = [
        &[0x78, 0x01, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        &rows,
        &((high << 16) | low).to_be_bytes(),
    ]
    .concat();
    let size = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let image = [chunk(b"IHDR", &size), chunk(b"IDAT", &stored), chunk(b"IEND", b"")].concat();
    [b"\x89PNG\r\n\x1a\n", &image[..]].concat()
}

/// Two classes, upright and level stripes; as many pictures as one step takes, and a few to hold out.
fn pictures(folder: &Path) {
    for (half, count) in [("train", 80), ("test", 10)] {
        for class in ["level", "upright"] {
            let place = folder.join(half).join(class);
            fs::create_dir_all(&place).unwrap();
            for index in 0..count {
                let bytes = png(16, |x, y| {
                    let along = if class == "level" { y } else { x };
                    if (along + index) % 4 < 2 { 200 } else { (index * 5 % 100) as u8 }
                });
                fs::write(place.join(format!("{index}.png")), bytes).unwrap();
            }
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const TABLE: [&str; 17] = [
    "reproduce",
    "table1",
    "--dataset",
    "folder:stripes",
    "mnist",
    "--rows",
    "dt-onehot,fm-onehot",
    "--epochs",
    "1",
    "--eval-steps",
    "20",
    "--seeds",
    "1",
    "--runs",
    "2",
    "--out",
    "out",
];
const DT: &str = "out/runs/stripes-dt-onehot-1-epochs-seed-0";

/// Existing runs are reused: a second call trains nothing and writes the same report, and another table takes over its runs. A run
/// that differs from the one that would be made is refused by name, before anything is trained.
#[test]
fn made_once_shared_and_never_mixed_up() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    pictures(&here.join("stripes"));
    let first = noprop(here, &TABLE);
    assert!(first.status.success(), "{first:?}");
    let report = fs::read_to_string(here.join("out/table1.md")).unwrap();
    for words in [
        "**These are short runs**",
        "1 of 100",
        "`noprop fetch mnist`",
        "noprop train --preset paper-mnist-dt --dataset folder:stripes --epochs 1 --seed 0 --out out/runs/stripes-dt-onehot-1-",
        "noprop reproduce table1 --dataset folder:stripes mnist --rows",
        "| fm-onehot |",
        "| no noise between 20 steps | per-block |",
        "classified in 20 steps of the solver (`--eval-steps`)",
        "noprop eval --run RUN --split train --sampler stochastic --seed 0",
    ] {
        assert!(report.contains(words), "{words}\n{report}");
    }
    assert!(here.join("out/table1-stripes.png").is_file());
    assert!(report.contains("(table1-stripes.svg)"));

    let again = noprop(here, &TABLE);
    assert!(again.status.success() && !stderr(&again).contains("noprop train"), "{again:?}");
    assert_eq!(fs::read_to_string(here.join("out/table1.md")).unwrap(), report);

    // The reported accuracy is the mean over the chains' seeds, not that of averaged chains.
    let json = |args: &[&str]| -> serde_json::Value {
        let output = noprop(here, &[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let eval = |more: &[&str]| {
        let answer = json(&[&["eval", "--run", DT, "--sampler", "stochastic"], more].concat());
        answer["accuracy"].as_f64().unwrap()
    };
    let table = json(&TABLE);
    let row = |name: &str| {
        table["rows"].as_array().unwrap().iter().find(|row| row["row"] == name).unwrap().clone()
    };
    let (dt, fm) = (row("dt-onehot"), row("fm-onehot"));
    let same = |value: &serde_json::Value, expected: f64| {
        assert!((value.as_f64().unwrap() - expected).abs() < 1e-12, "{value} {expected}");
    };
    let test = (eval(&["--seed", "0"]) + eval(&["--seed", "1"])) / 2.0;
    same(&dt["stochastic"]["mean"], test);
    same(&dt["by_seed"][0], test);
    same(&dt["training"]["mean"], eval(&["--split", "train", "--seed", "0"]));
    assert!(dt["mean"]["n"] == 1 && fm["mean"].is_null());
    assert!(dt["paper"]["test"].is_null(), "the paper did not have these pictures");

    // Other steps of the solver are another training, and do not touch the answers that are there.
    let fig3 = ["reproduce", "fig3", "--dataset", "folder:stripes", "--rows", "fm-onehot"];
    let more =
        ["--epochs", "1", "--eval-steps", "5", "--seeds", "1", "--runs", "1", "--out", "out"];
    let fig3 = noprop(here, &[&fig3[..], &more].concat());
    assert!(fig3.status.success(), "{fig3:?}");
    for answer in ["20-steps-seed-0/stochastic-0-20-steps", "5-steps-seed-0/stochastic-0-5-steps"] {
        let path = format!("out/answers/stripes-fm-onehot-1-epochs-{answer}.json");
        assert!(here.join(&path).is_file(), "{path}");
    }

    // Memory of the run that is there, beside one that is not. No number is claimed for pictures that the paper did not have.
    let memory = ["reproduce", "table2", "--dataset", "folder:stripes", "--seeds", "1"];
    let rows = ["--rows", "backprop-onehot,dt-onehot", "--out", "out"];
    let memory = noprop(here, &[&memory[..], &rows].concat());
    assert!(memory.status.success(), "{memory:?}");
    let said = stderr(&memory);
    assert!(said.contains("stripes-backprop-onehot-1-") && !said.contains("stripes-dt-"), "{said}");
    let memory = fs::read_to_string(here.join("out/table2.md")).unwrap();
    assert!(memory.contains("| backprop-onehot |") && memory.contains(" MB | 1.00 |"), "{memory}");
    assert!(!memory.contains("GB | "), "{memory}");

    let run = here.join(DT);
    let refused = |file: &str, content: &[u8], named: &str| {
        let path = run.join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
        let output = noprop(here, &TABLE);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{file}: {said}");
        assert_eq!(said.lines().count(), 1, "{file}: {said}");
        assert!(said.contains(DT) && said.contains(named), "{file}: {said}");
        fs::write(&path, whole).unwrap();
    };
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let other = config.replace("eta = 0.1", "eta = 0.2");
    refused("config.toml", other.as_bytes(), "other settings: eta");
    refused("config.toml", b"epochs = many", "cannot be understood");
    refused("metrics.jsonl", b"no event\n", "damaged");
    refused("model.safetensors", b"no weights", "model.safetensors");
    fs::rename(&run, here.join("kept")).unwrap();
    fs::create_dir(&run).unwrap();
    fs::write(run.join("beach.jpg"), "").unwrap();
    let foreign = noprop(here, &TABLE);
    assert_eq!(foreign.status.code(), Some(2));
    assert!(stderr(&foreign).contains("not a run directory"), "{foreign:?}");
    assert!(run.join("beach.jpg").is_file());
}

/// A reproduction must not replace a run that was trained and whose saved state is gone, or whose blocks were trained apart. A run that was
/// killed before its first save starts again: it loses one epoch at most.
#[test]
fn a_trained_run_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    pictures(&here.join("stripes"));
    let args = ["reproduce", "table2", "--dataset", "folder:stripes", "--rows", "dt-onehot"];
    let args = [&args[..], &["--epochs", "2", "--seeds", "1", "--out", "out"]].concat();
    let first = noprop(here, &args);
    assert!(first.status.success(), "{first:?}");
    let name = "out/runs/stripes-dt-onehot-2-epochs-seed-0";
    let run = here.join(name);
    let (model, log) = (run.join("model.safetensors"), run.join("metrics.jsonl"));
    let weights = fs::read(&model).unwrap();
    let refused = |named: &str| {
        let output = noprop(here, &args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(name) && said.contains(named), "{said}");
        assert!(fs::read(&model).unwrap() == weights, "{named}");
    };

    // As if it had been stopped before its test, and its state had then been removed.
    let events = fs::read_to_string(&log).unwrap();
    let is_no_test = |line: &&str| !line.contains(r#""event":"test""#);
    fs::write(&log, events.split_inclusive('\n').filter(is_no_test).collect::<String>()).unwrap();
    fs::remove_dir_all(run.join("state")).unwrap();
    refused("its saved state is gone");

    fs::remove_file(&log).unwrap();
    fs::create_dir(run.join("units")).unwrap();
    refused("in units");

    // The start and an epoch.
    fs::remove_dir(run.join("units")).unwrap();
    fs::write(&log, events.split_inclusive('\n').take(2).collect::<String>()).unwrap();
    let again = noprop(here, &args);
    assert!(again.status.success(), "{again:?}");
    assert!(fs::read(&model).unwrap() == weights);
}

/// Rows of one table are of the same images: a folder with more pictures than before is found before the next training where it can be,
/// and after it at the latest.
#[test]
fn rows_of_different_images_do_not_share_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    pictures(&here.join("stripes"));
    let table = |rows: &str| {
        let args = ["reproduce", "table2", "--dataset", "folder:stripes", "--rows", rows];
        noprop(here, &[&args[..], &["--seeds", "1", "--out", "out"]].concat())
    };
    let first = table("backprop-onehot");
    assert!(first.status.success(), "{first:?}");
    let report = fs::read_to_string(here.join("out/table2.md")).unwrap();
    let more = png(16, |x, y| (x * y) as u8);
    fs::write(here.join("stripes/train/level/more.png"), more).unwrap();

    let fault = "stripes-dt-onehot-1-epochs-seed-0 was trained on other data than out/runs/stripes-backprop-onehot-1-epochs-seed-0";
    let mixed = table("backprop-onehot,dt-onehot");
    assert_eq!(mixed.status.code(), Some(2), "{mixed:?}");
    assert!(stderr(&mixed).contains(fault), "{mixed:?}");
    let again = table("backprop-onehot,dt-onehot");
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    let said = stderr(&again);
    assert!(said.contains(fault) && !said.contains("noprop train"), "{said}");
    assert_eq!(fs::read_to_string(here.join("out/table2.md")).unwrap(), report);
}

/// A report names the threads that its runs had, and not those of the last command: Table 2 compares memory, which depends on them.
#[test]
fn threads_are_those_of_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    pictures(&here.join("stripes"));
    let report = |rows: &str, threads: &str| {
        let args = ["reproduce", "table2", "--dataset", "folder:stripes", "--seeds", "1"];
        let more = ["--rows", rows, "--threads", threads, "--out", "out"];
        let output = noprop(here, &[&args[..], &more].concat());
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(here.join("out/table2.md")).unwrap()
    };
    let differ = "**Not all trainings had the same number of threads** (1, 2)";
    let one = report("backprop-onehot", "1");
    assert!(one.contains(", 1 thread, ") && !one.contains("2 threads"), "{one}");
    // Nothing is trained again.
    let same = report("backprop-onehot", "2");
    assert!(same.contains(", 1 thread, ") && !same.contains("2 threads"), "{same}");
    let both = report("backprop-onehot,dt-onehot", "2");
    assert!(!same.contains(differ) && both.contains(differ), "{both}");
    assert!(both.contains(", 1 thread, ") && both.contains(", 2 threads, "), "{both}");
}

/// A row that fails is named with its reason, and the others are made all the same.
#[test]
fn a_broken_data_set_stops_its_own_rows_alone() {
    let dir = tempfile::tempdir().unwrap();
    pictures(&dir.path().join("stripes"));
    pictures(&dir.path().join("broken"));
    fs::write(dir.path().join("broken/train/level/3.png"), "no picture").unwrap();
    let args = ["reproduce", "fig3", "--dataset", "folder:broken", "folder:stripes"];
    let rows = ["--rows", "fm-onehot", "--epochs", "1", "--eval-steps", "5"];
    let more = ["--seeds", "1", "--runs", "1", "--quiet", "--out", "o"];
    let output = noprop(dir.path(), &[&args[..], &rows, &more].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let report = fs::read_to_string(dir.path().join("o/fig3.md")).unwrap();
    assert!(report.contains("folder:broken, fm-onehot, 0 of 1 seed done"), "{report}");
    assert!(report.contains("3.png"), "{report}");
    assert!(!dir.path().join("o/fig3-broken.png").exists());
    assert!(dir.path().join("o/fig3-stripes.png").is_file());
}

/// Figure 2 shows the figures that a training drew of its embeddings.
#[test]
fn embeddings_are_shown_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    pictures(&dir.path().join("stripes"));
    let args = ["reproduce", "fig2", "--dataset", "folder:stripes", "--epochs", "1", "--out", "o"];
    let output = noprop(dir.path(), &args);
    assert!(output.status.success(), "{output:?}");
    let report = fs::read_to_string(dir.path().join("o/fig2.md")).unwrap();
    let figure = "runs/stripes-dt-prototype-1-epochs-seed-0/figures/prototypes.svg";
    assert!(report.contains(&format!("({figure})")), "{report}");
    assert!(dir.path().join("o").join(figure).is_file());
    assert!(report.contains("| dt-prototype |") && report.contains("| 1 | 1 of 100 |"), "{report}");
}

/// A budget is divided by a trial of each row, and the same command then does the same.
#[test]
fn a_budget_becomes_epochs() {
    let dir = tempfile::tempdir().unwrap();
    pictures(&dir.path().join("stripes"));
    let args = ["reproduce", "table2", "--dataset", "folder:stripes", "--budget", "1s"];
    let more = ["--rows", "fm-onehot", "--eval-steps", "5", "--seeds", "1", "--out", "o"];
    let args = [&args[..], &more].concat();
    let first = noprop(dir.path(), &args);
    assert!(first.status.success(), "{first:?}");
    assert!(stderr(&first).contains("an epoch takes"), "{first:?}");
    let report = fs::read_to_string(dir.path().join("o/table2.md")).unwrap();
    assert!(report.contains("1 s of work in all"), "{report}");
    let again = noprop(dir.path(), &args);
    assert!(!stderr(&again).contains("noprop train"), "{again:?}");
    assert_eq!(fs::read_to_string(dir.path().join("o/table2.md")).unwrap(), report);
}

/// Ctrl-C saves and the same command goes on; a kill loses no more than an epoch. Either way the weights are the same bytes as
/// without an interruption.
#[cfg(unix)]
#[test]
fn stopped_or_killed_it_goes_on() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    let dir = tempfile::tempdir().unwrap();
    pictures(&dir.path().join("stripes"));
    let args = |out: &'static str| {
        let args = ["reproduce", "table2", "--dataset", "folder:stripes", "--rows", "dt-onehot"];
        [&args[..], &["--epochs", "6", "--seeds", "1", "--out", out]].concat()
    };
    assert!(noprop(dir.path(), &args("whole")).status.success());
    for (signal, out) in [("-INT", "stopped"), ("-KILL", "killed")] {
        let mut child = command(dir.path(), &args(out))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("epoch 1/6 ") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended too early");
        }
        let pid = child.id().to_string();
        assert!(
            Command::new("sh").args(["-c", "kill $1 $0", &pid, signal]).status().unwrap().success()
        );
        if signal == "-INT" {
            let mut rest = String::new();
            said.read_to_string(&mut rest).unwrap();
            assert!(rest.contains("the same command goes on"), "{rest}");
        }
        // A training whose reproduction was killed sees its stdin end, and stops.
        drop(said);
        assert_eq!(child.wait().unwrap().success(), signal == "-INT");
        let run = "runs/stripes-dt-onehot-6-epochs-seed-0/model.safetensors";
        let resumed = noprop(dir.path(), &args(out));
        assert!(resumed.status.success(), "{resumed:?}");
        if signal == "-INT" {
            assert!(stderr(&resumed).contains("noprop train --resume"), "{resumed:?}");
        }
        let bytes = |out: &str| fs::read(dir.path().join(out).join(run)).unwrap();
        assert!(bytes(out) == bytes("whole"), "{signal}");
    }
}

#[test]
fn hostile_values_are_one_line_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [&[&str]; 17] = [
        &["--seeds", "0"],
        &["--seeds", "-1"],
        &["--seeds", "4000000000"],
        &["--runs", "0"],
        &["--epochs", "0"],
        &["--epochs", "1e9"],
        &["--budget", "0m"],
        &["--budget", "banana"],
        &["--budget", "1e999h"],
        &["--epochs", "1", "--budget", "1m"],
        &["--eval-steps", "0"],
        &["--eval-steps", "1001"],
        &["--threads", "0"],
        &["--rows", "dt-twohot"],
        &["--rows", ""],
        &["--dataset", "nmist"],
        &["--dataset", "mnist", "folder:nowhere"],
    ];
    for case in cases {
        let output = noprop(dir.path(), &[&["reproduce", "table1"][..], case].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{case:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{case:?}: {said}");
        assert!(said.contains("error: "), "{case:?}: {said}");
        assert!(!dir.path().join("reproduced").exists(), "{case:?} left something behind");
    }
    assert_eq!(noprop(dir.path(), &["reproduce", "table9"]).status.code(), Some(2));
}

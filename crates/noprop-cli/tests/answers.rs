//! The answers of a trained network through the real binary: scores by class, the file of answers, pictures of folders, runs
//! side by side; and names of strangers, which may hold anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests draw other pictures")]
#[path = "folders/png.rs"]
mod png;
mod program;

use std::fs;
use std::path::Path;

use png::{Pixel, png};
use program::noprop;
use serde_json::Value;

/// Names that CSV must quote, and that a terminal must not be given as they are.
const NAMES: [&str; 3] = ["a, \"b\"\n\u{1b}[31m", "plain", "zwölf"];

/// stdout of a command that succeeds.
fn said(folder: &Path, args: &[&str]) -> String {
    let output = noprop(folder, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&said(folder, args)).unwrap()
}

/// The one line on stderr of a command that is refused with exit code 2 and answers nothing.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = noprop(folder, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?} answered all the same");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{args:?}: {stderr}");
    stderr
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn grey(shade: usize) -> Vec<u8> {
    png(16, 16, Pixel::Grey8(u8::try_from(shade).unwrap()))
}

/// The data set `p`: pictures of 16 x 16 in the classes `names`, four each to train on. All classes but the last have two to
/// test on.
fn draw(root: &Path, names: &[&str]) {
    for (class, name) in names.iter().enumerate() {
        for number in 0..4 {
            let picture = grey(200 * class / names.len() + number);
            write(&root.join(format!("p/train/{name}/{number}.png")), &picture);
        }
        for number in (0..2).filter(|_| class + 1 < names.len()) {
            let picture = grey(200 * class / names.len() + 4 + number);
            write(&root.join(format!("p/test/{name}/{number}.png")), &picture);
        }
    }
}

/// Trains on `p` for a moment.
fn train(root: &Path, more: &[&str]) {
    let least = ["train", "--dataset", "folder:p", "--epochs", "1", "--batch-size", "2"];
    said(root, &[&least[..], &["--steps", "2", "--quiet"], more].concat());
}

/// The records of a CSV (RFC 4180).
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut characters) = (false, text.chars().peekable());
    while let Some(c) = characters.next() {
        match (c, quoted) {
            ('"', true) if characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            ('"', _) => quoted = !quoted,
            (',', false) => record.push(std::mem::take(&mut field)),
            ('\n', false) => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            (c, _) => field.push(c),
        }
    }
    assert!(field.is_empty() && record.is_empty(), "{text} ends within a line");
    records
}

/// The scores, the confusion matrix and the file of answers are three views of the same answers, and must agree.
#[test]
fn scores_and_answers_agree() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    draw(root, &NAMES);
    train(root, &["--out", "r"]);
    let test = json(root, &["eval", "r", "--json", "--answers", "answers.csv"]);
    for field in ["accuracy", "correct", "sampler", "runs", "seed", "per_block", "steps", "solver"]
    {
        assert!(test.get(field).is_some(), "{field} is missing in {test}");
    }
    assert_eq!(test["class_names"], serde_json::json!(NAMES));
    assert_eq!((&test["total"], &test["top_5"]), (&4.into(), &Value::Null));

    let text = fs::read_to_string(root.join("answers.csv")).unwrap();
    let answers = records(&text);
    assert_eq!(answers[0][..3], ["picture", "truth", "answer"]);
    assert_eq!(answers[0][3..], NAMES);
    let mut confusion = vec![vec![0; 3]; 3];
    for line in &answers[1..] {
        assert_eq!(line.len(), 6);
        let picture = Path::new(&line[0]);
        assert!(picture.is_file(), "{line:?}");
        assert!(picture.parent().unwrap().ends_with(&line[1]), "{line:?}");
        let class = |name: &String| NAMES.iter().position(|known| known == name).unwrap();
        let (truth, answer) = (class(&line[1]), class(&line[2]));
        let probabilities: Vec<f32> = line[3..].iter().map(|p| p.parse().unwrap()).collect();
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(probabilities.iter().all(|p| *p <= probabilities[answer]), "{line:?}");
        confusion[truth][answer] += 1;
    }
    assert_eq!(test["confusion"], serde_json::json!(confusion));
    let correct: u64 = (0..3).map(|class| confusion[class][class]).sum();
    assert_eq!(test["correct"], correct);
    for class in 0..2 {
        let recall = confusion[class][class] as f64 / 2.0;
        assert_eq!(test["per_class"][class]["recall"], recall);
        assert_eq!(test["per_class"][class]["support"], 2);
    }
    // Two classes of two images each.
    assert_eq!(test["balanced_accuracy"], test["accuracy"]);
    assert_eq!(test["per_class"][2]["recall"], Value::Null);
    assert_eq!(test["classes_without_images"], 1);

    let words = said(root, &["eval", "r"]);
    assert!(words.contains("(1 of 3 classes have no images)"), "{words}");
    assert!(words.contains(r#"a, "b"\n\u{1b}[31m"#) && !words.contains('\u{1b}'), "{words}");

    // The same file again, and nothing else; and a mistake is noticed before the work.
    assert!(said(root, &["eval", "r", "--answers", "answers.csv"]).contains("accuracy"));
    assert_eq!(fs::read_to_string(root.join("answers.csv")).unwrap(), text);
    let config = fs::read(root.join("r/config.toml")).unwrap();
    fs::remove_dir_all(root.join("p")).unwrap();
    let other = refused(root, &["eval", "r", "--answers", "r/config.toml"]);
    assert!(other.contains("is not a file of answers"), "{other}");
    assert_eq!(fs::read(root.join("r/config.toml")).unwrap(), config);
    let nowhere = refused(root, &["eval", "r", "--answers", "nowhere/a.csv"]);
    assert!(nowhere.contains("there is no folder nowhere"), "{nowhere}");
}

/// The accuracies that a training records are those of its own images, found again from its settings: with the normalisation, but
/// without the changes at random, the dropout and the weights of training.
#[test]
fn a_run_is_evaluated_on_the_images_that_it_was_trained_with() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let settings = ["--normalize", "channel", "--augment", "shift:2", "--dropout", "0.2"];
    let train = ["train", "--dataset", "mnist-sample", "--steps", "2", "--epochs", "2", "--quiet"];
    let more = ["--class-weights", "balanced", "--json", "--out", "r"];
    let trained = json(root, &[&train[..], &settings, &more].concat());
    let mut numbers = Vec::new();
    for (split, accuracy, images) in [
        ("train", "training_accuracy", "training images"),
        ("validation", "validation_accuracy", "held-out images"),
        ("test", "test_accuracy", "test images"),
    ] {
        let eval = ["eval", "r", "--split", split];
        let answer = json(root, &[&eval[..], &["--json", "--answers", "a.csv"]].concat());
        assert_eq!((&answer["accuracy"], &answer["split"]), (&trained[accuracy], &split.into()));
        let words = said(root, &eval);
        let named = format!("of the {} {images} of mnist-sample)", answer["total"]);
        assert!(words.contains(&named), "{words}");
        if split != "test" {
            for line in &records(&fs::read_to_string(root.join("a.csv")).unwrap())[1..] {
                let number: usize = line[0].parse().unwrap();
                // The sample's training images are sorted, 400 of each digit.
                assert_eq!(line[1], (number / 400).to_string(), "{line:?}");
                numbers.push(number);
            }
        }
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..4000), "each is trained on or held out, and named once");
    assert_eq!(json(root, &["eval", "r", "--json"])["accuracy"], trained["test_accuracy"]);

    let share = trained["training_accuracy"].as_f64().unwrap();
    let percent = format!("{:.2} %", 100.0 * share);
    let card = fs::read_to_string(root.join("r/README.md")).unwrap();
    assert!(card.contains(&format!("| training accuracy | {percent} of the ")), "{card}");
    let known = json(root, &["info", "r", "--json"])["training_accuracy"].as_f64().unwrap();
    assert!((known - share).abs() < 1e-12);
    let words = format!("{percent} on the training images");
    assert!(said(root, &["info", "r"]).contains(&words));
    // A run of the first versions.
    let log = fs::read_to_string(root.join("r/metrics.jsonl")).unwrap();
    let start = log.find(",\"training_accuracy\":").unwrap();
    let end = start + 1 + log[start + 1..].find(',').unwrap();
    fs::write(root.join("r/metrics.jsonl"), [&log[..start], &log[end..]].concat()).unwrap();
    assert_eq!(json(root, &["info", "r", "--json"])["training_accuracy"], Value::Null);
    assert!(!said(root, &["info", "r"]).contains("training images"));
}

/// Among many classes the first answer is not all that counts, and a table of all of them is too long to read.
#[test]
fn many_classes_have_a_top_5_and_a_short_table() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let names: Vec<String> = (10..32).map(|class| format!("class-{class}")).collect();
    draw(root, &names.iter().map(String::as_str).collect::<Vec<_>>());
    train(root, &["--out", "r"]);
    let test = json(root, &["eval", "r", "--json", "--answers", "a.csv"]);
    let within_5 = records(&fs::read_to_string(root.join("a.csv")).unwrap())[1..]
        .iter()
        .filter(|line| {
            let probability = |class: &str| -> f32 {
                let column = names.iter().position(|name| name == class).unwrap();
                line[3 + column].parse().unwrap()
            };
            let own = probability(&line[1]);
            names.iter().filter(|name| probability(name) > own).count() < 5
        })
        .count();
    assert_eq!(test["top_5"].as_f64().unwrap(), within_5 as f64 / 42.0);
    assert!(test["top_5"].as_f64() > test["accuracy"].as_f64(), "{test}");
    let words = said(root, &["eval", "r"]);
    assert!(words.contains("the 10 classes of 22 with the lowest F1:"), "{words}");
    assert!(words.contains("top-5 accuracy"), "{words}");
    assert_eq!(words.lines().filter(|line| line.starts_with("class-")).count(), 10);
}

/// A run is named in one of two ways, never in both: a command that has no name, or two, would have to guess.
#[test]
fn a_run_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    draw(root, &["dark", "light", "none"]);
    train(root, &["--out", "r"]);
    fs::write(root.join("a.png"), grey(7)).unwrap();
    for command in [&["info"][..], &["eval"], &["plot"]] {
        let with = |more: &[&str]| said(root, &[command, more, &["--json"]].concat());
        assert_eq!(with(&["r"]), with(&["--run", "r"]));
        assert!(refused(root, command).contains("<RUN|--run <DIR>>"));
        let both = refused(root, &[command, &["r", "--run", "r"]].concat());
        assert!(both.contains("'[RUN]' cannot be used with '--run <DIR>'"), "{both}");
    }
    let answer = said(root, &["predict", "r", "a.png"]);
    assert_eq!(answer, said(root, &["predict", "--run", "r", "a.png"]));
    assert_eq!(answer, said(root, &["predict", "a.png", "--run", "r"]));
    for (args, words) in [
        (&["predict"][..], "[RUN] <PICTURE>..."),
        (&["predict", "--run", "r"], "[RUN] <PICTURE>..."),
        (&["predict", "r"], "name at least one picture after the run r"),
        (&["predict", "q", "a.png"], "q is neither a run nor a picture"),
        (&["predict", "--run", "r", "r", "a.png"], "r is a run, and --run names one already"),
        (&["predict", "r", "~/a.png"], "the shell does not replace ~ inside quotes"),
        (&["info", "~/r"], "the shell does not replace ~ inside quotes"),
        (&["compare", "~/r"], "the shell does not replace ~ inside quotes"),
    ] {
        let stderr = refused(root, args);
        assert!(stderr.contains(words), "{args:?} should say {words}: {stderr}");
    }
}

/// Without a run the pretrained network answers, and the command says so: a digit that it does not know would be answered all the same.
#[test]
fn without_a_run_the_pretrained_network_answers() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    // A vertical stroke.
    let inked = |x, y| (13..15).contains(&x) && (5..23).contains(&y);
    let rows = (0..28).flat_map(|y| {
        std::iter::once(0).chain((0..28).map(move |x| if inked(x, y) { 255 } else { 0 }))
    });
    let rows: Vec<u8> = rows.collect();
    fs::write(root.join("one.png"), png::file((28, 28), Pixel::Grey8(0), &rows)).unwrap();
    let output = noprop(root, &["predict", "one.png", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "no run is named, so the pretrained network for MNIST's digits answers\n");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["class"], "1", "{answer}");
    assert_eq!(answer["per_block"].as_array().unwrap().len(), 10);
}

/// The answer to a picture must not depend on the other pictures in its folder, to the last bit: with these settings and this many
/// classes, classifying in batches would change most answers.
#[test]
fn a_folder_is_answered_as_its_pictures_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let more = ["3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let names = [&NAMES[..], &more].concat();
    draw(root, &names);
    train(root, &["--method", "fm", "--embedding", "learned:13", "--out", "r"]);
    let pictures = root.join("pictures");
    // More than are held in memory at a time.
    for number in 10..50 {
        write(&pictures.join(format!("{number}.png")), &grey(5 * number));
    }
    write(&pictures.join(".hidden.png"), b"no picture");
    write(&pictures.join("notes.txt"), b"no picture");
    let output = noprop(root, &["predict", "r", "pictures", "--json", "--runs", "2"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "passed over: pictures/notes.txt\n");
    let together = String::from_utf8(output.stdout).unwrap();
    let paths: Vec<String> = (10..50).map(|number| format!("pictures/{number}.png")).collect();
    let one_by_one: String = (paths.iter().step_by(4))
        .map(|path| said(root, &["predict", "r", path, "--json", "--runs", "2", "--threads", "1"]))
        .collect();
    let lines: Vec<&str> = together.lines().collect();
    assert_eq!(lines.len(), paths.len());
    assert_eq!(lines.into_iter().step_by(4).collect::<Vec<_>>().join("\n") + "\n", one_by_one);

    // JSON has a class's name as it is, a terminal has not.
    let first: Value = serde_json::from_str(one_by_one.lines().next().unwrap()).unwrap();
    assert!(names.iter().any(|name| first["class"] == *name), "{first}");
    let words = said(root, &["predict", "r", "pictures"]) + &said(root, &["info", "r"]);
    assert!(words.contains(r#"a, "b"\n\u{1b}[31m"#) && !words.contains('\u{1b}'), "{words}");

    // A bad file of a folder is left out; one that was named is a mistake, and noticed before the first answer.
    write(&pictures.join("20.png"), b"no picture");
    write(&pictures.join("21.png"), &grey(9)[..40]);
    let output = noprop(root, &["predict", "r", "pictures", "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 38);
    for name in ["20.png", "21.png"] {
        assert!(stderr.contains(&format!("left out: cannot use pictures/{name}")), "{stderr}");
    }
    assert!(stderr.ends_with("error: 2 of 40 pictures were left out\n"), "{stderr}");
    let bad = ["pictures/20.png"];
    let named: Vec<&str> = paths.iter().skip(12).map(String::as_str).chain(bad).collect();
    let stderr = refused(root, &[&["predict", "r"][..], &named, &["pictures/49.png"]].concat());
    assert!(stderr.contains("cannot use pictures/20.png"), "{stderr}");
    let stderr = refused(root, &["predict", "r", "pictures/49.png", "p"]);
    assert!(stderr.contains("p holds no pictures"), "{stderr}");
}

/// One training must not pass for several, and one that is not finished must not hide the others.
#[test]
fn compare_counts_each_training_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    draw(root, &["dark", "light", "none"]);
    train(root, &["--out", "a"]);
    train(root, &["--out", "b", "--seed", "1"]);
    fs::create_dir(root.join("copy of a")).unwrap();
    for file in ["config.toml", "metrics.jsonl", "model.safetensors"] {
        fs::copy(root.join("a").join(file), root.join("copy of a").join(file)).unwrap();
    }
    let output = noprop(root, &["compare", "a", "./a", "b", "copy of a", "b/../a", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let lines: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((lines.as_array().unwrap().len(), &lines[0]["n"]), (1, &2.into()), "{lines}");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "./a was named before: it counts once\n\
         b/../a was named before: it counts once\n\
         copy of a has the settings, the seed and the weights of a: they count once\n"
    );

    let unfinished = root.join("not finished");
    fs::create_dir_all(unfinished.join("state")).unwrap();
    fs::write(unfinished.join("config.toml"), "").unwrap();
    fs::write(unfinished.join("state/progress.json"), "").unwrap();
    let output = noprop(root, &["compare", "not finished", "a", "b", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), lines);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: this run is not finished: not finished (go on with noprop train --resume 'not finished')\n"
    );
    assert!(refused(root, &["compare", "not finished"]).contains("is not finished"));
    let stderr = refused(root, &["compare", "a", "p"]);
    assert!(stderr.contains("p is not a run directory"), "{stderr}");
}

/// An ablation of one chain agrees with eval on the whole of it, has a row for each block, and names what it cannot do.
#[test]
fn an_ablation_agrees_with_eval() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    draw(root, &["dark", "light", "none"]);
    train(root, &["--out", "r"]);
    train(root, &["--method", "fm", "--out", "fm"]);
    let cases = [("r", &[][..], "block", 2), ("fm", &["--steps", "20"], "part of the time", 10)];
    for (run, flags, part, parts) in cases {
        let json = |command| -> Value {
            let words = [&[command, run, "--json"][..], flags].concat();
            serde_json::from_str(&said(root, &words)).unwrap()
        };
        let (found, eval) = (json("ablate"), json("eval"));
        assert_eq!((&found["whole"], &found["part"]), (&eval["accuracy"], &part.into()), "{found}");
        for key in ["without", "first", "alone", "changed"] {
            assert_eq!(found[key].as_array().unwrap().len(), parts, "{key}: {found}");
        }
        assert_eq!(found["first"][parts - 1], found["whole"], "all parts are the whole chain");
    }
    let table = said(root, &["ablate", "r", "--figure", "what"]);
    assert_eq!(table.lines().count(), 2 + 2 + 3, "{table}");
    assert!(root.join("what.png").is_file() && root.join("what.svg").is_file());
    // A figure that cannot be written must not cost the numbers.
    let output = noprop(root, &["ablate", "r", "--figure", "absent/what"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), table);
    assert_eq!(output.status.code(), Some(2));
    assert!(refused(root, &["ablate", "r", "--runs", "2"]).contains("--runs must be 1"));
    assert!(refused(root, &["ablate", "r", "--images", "0"]).contains("--images"));
    assert!(refused(root, &["ablate", "r", "--solver", "heun"]).contains("--solver"));
}

//! `eval --split`: which pictures each half holds, of a run's own folder and of others.

use super::*;

const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// A training of the folder `p` into `r`, as JSON.
fn trained(root: &Path, more: &[&str]) -> serde_json::Value {
    json(&noprop(root, &tiny(&[&["--dataset", "folder:p", "--out", "r"], more].concat())))
}

/// The answers of `eval r` with `more`, and the pictures, sorted. Each picture must be in the folder of its class.
fn evaluated(root: &Path, more: &[&str]) -> (serde_json::Value, Vec<String>) {
    let eval = ["eval", "r", "--json", "--answers", "answers.csv"];
    let answer = json(&noprop(root, &[&eval[..], more].concat()));
    let text = fs::read_to_string(root.join("answers.csv")).unwrap();
    let mut pictures = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        assert!(Path::new(fields[0]).parent().unwrap().ends_with(fields[1]), "{line}");
        pictures.push(fs::canonicalize(root.join(fields[0])).unwrap().display().to_string());
    }
    pictures.sort();
    assert_eq!(answer["total"], pictures.len());
    (answer, pictures)
}

/// The pictures in the folders of both classes, sorted.
fn pictures_in(folder: &Path) -> Vec<String> {
    let mut pictures = Vec::new();
    for class in ["dark", "light"] {
        for file in fs::read_dir(folder.join(class)).unwrap() {
            pictures.push(fs::canonicalize(file.unwrap().path()).unwrap().display().to_string());
        }
    }
    pictures.sort();
    pictures
}

fn held_out(folder: &Path) {
    for (class, level) in [("dark", 3), ("light", 250)] {
        for number in 0..3 {
            let picture = png(16, 16, Pixel::Grey8(level + number));
            write(&folder.join(format!("val/{class}/{number}.png")), &picture);
        }
    }
}

/// A folder's own held-out pictures are those that chose the epoch, and all of `train` was trained on.
#[test]
fn a_folder_of_held_out_pictures_is_a_half() {
    let dir = tempfile::tempdir().unwrap();
    let (root, p) = (dir.path(), dir.path().join("p"));
    two_classes(&p, 16);
    held_out(&p);
    let trained = trained(root, &[]);
    for (split, folder, accuracy) in [
        ("train", "train", "training_accuracy"),
        ("validation", "val", "validation_accuracy"),
        ("test", "test", "test_accuracy"),
    ] {
        let (answer, pictures) = evaluated(root, &["--split", split]);
        assert_eq!(answer["accuracy"], trained[accuracy], "{split}");
        assert_eq!(pictures, pictures_in(&p.join(folder)), "{split}");
    }
}

/// Pictures that are drawn, to be held out or to be tested on, are found again by the run's settings and by its lists.
#[test]
fn drawn_halves_are_found_again() {
    for (more, folder, drawn) in
        [(&[][..], "p/train", &["train", "validation"][..]), (&["--split", "0.25"], "p", &SPLITS)]
    {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        two_classes(&root.join("p"), 16);
        if folder == "p" {
            fs::remove_dir_all(root.join("p/test")).unwrap();
            for class in ["dark", "light"] {
                fs::rename(root.join("p/train").join(class), root.join("p").join(class)).unwrap();
            }
            fs::remove_dir(root.join("p/train")).unwrap();
        }
        let trained = trained(root, &[more, &["--validation", "3", "--seed", "5"]].concat());
        let mut all = Vec::new();
        for split in drawn {
            let (answer, pictures) = evaluated(root, &["--split", split, "--seed", "5"]);
            let recorded = match *split {
                "train" => &trained["training_accuracy"],
                "validation" => &trained["validation_accuracy"],
                _ => &trained["test_accuracy"],
            };
            assert_eq!(&answer["accuracy"], recorded, "{split}");
            assert!(*split != "validation" || pictures.len() == 3, "{pictures:?}");
            all.extend(pictures);
        }
        all.sort();
        assert_eq!(all, pictures_in(&root.join(folder)), "each picture is in one half");
    }
}

/// One picture more or less makes other pictures the held-out ones, so an accuracy on them would be of pictures that were learned.
#[test]
fn changed_halves_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("p"), 16);
    trained(root, &[]);
    let eval = |split| ["eval", "r", "--json", "--split", split];
    let answers = SPLITS.map(|split| json(&noprop(root, &eval(split))));
    // A change of the other half is remarked upon.
    let new = root.join("p/test/dark/new.png");
    write(&new, &png(16, 16, Pixel::Grey8(1)));
    refused(root, &eval("test"), "the test images in");
    for (split, before) in SPLITS.iter().zip(&answers).take(2) {
        let after = noprop(root, &eval(split));
        let said = String::from_utf8_lossy(&after.stderr);
        assert!(said.starts_with("warning: test images in"), "{said}");
        assert!(said.contains("test/dark/new.png is new"), "{said}");
        assert_eq!(json(&after), *before);
    }
    fs::remove_file(new).unwrap();
    fs::remove_file(root.join("p/train/dark/0.png")).unwrap();
    for (split, words) in
        [("train", "the training images in"), ("validation", "the held-out images in")]
    {
        refused(root, &eval(split), words);
        refused(root, &eval(split), "train/dark/0.png is gone");
    }
    assert_eq!(json(&noprop(root, &eval("test"))), answers[2]);
    // A folder that chooses the epoch now did not choose it then.
    two_classes(&root.join("p"), 16);
    held_out(&root.join("p"));
    for split in ["train", "validation"] {
        refused(root, &eval(split), "val/dark/0.png is new, the first of 6");
    }
}

/// Of other data a half is taken as it is, and one that is not there is refused.
#[test]
fn halves_of_other_data_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for class in 0..10 {
        for (half, numbers) in [("train", 0..2), ("test", 2..3)] {
            for number in numbers {
                let picture = png(28, 28, Pixel::Grey8(20 * class + number));
                write(&root.join(format!("p/{half}/{class}/{number}.png")), &picture);
            }
        }
    }
    trained(root, &[]);
    let sample = ["--dataset", "mnist-sample", "--split"];
    let eval = |more: &[&str]| noprop(root, &[&["eval", "r", "--json"][..], more].concat());
    for (split, total) in [("train", 4000), ("test", 1000)] {
        assert_eq!(json(&eval(&[&sample[..], &[split]].concat()))["total"], total);
    }
    let all = [&["eval", "r"][..], &sample, &["validation"]].concat();
    refused(root, &all, "mnist-sample brings no held-out images");

    for (half, count) in [("train", 3), ("val", 2), ("test", 1)] {
        for number in 0..count {
            let picture = png(28, 28, Pixel::Grey8(200 + number));
            write(&root.join(format!("q/{half}/7/{number}.png")), &picture);
        }
    }
    let q = ["--dataset", "folder:q", "--split"];
    for (split, total) in SPLITS.iter().zip([3, 2, 1]) {
        assert_eq!(json(&eval(&[&q[..], &[split]].concat()))["total"], total);
    }
    for (split, folder) in [("train", "train"), ("validation", "val")] {
        fs::remove_dir_all(root.join("q").join(folder)).unwrap();
        let eval = [&["eval", "r"][..], &q, &[split]].concat();
        refused(root, &eval, &format!("q cannot be used: there is no folder {folder} in it"));
    }
    let unknown = ["eval", "r", "--split", "held-out"];
    let output = noprop(root, &unknown);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("[possible values: train, validation, test]"), "{stderr}");
}

//! Folders of pictures through the real binary: a run that repeats from its config.toml alone, and one clear line with exit code 2
//! for every folder that is not as it should be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod halves;
mod known_data;
mod png;
#[path = "../program/mod.rs"]
mod program;
#[cfg(unix)]
mod tutorial;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Output;

use png::{Pixel, lie, png, spot};
use program::noprop;

/// The arguments of a training that takes a moment.
fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let least =
        ["train", "--steps", "1", "--epochs", "1", "--batch-size", "2", "--quiet", "--json"];
    [&least[..], more].concat()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Two classes, dark and bright, with four pictures each of `side` x `side` to train on and one to test on.
fn two_classes(root: &Path, side: u32) {
    for (class, shade) in [("dark", 20), ("light", 200)] {
        for number in 0..4 {
            let picture = png(side, side, Pixel::Grey8(shade + 10 * number));
            write(&root.join(format!("train/{class}/{number}.png")), &picture);
        }
        let picture = png(side, side, Pixel::Grey8(shade + 5));
        write(&root.join(format!("test/{class}/t.png")), &picture);
    }
}

const KEYS: [&str; 7] =
    ["image-size", "skip-bad", "normalize", "padding", "augment", "split", "ema"];

/// The value of a flag must stand in config.toml, or the run could not be repeated, evaluated or resumed from it; a setting without a
/// flag must not, or older runs could not be resumed.
#[test]
fn a_run_repeats_from_its_config_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (class, shade) in [("dark", 20), ("light", 180)] {
        for number in 0..12 {
            let side = 16 + u32::from(number % 3);
            let picture = png(side, side + 1, Pixel::Rgb8([shade, shade + 3 * number, 7]));
            write(&root.join(format!("pictures/{class}/{number}.png")), &picture);
        }
    }
    write(&root.join("pictures/dark/notes.txt"), b"no picture");
    let flags = [
        "--dataset",
        "folder:pictures",
        "--image-size",
        "18",
        "--skip-bad",
        "--normalize",
        "channel",
        "--padding",
        "1",
        "--augment",
        "rotate:5+flip+crop:2+cutout:4",
        "--ema",
        "0.9",
        "--split",
        "0.25",
        "--validation",
        "5",
        "--seed",
        "3",
        "--out",
        "a",
    ];
    let trained = noprop(root, &tiny(&flags));
    assert!(String::from_utf8_lossy(&trained.stderr).contains("notes.txt"), "{trained:?}");
    let result = json(&trained);
    let config = fs::read_to_string(root.join("a/config.toml")).unwrap();
    for key in KEYS {
        assert!(config.contains(&format!("\n{key} = ")), "{key} is missing in {config}");
    }
    assert!(config.contains("validation = 5\n"), "{config}");

    let again = ["train", "--config", "a/config.toml", "--quiet", "--threads", "1", "--out", "b"];
    let again = noprop(root, &again);
    assert!(again.status.success(), "{again:?}");
    for file in ["model.safetensors", "config.toml"] {
        let bytes = |run: &str| fs::read(root.join(run).join(file)).unwrap();
        assert!(bytes("a") == bytes("b"), "{file}");
    }

    // Evaluated on the run's own split, whatever the run's seed: 3 of 12 in each class.
    let evaluated = json(&noprop(root, &["eval", "--run", "a", "--json", "--seed", "3"]));
    assert_eq!(
        (&evaluated["accuracy"], &evaluated["total"]),
        (&result["test_accuracy"], &6.into())
    );
    json(&noprop(root, &["plot", "--run", "a", "--json"]));

    // Another seed holds other images out and measures other numbers; it is the same experiment all the same.
    let other = ["train", "--config", "a/config.toml", "--quiet", "--seed", "4", "--out", "c"];
    assert!(noprop(root, &other).status.success());
    let lines = json(&noprop(root, &["compare", "a", "c", "--json"]));
    assert_eq!(lines[0]["n"], 2, "{lines}");
    assert_eq!(
        lines[0]["images"],
        "normalised by channel, changed by rotate:5+flip+crop:2+cutout:4, padding 1"
    );

    // A picture is normalised with the run's numbers: with others the answer would be another.
    let predict = ["predict", "--run", "a", "--json", "pictures/light/5.png"];
    json(&noprop(root, &predict));
    let start = config.find("std = [").unwrap() + "std = [".len();
    let end = start + config[start..].find(',').unwrap();
    let other = format!("{}3.0{}", &config[..start], &config[end..]);
    fs::write(root.join("a/config.toml"), other).unwrap();
    refused(root, &predict, "trained with other images");
    let start = config.find("[images.normalization]").unwrap();
    fs::write(root.join("a/config.toml"), &config[..start]).unwrap();
    refused(root, &predict, "contradict each other");
}

/// The settings of a run without any of these flags are those of a program that did not have them.
#[test]
fn what_nobody_asked_for_is_left_out_of_the_config() {
    let dir = tempfile::tempdir().unwrap();
    two_classes(&dir.path().join("p"), 16);
    json(&noprop(dir.path(), &tiny(&["--dataset", "folder:p", "--out", "r"])));
    let config = fs::read_to_string(dir.path().join("r/config.toml")).unwrap();
    assert!(KEYS.iter().all(|key| !config.contains(key)), "{config}");
    assert!(!config.contains("normalization"), "{config}");
}

/// Of grey and colour, of 8 bits and 16: colour wins, and 16 bits become 8.
#[test]
fn depths_and_colours_mix() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("grey"), 16);
    write(&root.join("grey/train/light/deep.png"), &png(16, 16, Pixel::Grey16(50_000)));
    two_classes(&root.join("mixed"), 16);
    write(&root.join("mixed/train/light/deep.png"), &png(16, 16, Pixel::Rgb16([60_000, 9, 8])));
    // A file's name may be any bytes; a class's may not, as it is shown and stored as text.
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"mixed/test/dark/\xff.png");
        write(&root.join(name), &png(16, 16, Pixel::Rgb8([1, 2, 3])));
    }
    for (folder, channels) in [("grey", "channels = 1\n"), ("mixed", "channels = 3\n")] {
        let (dataset, run) = (format!("folder:{folder}"), format!("{folder}-run"));
        json(&noprop(
            root,
            &tiny(&["--dataset", &dataset, "--normalize", "channel", "--out", &run]),
        ));
        let config = fs::read_to_string(root.join(&run).join("config.toml")).unwrap();
        assert!(config.contains(channels), "{config}");
    }
}

/// One line with `words` in it, exit code 2, and nothing left behind.
fn refused<S: AsRef<OsStr> + std::fmt::Debug>(folder: &Path, args: &[S], words: &str) {
    let output = noprop(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(stderr.contains(words), "{args:?} should say {words}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{args:?}: {stderr}");
    assert!(!folder.join("runs").exists(), "{args:?} left a run behind");
}

#[test]
fn a_bad_folder_is_one_line_that_names_it() {
    type Spoil = fn(&Path);
    let cases: [(Spoil, &[&str], &str); 13] = [
        (
            |p| fs::remove_dir_all(p.join("train/dark")).unwrap(),
            &[],
            "p/train cannot be used: it needs one folder for each class, and at least two",
        ),
        (
            |p| fs::create_dir(p.join("train/none")).unwrap(),
            &[],
            "p/train/none cannot be used: class none has no pictures",
        ),
        (
            |p| write(&p.join("train/bad/x.png"), b"text"),
            &["--skip-bad"],
            "p/train/bad cannot be used: class bad has no pictures",
        ),
        (
            |p| fs::create_dir(p.join("test/new")).unwrap(),
            &[],
            "p/test/new cannot be used: there is no class of this name in train",
        ),
        (
            |p| write(&p.join("train/dark/x.png"), b"text"),
            &[],
            "p/train/dark/x.png as a picture: it is neither PNG nor JPEG",
        ),
        (
            |p| write(&p.join("train/dark/x.png"), &lie(0, 16)),
            &[],
            "p/train/dark/x.png as a picture",
        ),
        (
            |p| write(&p.join("train/dark/x.png"), &lie(50_000, 50_000)),
            &["--image-size", "16"],
            "50000 x 50000 pixels; make it smaller",
        ),
        (
            |p| write(&p.join("train/dark/x.png"), &lie(50_000, 1)),
            &[],
            "1 x 50000 pixels; make it smaller",
        ),
        (
            |p| write(&p.join("train/dark/x.png"), &png(20, 16, Pixel::Grey8(1))),
            &[],
            "use --image-size to scale the pictures to one size",
        ),
        (
            |p| write(&p.join("train/dark/0.png"), &png(2000, 16, Pixel::Grey8(1))),
            &[],
            "2000 x 16 pixels are too many to learn from; use --image-size",
        ),
        (|p| fs::remove_dir_all(p.join("test")).unwrap(), &[], "there is no folder test in it"),
        (|p| fs::remove_dir_all(p).unwrap(), &[], "there is no such folder"),
        (|_| (), &["--split", "0.5"], "leave out --split"),
    ];
    for (spoil, more, words) in cases {
        let dir = tempfile::tempdir().unwrap();
        let pictures = dir.path().join("p");
        two_classes(&pictures, 16);
        spoil(&pictures);
        let args = [&["train", "--dataset", "folder:p"][..], more].concat();
        refused(dir.path(), &args, words);
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        two_classes(&dir.path().join("p"), 16);
        fs::create_dir(dir.path().join(OsStr::from_bytes(b"p/train/\xff"))).unwrap();
        refused(dir.path(), &["train", "--dataset", "folder:p"], "its name is not UTF-8");
        let folder = OsStr::from_bytes(b"folder:\xff");
        refused(dir.path(), &[OsStr::new("train"), OsStr::new("--dataset"), folder], "UTF-8");
    }
}

#[test]
fn bad_settings_of_images_are_one_line() {
    let dir = tempfile::tempdir().unwrap();
    two_classes(&dir.path().join("p"), 16);
    two_classes(&dir.path().join("small"), 8);
    let idle = "network = \"resnet:4\"\ndropout = 0.2\n";
    std::fs::write(dir.path().join("dropout.toml"), idle).unwrap();
    let folder = ["train", "--dataset", "folder:p"];
    let sample = ["train", "--dataset", "mnist-sample"];
    let cases: [(&[&str], &[&str], &str); 21] = [
        (&folder, &["--image-size", "0"], "image-size must be between 16 and 1024 pixels, got 0"),
        (&folder, &["--image-size", "8"], "image-size must be between 16 and 1024 pixels, got 8"),
        (&sample, &["--image-size", "28"], "--image-size is for folder:PATH"),
        (
            &["train", "--dataset", "folder:small"],
            &["--batch-size", "2"],
            "image height must be between 16 and 1024, got 8",
        ),
        (&folder, &["--split", "0"], "split must be above 0 and below 1, got 0"),
        (&folder, &["--split", "NaN"], "split must be above 0 and below 1, got NaN"),
        (&["train", "--dataset", "folder:p/train"], &[], "--split 0.2"),
        (&sample, &["--split", "0.5"], "--split is for folder:PATH"),
        (&sample, &["--normalize", "image"], "[possible values: none, channel]"),
        (&sample, &["--padding", "2"], "padding must be 0 or 1, got 2"),
        (&sample, &["--augment", "rotate"], "augment must be none, or some of rotate:D, flip"),
        (&sample, &["--augment", "crop:2+shift:2"], "augment must be a shift or a crop, not both"),
        (&sample, &["--augment", "shift:14"], "a shift of at most 13 pixels for images of 28 x 28"),
        (
            &sample,
            &["--augment", "flip", "--encoder", "frozen"],
            "augment must be none where the encoder is frozen",
        ),
        (&sample, &["--network", "resnet:0"], "network must be paper; mlp:W,D"),
        (
            &sample,
            &["--network", "vit:32,1,5"],
            "patches that divide images of 28 × 28 pixels into at most 4096",
        ),
        (
            &sample,
            &["--network", "resnet:4", "--padding", "1"],
            "--padding is for the network paper",
        ),
        // A dropout that nothing drops would stand in the record of the run.
        (&sample, &["--config", "dropout.toml"], "--dropout is for the network paper"),
        (&sample, &["--ema", "1"], "ema must be at least 0 and below 1, got 1"),
        (&folder, &["--validation", "0"], "validation must be between 1 and 7, got 0"),
        (&folder, &["--validation", "8"], "validation must be between 1 and 7, got 8"),
    ];
    for (train, flags, words) in cases {
        refused(dir.path(), &[train, flags].concat(), words);
    }
}

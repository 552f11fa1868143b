//! A run knows its data: it names the first change, keeps its test pictures, and matches other folders by the names of classes.

use super::*;

/// A training of the folder `p` into `run`, with distinct pictures, and what it printed.
fn trained(root: &Path, run: &str, more: &[&str]) -> Output {
    let args = [&["--dataset", "folder:p", "--out", run][..], more].concat();
    let output = noprop(root, &tiny(&args));
    assert!(output.status.success(), "{output:?}");
    output
}

/// Stderr of a command that went well.
fn remarks(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn shade(level: u8) -> Vec<u8> {
    png(16, 16, Pixel::Grey8(level))
}

/// Each way in which a folder changes is refused where it must be, and named.
#[test]
fn a_changed_folder_is_refused_and_the_change_is_named() {
    type Change = fn(&Path);
    // The change, how a resume names it, and whether the test pictures are still the run's.
    let cases: [(Change, &str, bool); 8] = [
        (
            |p| fs::rename(p.join("train/dark/0.png"), p.join("test/dark/0.png")).unwrap(),
            "train/dark/0.png is now test/dark/0.png",
            false,
        ),
        (
            |p| fs::rename(p.join("train/dark/0.png"), p.join("train/light/x.png")).unwrap(),
            "train/dark/0.png is now train/light/x.png",
            true,
        ),
        (
            |p| fs::remove_file(p.join("train/dark/3.png")).unwrap(),
            "train/dark/3.png is gone",
            true,
        ),
        (|p| write(&p.join("train/dark/9.png"), &shade(99)), "train/dark/9.png is new", true),
        (|p| write(&p.join("test/dark/9.png"), &shade(99)), "test/dark/9.png is new", false),
        (
            |p| write(&p.join("train/dark/0.png"), &shade(98)),
            "train/dark/0.png has other content",
            true,
        ),
        (
            |p| write(&p.join("test/dark/t.png"), &shade(98)),
            "test/dark/t.png has other content",
            false,
        ),
        (
            |p| {
                fs::rename(p.join("train/dark"), p.join("train/night")).unwrap();
                fs::rename(p.join("test/dark"), p.join("test/night")).unwrap();
            },
            "train/dark/0.png is now train/night/0.png, the first of 5 changes",
            false,
        ),
    ];
    for (change, words, same_test) in cases {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        two_classes(&root.join("p"), 16);
        trained(root, "r", &[]);
        let before = json(&noprop(root, &["eval", "--run", "r", "--json"]));
        change(&root.join("p"));
        refused(root, &["train", "--resume", "r", "--quiet"], words);
        let eval = ["eval", "--run", "r", "--json"];
        if same_test {
            let after = noprop(root, &eval);
            let said = remarks(&after);
            assert!(said.contains("warning: training images") && said.contains(words), "{said}");
            assert_eq!(json(&after), before, "{words}");
        } else {
            refused(root, &eval, "the test images in");
            let figure = fs::read(root.join("r/figures/samples.png")).unwrap();
            refused(root, &["plot", "--run", "r"], "the test images in");
            assert!(fs::read(root.join("r/figures/samples.png")).unwrap() == figure);
        }
    }
}

/// A class folder that comes among the training pictures moves the numbers of the others, but not their names.
#[test]
fn a_class_that_comes_or_goes_does_not_move_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("p"), 16);
    let train = ["train", "--dataset", "folder:p", "--steps", "1", "--epochs", "30", "--quiet"];
    assert!(
        noprop(root, &[&train[..], &["--batch-size", "2", "--out", "r"]].concat()).status.success()
    );
    let before = json(&noprop(root, &["eval", "r", "--json"]));
    for number in 0..3 {
        write(&root.join(format!("p/train/a-new-one/{number}.png")), &shade(100 + number));
    }
    let after = noprop(root, &["eval", "r", "--json"]);
    assert!(remarks(&after).contains("train/a-new-one/0.png is new"), "{after:?}");
    assert_eq!(json(&after), before);
    // The training pictures saved in another way are still training pictures.
    for (class, level) in [("dark", 20), ("light", 200)] {
        let picture = png(16, 16, Pixel::Rgb8([level + 10; 3]));
        write(&root.join(format!("q/test/{class}/other.png")), &picture);
    }
    let leaked = noprop(root, &["eval", "r", "--dataset", "folder:q"]);
    assert!(remarks(&leaked).contains("2 of these 2 images are training images"), "{leaked:?}");
}

/// A run among the pictures would be read as a class of them.
#[test]
fn a_run_inside_its_pictures_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("p"), 16);
    for out in ["p/run", "p/train/dark/run", "./p/../p/x/y"] {
        refused(root, &["train", "--dataset", "folder:p", "--out", out], "would be inside p");
        assert!(!root.join(out).exists());
    }
}

/// A split that is drawn anew after a picture was deleted would test on pictures that were trained on.
#[test]
fn a_split_off_test_set_stays_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (class, first) in [("dark", 0), ("light", 130)] {
        for number in 0..12 {
            write(&root.join(format!("p/{class}/{number:02}.png")), &shade(first + 10 * number));
        }
    }
    trained(root, "r", &["--split", "0.25"]);
    let before = json(&noprop(root, &["eval", "--run", "r", "--json"]));
    let list = fs::read_to_string(root.join("r/test.sha256")).unwrap();
    let tested: Vec<&str> = list.lines().map(|line| &line[66..]).collect();
    assert_eq!(tested.len(), 6, "{list}");
    let learned = |class: &str| {
        let names = (0..12).map(|number| format!("{class}/{number:02}.png"));
        names.filter(|name| !tested.contains(&name.as_str())).collect::<Vec<_>>()
    };
    for class in ["dark", "light"] {
        fs::remove_file(root.join("p").join(&learned(class)[0])).unwrap();
    }
    write(&root.join("p/dark/99.png"), &shade(77));
    let after = noprop(root, &["eval", "--run", "r", "--json"]);
    assert!(remarks(&after).contains("training images"), "{after:?}");
    assert_eq!(json(&after), before);
    // Moved to another place, the same pictures are tested on, and no others.
    fs::rename(root.join("p"), root.join("q")).unwrap();
    let moved = noprop(root, &["eval", "--run", "r", "--json", "--dataset", "folder:q"]);
    assert_eq!(json(&moved), before, "{moved:?}");
    refused(root, &["train", "--resume", "r", "--dataset", "folder:q"], "is gone, the first of 3");
    fs::remove_file(root.join("q").join(tested[0])).unwrap();
    let eval = ["eval", "--run", "r", "--dataset", "folder:q", "--json"];
    // As a folder of its own it is tested on as a whole, with a warning.
    let said = remarks(&noprop(root, &eval));
    assert!(said.contains("are training images of the run"), "{said}");
}

/// Classes that are counted by their places in another folder give a plausible number that means nothing.
#[test]
fn classes_are_matched_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("p"), 16);
    trained(root, "r", &[]);
    // One class, and in colour: a network of one channel sees the same pictures whoever reads them.
    for number in 0..6 {
        let picture = png(16, 16, Pixel::Rgb8([5, 40 * number, 200]));
        write(&root.join(format!("other/test/light/{number}.png")), &picture);
    }
    let eval = ["eval", "--run", "r", "--json", "--dataset", "folder:other"];
    let evaluated = noprop(root, &eval);
    assert!(remarks(&evaluated).contains("no test images of dark"), "{evaluated:?}");
    let pictures: Vec<String> = (0..6).map(|n| format!("other/test/light/{n}.png")).collect();
    let predict: Vec<&str> = ["predict", "--run", "r", "--json"]
        .into_iter()
        .chain(pictures.iter().map(String::as_str))
        .collect();
    let predicted = noprop(root, &predict);
    let text = String::from_utf8_lossy(&predicted.stdout);
    let light = text.lines().filter(|line| line.contains("\"class\":\"light\"")).count();
    assert_eq!(json(&evaluated)["correct"], light, "{text}");
    assert_eq!(json(&evaluated)["total"], 6);

    fs::rename(root.join("other/test/light"), root.join("other/test/bright")).unwrap();
    refused(root, &eval, "the network knows no class of this name, only dark, light");
    refused(
        root,
        &["eval", "--run", "r", "--dataset", "mnist-sample"],
        "mnist-sample has images of 1 channel(s) and 28 x 28 pixels",
    );
}

/// A run goes on from any working folder, and where its pictures were moved to.
#[test]
fn pictures_are_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("p"), 16);
    trained(root, "r", &[]);
    let elsewhere = root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let before = json(&noprop(&elsewhere, &["eval", "--run", "../r", "--json"]));
    fs::rename(root.join("p"), root.join("moved")).unwrap();
    refused(root, &["train", "--resume", "r"], "there is no such folder");
    let resume = ["train", "--resume", "r", "--dataset", "folder:moved", "--quiet"];
    assert!(noprop(root, &resume).status.success());
    // The new place is remembered.
    assert_eq!(json(&noprop(&elsewhere, &["eval", "--run", "../r", "--json"])), before);
    refused(
        root,
        &["train", "--resume", "r", "--dataset", "mnist-sample"],
        "the data of this run are folder:p, which mnist-sample cannot be",
    );
}

/// An accuracy on pictures that were learned, and labels that contradict each other, are named in a warning.
#[test]
fn leaks_are_counted_and_stand_in_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("p"), 16);
    write(&root.join("p/test/dark/copy.png"), &png(16, 16, Pixel::Grey8(30)));
    write(&root.join("p/test/light/copy.png"), &png(16, 16, Pixel::Grey8(210)));
    write(&root.join("p/train/light/dark.png"), &png(16, 16, Pixel::Grey8(20)));
    let said = remarks(&trained(root, "r", &[]));
    let card = fs::read_to_string(root.join("r/README.md")).unwrap();
    for words in
        ["2 of 4 test images are also training images", "1 image(s) are there under more than one"]
    {
        assert!(said.contains(&format!("warning: {words}")), "{said}");
        assert!(card.contains(&format!("| warning | {words}")), "{card}");
    }
    two_classes(&root.join("clean"), 16);
    let clean = noprop(root, &tiny(&["--dataset", "folder:clean", "--out", "c"]));
    assert!(!remarks(&clean).contains("warning"), "{clean:?}");
    assert!(!fs::read_to_string(root.join("c/README.md")).unwrap().contains("warning"));
}

/// Held-out pictures of a folder's own choose the epoch, and none is taken from the others for it.
#[test]
fn a_folder_of_held_out_pictures_is_used() {
    for name in ["val", "valid", "validation"] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        two_classes(&root.join("p"), 16);
        for (class, level) in [("dark", 3), ("light", 250)] {
            for number in 0..3 {
                let file = root.join(format!("p/{name}/{class}/{number}.png"));
                write(&file, &shade(level + number));
            }
        }
        trained(root, "r", &[]);
        let config = fs::read_to_string(root.join("r/config.toml")).unwrap();
        assert!(config.contains("validation = 6\n"), "{config}");
        let lines = |half: &str| {
            fs::read_to_string(root.join(format!("r/{half}.sha256"))).unwrap().lines().count()
        };
        assert_eq!((lines("train"), lines("validation"), lines("test")), (8, 6, 2));
        let again = ["train", "--config", "r/config.toml", "--quiet", "--out", "again"];
        assert!(noprop(root, &again).status.success());
        let asked = ["train", "--dataset", "folder:p", "--validation", "2"];
        refused(root, &asked, "the data bring 6 held-out images of their own");
        write(&root.join("p/val2/x.png"), b"");
        let other = if name == "val" { "valid" } else { "val" };
        write(&root.join(format!("p/{other}/dark/0.png")), &shade(9));
        refused(root, &["train", "--dataset", "folder:p"], "several folders of held-out pictures");
    }
}

/// Files that are not read are named, unless they are hidden.
#[test]
fn nothing_is_passed_over_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let p = root.join("p");
    two_classes(&p, 16);
    for file in [
        "train/dark/Thumbs.db",
        "train/dark/desktop.ini",
        "train/__MACOSX/dark/._0.png",
        "train/dark/.hidden",
        "train/dark/from-camera/1.png",
        "train/dark/from-camera/2.png",
        "train/loose.png",
        "train/README.txt",
        "extra/1.png",
        "root.png",
        "__MACOSX/x",
    ] {
        write(&p.join(file), b"x");
    }
    let said = remarks(&trained(root, "r", &[]));
    for words in [
        "p/train/__MACOSX, p/train/dark/Thumbs.db, p/train/dark/desktop.ini",
        "not read: the folder p/train/dark/from-camera inside a class, with 2 file(s)",
        "outside of every class: p/train/loose.png",
        "outside of every class: p/root.png",
        "p/__MACOSX",
        "neither train, test nor val: p/extra",
    ] {
        assert!(said.contains(words), "{words} is missing in {said}");
    }
    assert!(!said.contains("hidden") && !said.contains("README"), "{said}");
    for file in ["0.png", "1.png", "2.png", "3.png"] {
        fs::remove_file(p.join("train/light").join(file)).unwrap();
    }
    write(&p.join("train/light/x/1.png"), &shade(3));
    let train = ["train", "--dataset", "folder:p", "--out", "s"];
    refused(root, &train, "class light has no pictures but in folders inside it");
}

/// A run that is repeated from its settings on other data is not repeated.
#[test]
fn settings_are_not_repeated_on_other_data_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("p"), 16);
    trained(root, "r", &[]);
    let again = |out| ["train", "--config", "r/config.toml", "--quiet", "--out", out];
    assert!(!remarks(&noprop(root, &again("same"))).contains("does not repeat"));
    write(&root.join("p/train/dark/9.png"), &shade(99));
    assert!(remarks(&noprop(root, &again("other"))).contains("does not repeat that run"));
}

/// The error of a folder that is nearly right names what to do.
#[test]
fn a_folder_that_is_nearly_right_is_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    two_classes(&root.join("a/inner"), 16);
    refused(root, &["train", "--dataset", "folder:a"], "a/inner is such a folder");
    two_classes(&root.join("b"), 16);
    fs::rename(root.join("b/test"), root.join("b/Test")).unwrap();
    refused(root, &["train", "--dataset", "folder:b"], "b/Test must be named test");
    fs::rename(root.join("b/Test"), root.join("b/val")).unwrap();
    refused(root, &["train", "--dataset", "folder:b"], "name it test to test on it");
    // One name, composed in one half and decomposed in the other, as macOS and Linux write it.
    two_classes(&root.join("c"), 16);
    fs::rename(root.join("c/train/dark"), root.join("c/train/caf\u{e9}")).unwrap();
    fs::rename(root.join("c/test/dark"), root.join("c/test/cafe\u{301}")).unwrap();
    json(&noprop(root, &tiny(&["--dataset", "folder:c", "--out", "c-run"])));
}

/// A network of ten digits becomes one of two classes of other pictures: its image branch stays, its head begins anew.
#[test]
fn weights_go_over_to_other_classes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let first = ["train", "--dataset", "mnist-sample", "--steps", "2", "--epochs", "1", "--quiet"];
    assert!(noprop(root, &[&first[..], &["--out", "digits"]].concat()).status.success());
    // Of another size and in colour: they become what the network takes.
    for (class, level) in [("dark", 20), ("light", 180)] {
        for number in 0..4 {
            let picture = png(20, 20, Pixel::Rgb8([level, level + 9 * number, 7]));
            write(&root.join(format!("p/train/{class}/{number}.png")), &picture);
        }
        let picture = png(20, 20, Pixel::Rgb8([level, 1, 1]));
        write(&root.join(format!("p/test/{class}/t.png")), &picture);
    }
    let args = ["train", "--init", "digits", "--dataset", "folder:p", "--epochs", "1", "--quiet"];
    let said = remarks(&noprop(root, &[&args[..], &["--out", "r"]].concat()));
    assert!(said.contains("tensors taken") && said.contains("begin anew"), "{said}");
    let config = fs::read_to_string(root.join("r/config.toml")).unwrap();
    assert!(config.contains("height = 28\n") && config.contains("channels = 1\n"), "{config}");
    assert!(config.contains("steps = 2\n"), "the network's settings are the other run's: {config}");
    json(&noprop(root, &["eval", "--run", "r", "--json"]));
}

/// A page that was scanned as it is, for a network that learned the opposite, is answered at random.
#[test]
fn ink_of_the_other_kind_is_remarked_upon() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (class, ink) in [("faint", 90), ("strong", 250)] {
        for number in 0..6 {
            let half = if number < 4 { "train" } else { "test" };
            let file = root.join(format!("p/{half}/{class}/{number}.png"));
            write(&file, &spot(0, ink - number));
        }
    }
    trained(root, "r", &[]);
    write(&root.join("paper.png"), &spot(255, 10));
    write(&root.join("slate.png"), &spot(3, 240));
    let said = |more: &[&str]| remarks(&noprop(root, &[&["predict", "r"][..], more].concat()));
    let warning = said(&["paper.png"]);
    assert!(warning.contains("paper.png: this looks like dark ink on a light ground"), "{warning}");
    assert!(warning.contains("try --invert"), "{warning}");
    assert_eq!(said(&["slate.png"]), "");
    assert_eq!(said(&["--invert", "paper.png"]), "");
    assert!(said(&["--invert", "slate.png"]).contains("leave --invert out"));
}

//! The tutorial, run from its first command to its last.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::png::spot;

/// In a test the program is built already, and `cargo run` would build it again.
const PRELUDE: &str = r#"set -eu
cargo() { while [ "$1" != -- ]; do shift; done; shift; noprop "$@"; }
"#;

/// The commands of a page: its blocks of `sh`, in their order.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1);
    blocks.filter_map(|block| block.split_once("```")).map(|(commands, _)| commands).collect()
}

/// A reader types these commands one after another. One that fails, or needs what another has not made, ends their first hour.
#[test]
fn every_command_of_the_tutorial_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let page = fs::read_to_string(root.join("docs/tutorial.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // The pictures that the reader brings: a class has dark spots, the other bright ones.
    for (class, ink) in [("circle", 60), ("square", 200)] {
        let folder = dir.path().join("photos").join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..20 {
            fs::write(folder.join(format!("{number}.png")), spot(number, ink + number)).unwrap();
        }
    }
    let program = Path::new(env!("CARGO_BIN_EXE_noprop")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let found = commands(&page);
    assert!(found.len() > 8, "the page has lost its commands: {found:?}");
    for block in found {
        let output = Command::new("bash")
            .args(["-c", &format!("{PRELUDE}{block}")])
            .current_dir(dir.path())
            .env("PATH", &path)
            .env_remove("NOPROP_DATA_DIR")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}{said}");
        assert!(!said.contains("error:"), "{block}{said}");
    }
    for made in ["runs/first/figures/denoising.png", "talk.svg", "digits.onnx", "digits/README.md"]
    {
        assert!(dir.path().join(made).is_file(), "{made} is not there");
    }
}

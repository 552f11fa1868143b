//! Inputs that fuzzing kept: they reach every part of the readers, and some of them once broke one.

use std::fs;
use std::path::Path;

/// The readers, which the fuzz targets share.
#[expect(clippy::expect_used, reason = "fuzz targets end by a panic")]
#[path = "../../../fuzz/src/lib.rs"]
mod readers;

/// Protects against a panic, endless work and a huge allocation, for every reader.
#[test]
fn readers_take_any_bytes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, reader) in readers::READERS {
        let inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().flatten().collect();
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            let bytes = fs::read(input.path()).unwrap();
            let read = std::panic::catch_unwind(|| reader(&bytes));
            assert!(read.is_ok(), "{}", input.path().display());
        }
    }
}

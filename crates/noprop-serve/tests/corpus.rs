//! Inputs that fuzzing kept: they reach every part of the readers, and some of them once broke one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The readers, which the fuzz targets share.
#[expect(clippy::expect_used, reason = "fuzz targets end by a panic")]
#[path = "../../../fuzz/src/lib.rs"]
mod readers;

/// Calls every reader with each of its inputs, and `check` with the name of an input and whether the reader returned.
fn read_all(mut check: impl FnMut(&str, &Path, bool)) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, reader) in readers::READERS {
        for input in fs::read_dir(corpus.join(name)).unwrap().flatten() {
            let bytes = fs::read(input.path()).unwrap();
            let read = std::panic::catch_unwind(|| reader(&bytes));
            check(name, &input.path(), read.is_ok());
        }
    }
}

/// Protects against a panic, endless work and a huge allocation, for every reader.
#[test]
fn readers_take_any_bytes() {
    read_all(|_, input, returned| assert!(returned, "{}", input.display()));
}

/// Inputs that a reader refuses in its first line would show nothing. Every reader accepts some of its inputs, and a panic behind that is
/// noticed.
#[test]
fn a_planted_panic_is_noticed_in_every_reader() {
    readers::PLANTED.set(true);
    let mut noticed = BTreeSet::new();
    read_all(|name, _, returned| {
        if !returned {
            noticed.insert(name.to_owned());
        }
    });
    let all = readers::READERS.map(|(name, _)| name.to_owned());
    assert_eq!(noticed, BTreeSet::from(all));
}

//! Event files from the outside: what is kept when a training goes on, and what happens where nothing can be written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use noprop_experiment::{Length, Progress, Remark, Silent};
use noprop_tensorboard::{Board, EventFile, Wanted};
use noprop_train::{EpochReport, Observer};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03";

fn tag(name: &str) -> [(String, f64); 1] {
    [(name.to_owned(), 0.5)]
}

fn bytes(folder: &Path) -> Vec<u8> {
    let files = EventFile::all_in(folder).unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::read(&files[0]).unwrap()
}

fn holds(folder: &Path, name: &str) -> bool {
    bytes(folder).windows(name.len()).any(|window| window == name.as_bytes())
}

/// A point after the step at which a training goes on is made again: kept, it would be there twice.
#[test]
fn events_after_the_step_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = EventFile::from_step(dir.path(), 0, &[]).unwrap();
    events.scalars(3, tag("early")).unwrap();
    events.image(3, "picture", PNG.to_vec()).unwrap();
    events.scalars(3, tag("end/all")).unwrap();
    events.scalars(4, tag("late")).unwrap();
    drop(events);
    let mut events = EventFile::from_step(dir.path(), 3, &["end"]).unwrap();
    assert!(
        holds(dir.path(), "early") && holds(dir.path(), "picture") && !holds(dir.path(), "late")
    );
    events.scalars(4, tag("again")).unwrap();
    assert!(holds(dir.path(), "again"));
    drop(EventFile::from_step(dir.path(), 0, &[]).unwrap());
    assert!(!holds(dir.path(), "early"));
}

/// A kill may cut the last event short, and a file may be anything.
#[test]
fn a_damaged_file_ends_at_its_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = EventFile::from_step(dir.path(), 0, &[]).unwrap();
    events.scalars(1, tag("whole")).unwrap();
    events.scalars(2, tag("cut")).unwrap();
    drop(events);
    let path = EventFile::all_in(dir.path()).unwrap().remove(0);
    let written = std::fs::read(&path).unwrap();
    std::fs::write(&path, &written[..written.len() - 1]).unwrap();
    let foreign = dir.path().join("events.out.tfevents.9.other");
    std::fs::write(&foreign, [0xff; 4096]).unwrap();
    // What another kill left: an older file, and a newer one that was not whole.
    std::fs::write(dir.path().join("events.out.tfevents.0000000001.noprop.0"), &written).unwrap();
    std::fs::write(dir.path().join(".unfinished-events"), &written).unwrap();
    drop(EventFile::from_step(dir.path(), 9, &[]).unwrap());
    assert!(holds(dir.path(), "whole") && !holds(dir.path(), "cut"));
    assert!(foreign.exists(), "a file of another program is gone");
    assert!(!dir.path().join(".unfinished-events").exists());
}

/// A pipe with the name of an event file would be waited for. A device stands for it: neither is a file.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("events.out.tfevents.1.noprop.0");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let error = EventFile::from_step(dir.path(), 3, &[]).unwrap_err();
    assert_eq!(error.path, link);
    assert!(link.is_symlink() && !dir.path().join(".unfinished-events").exists());
}

#[test]
fn a_picture_is_a_png() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = EventFile::from_step(dir.path(), 0, &[]).unwrap();
    for wrong in [&b"GIF89a"[..], &PNG[..20], b""] {
        assert!(events.image(0, "picture", wrong.to_vec()).is_err());
    }
}

/// A training that is made longer has other settings than it had.
#[test]
fn settings_are_those_with_which_a_training_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for (epochs, done) in [(3, 0), (4, 9)] {
        std::fs::write(dir.path().join("config.toml"), format!("epochs = {epochs}\n")).unwrap();
        let mut board = Board::new(Silent, Wanted::Always);
        board.begin(dir.path(), Length { epochs, steps_per_epoch: 3, done });
    }
    assert!(holds(dir.path(), "epochs = 4") && !holds(dir.path(), "epochs = 3"));
}

/// Steps may be reported in bursts, whose times say nothing of the speed.
#[test]
fn the_speed_is_that_of_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.toml"), "").unwrap();
    let mut board = Board::new(Silent, Wanted::Always);
    board.begin(dir.path(), Length { epochs: 1, steps_per_epoch: 1, done: 0 });
    board.step(&[]);
    assert!(!holds(dir.path(), "images_per_second"));
    board.epoch(&EpochReport {
        epoch: 1,
        losses: Vec::new(),
        validation: None,
        images_per_second: 1234.5,
        seconds: 1.0,
    });
    assert!(holds(dir.path(), "images_per_second"));
    let speed = 1234.5_f32.to_le_bytes();
    assert!(bytes(dir.path()).windows(speed.len()).any(|window| window == speed));
}

/// What a progress was told.
#[derive(Default)]
struct Told(Vec<String>);

impl Observer for &mut Told {}

impl Progress for &mut Told {
    fn remark(&mut self, remark: Remark) {
        self.0.push(remark.to_string());
    }
}

/// Where no events can be written, the training must go on, and its user must know.
#[test]
fn a_fault_is_told_once_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let length = Length { epochs: 1, steps_per_epoch: 1, done: 0 };
    let mut told = Told::default();
    let mut board = Board::new(&mut told, Wanted::Always);
    board.begin(&dir.path().join("nowhere"), length);
    board.step(&[]);
    board.end();
    assert!(matches!(&told.0[..], [one] if one.contains("nowhere")), "{:?}", told.0);
    // Nothing is wanted where there is nothing yet.
    let mut told = Told::default();
    let mut board = Board::new(&mut told, Wanted::IfThere);
    board.begin(dir.path(), length);
    board.step(&[]);
    assert!(told.0.is_empty() && EventFile::all_in(dir.path()).unwrap().is_empty());
}

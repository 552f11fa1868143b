//! `metrics.jsonl`: the events of a run, one per line. Times are in seconds and sizes in bytes.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use noprop_files::read_text;
use serde::{Deserialize, Serialize};

use crate::{Hardware, Loss, TrainError};

/// The most bytes that are read of a metrics file. A million epochs of forty blocks take less.
const MAX_BYTES: u64 = 4 << 30;

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Training began or resumed.
    Start {
        /// The version of noprop.
        version: String,
        /// The hardware that it runs on.
        hardware: Hardware,
        /// The number of epochs already done.
        epoch: u32,
        /// The number of steps already done in the current epoch.
        step: u32,
        /// The number of epochs of the whole training. The first versions did not record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epochs: Option<u32>,
        /// The rate of the averages of the weights, if these and not the weights themselves were validated and kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ema: Option<f64>,
        /// Seconds since 1970-01-01 UTC.
        unix_time: u64,
    },
    /// An epoch has ended.
    Epoch {
        /// The epoch, counted from 1.
        epoch: u32,
        /// The training time of this epoch, without validation.
        seconds: f64,
        /// The training time since the beginning, with validation, without the time between a stop and a resume.
        total_seconds: f64,
        /// The number of training images per second.
        images_per_second: f64,
        /// The learning rate of the epoch's last step.
        lr: f64,
        /// The mean losses by block, then that of the readout.
        losses: Vec<Loss>,
        /// The accuracy on the held-out training images, 0..=1.
        validation_accuracy: f64,
        /// The accuracy on the held-out training images after each block, 0..=1.
        validation_per_block: Vec<f64>,
        /// The best epoch so far, by validation accuracy.
        best_epoch: u32,
    },
    /// Training was stopped before its end, on request.
    Stop {
        /// The number of epochs done.
        epoch: u32,
        /// The number of steps done in the current epoch.
        step: u32,
    },
    /// From here on some blocks make no turn, and all others do: until the next such event, or until the training goes on after a stop.
    Pause {
        /// The number of epochs done.
        epoch: u32,
        /// The number of steps done in the current epoch.
        step: u32,
        /// The blocks that are paused, counted from 1; none if all go on.
        blocks: Vec<usize>,
    },
    /// The test set was read, once, with the weights of the best epoch.
    Test {
        /// The epoch of the weights.
        best_epoch: u32,
        /// The sampler.
        sampler: String,
        /// The accuracy, 0..=1.
        accuracy: f64,
        /// The number of images classified correctly.
        correct: u64,
        /// The number of images classified.
        total: u64,
        /// The accuracy after each block, 0..=1.
        per_block: Vec<f64>,
        /// The share of the training images that the same weights classify correctly, 0..=1, with the number of solver steps
        /// that chose the epoch. The first versions did not record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        training_accuracy: Option<f64>,
        /// The time of the classification of the test and training images, in seconds. It is not part of the training time. The
        /// first versions did not record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        classification_seconds: Option<f64>,
        /// The training time, as in the last epoch's `total_seconds`.
        seconds: f64,
        /// The peak resident memory; `None` if the system does not report it.
        peak_memory_bytes: Option<u64>,
        /// The peak memory of tensors on the GPU; `None` without a GPU that reports it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_device_bytes: Option<u64>,
    },
}

impl Event {
    /// Returns the test at the end of a training: its last event of this kind, unless the training went on after it, or is meant to go on
    /// to more epochs.
    pub fn final_test(events: &[Self]) -> Option<&Self> {
        let (mut test, mut goal, mut done) = (None, None, 0);
        for event in events {
            match event {
                Self::Start { epochs: Some(epochs), .. } => {
                    if *epochs > goal.replace(*epochs).unwrap_or(done) {
                        test = None;
                    }
                }
                Self::Epoch { epoch, .. } => (test, done) = (None, *epoch),
                Self::Test { .. } => test = Some(event),
                Self::Start { .. } | Self::Stop { .. } | Self::Pause { .. } => {}
            }
        }
        test
    }
}

/// The log of one run.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log and keeps its first `keep` bytes. The events after the saved state are cut off, because a resume repeats
    /// them.
    ///
    /// # Errors
    /// [`TrainError::File`], also if there is something else than a file, such as a link to one.
    pub fn open(path: &Path, keep: u64) -> Result<Self, TrainError> {
        // The log of a stranger's run must not cut a file of somebody else.
        if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
            let reason = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file");
            return Err(TrainError::writing(path)(reason));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(TrainError::writing(path))?;
        let length = file.metadata().map_err(TrainError::reading(path))?.len();
        file.set_len(keep.min(length))
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(TrainError::writing(path))?;
        Ok(Self { path: path.into(), file })
    }

    /// Appends one event and returns the log's new length in bytes.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn append(&mut self, event: &Event) -> Result<u64, TrainError> {
        let writing = || TrainError::writing(&self.path);
        let mut line = serde_json::to_vec(event).map_err(|error| writing()(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(writing())?;
        self.file.stream_position().map_err(writing())
    }

    /// Reads all events of a log. A last line that a kill cut short is left out.
    ///
    /// # Errors
    /// [`TrainError::File`] if the file cannot be read or a line is not an event.
    pub fn read(path: &Path) -> Result<Vec<Event>, TrainError> {
        let text = read_text(path, MAX_BYTES).map_err(TrainError::reading(path))?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .enumerate()
            .map(|(number, line)| {
                let event = serde_json::from_str(line).map_err(|error| error.to_string());
                event.and_then(Self::checked).map_err(|error| {
                    let reason = format!("line {} is not an event: {error}", number + 1);
                    TrainError::reading(path)(std::io::Error::other(reason))
                })
            })
            .collect()
    }

    /// The event, unless it has an accuracy that is impossible or differs from its counts.
    fn checked(event: Event) -> Result<Event, String> {
        let share = |value: &f64| (0.0..=1.0).contains(value);
        let is_possible = match &event {
            Event::Epoch { validation_accuracy, validation_per_block, .. } => {
                share(validation_accuracy) && validation_per_block.iter().all(share)
            }
            Event::Test { accuracy, correct, total, per_block, training_accuracy, .. } => {
                let counted = *correct as f64 / (*total).max(1) as f64;
                share(accuracy)
                    && (accuracy - counted).abs() < 1e-6
                    && per_block.iter().chain(training_accuracy).all(share)
            }
            Event::Start { .. } | Event::Stop { .. } | Event::Pause { .. } => true,
        };
        match is_possible {
            true => Ok(event),
            false => Err("its accuracies are impossible, or differ from its counts".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_whole_events_and_forgets_what_happens_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let stop = |step| Event::Stop { epoch: 1, step };
        let mut log = MetricsLog::open(&path, 0).unwrap();
        let kept = log.append(&stop(1)).unwrap();
        log.append(&stop(2)).unwrap();
        drop(log);
        let mut log = MetricsLog::open(&path, kept).unwrap();
        log.append(&stop(3)).unwrap();
        log.file.write_all(b"{\"event\":\"sto").unwrap();
        assert_eq!(MetricsLog::read(&path).unwrap(), [stop(1), stop(3)]);
        std::fs::write(&path, "not json\n").unwrap();
        assert!(MetricsLog::read(&path).is_err());
    }

    /// A share that was changed by hand must not be shown as a result.
    #[test]
    fn an_accuracy_agrees_with_its_counts() {
        let read = |accuracy: &str, per_block: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("metrics.jsonl");
            let line = format!(
                r#"{{"event":"test","best_epoch":3,"sampler":"mean","accuracy":{accuracy},"correct":745,"total":1000,"per_block":[{per_block}],"seconds":9.5,"peak_memory_bytes":7}}"#
            );
            std::fs::write(&path, line + "\n").unwrap();
            MetricsLog::read(&path)
        };
        assert!(read("0.745", "0.745").is_ok());
        for (accuracy, per_block) in [("0.999", "0.5"), ("7.45", "0.5"), ("0.745", "-0.1")] {
            let error = read(accuracy, per_block).unwrap_err().to_string();
            assert!(error.contains("line 1") && error.contains("accuracies"), "{error}");
        }
    }

    /// A log of an older version, without a training accuracy, must still be read, and writing its event again gives the same
    /// bytes.
    #[test]
    fn reads_a_test_without_a_training_accuracy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let old = concat!(
            r#"{"event":"test","best_epoch":3,"sampler":"mean","accuracy":0.5,"correct":1,"total":2,"per_block":[0.5],"#,
            r#""seconds":9.5,"peak_memory_bytes":7}"#,
            "\n"
        );
        std::fs::write(&path, old).unwrap();
        let events = MetricsLog::read(&path).unwrap();
        assert!(matches!(events[..], [Event::Test { training_accuracy: None, .. }]), "{events:?}");
        MetricsLog::open(&path, 0).unwrap().append(&events[0]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), old);
    }
}

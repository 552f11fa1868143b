//! `metrics.jsonl`: what happened in a run, one event a line, times in seconds and sizes in bytes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Hardware, Loss, TrainError};

/// Larger metrics files are not read: a million epochs of forty blocks take less.
const MAX_BYTES: u64 = 4 << 30;

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Training began or went on.
    Start {
        /// Version of noprop.
        version: String,
        /// What it runs on.
        hardware: Hardware,
        /// Epochs already done.
        epoch: u32,
        /// Steps of the current epoch already done.
        step: u32,
        /// Epochs of the whole training; the first versions did not record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epochs: Option<u32>,
        /// Seconds since 1970-01-01 UTC.
        unix_time: u64,
    },
    /// An epoch is over.
    Epoch {
        /// Counted from 1.
        epoch: u32,
        /// Training time of this epoch, validation left out.
        seconds: f64,
        /// Training time since the beginning, validation included, stops left out.
        total_seconds: f64,
        /// Training images a second.
        images_per_second: f64,
        /// The learning rate of its last step.
        lr: f64,
        /// By block, then the readout.
        losses: Vec<Loss>,
        /// On the held-out training images.
        validation_accuracy: f64,
        /// The same after each block.
        validation_per_block: Vec<f64>,
        /// The best epoch so far, by validation accuracy.
        best_epoch: u32,
    },
    /// Training was asked to stop before its end.
    Stop {
        /// Epochs done.
        epoch: u32,
        /// Steps of the current epoch done.
        step: u32,
    },
    /// The test set was read, once, with the weights of the best epoch.
    Test {
        /// Which epoch's weights.
        best_epoch: u32,
        /// Which sampler.
        sampler: String,
        /// 0..=1.
        accuracy: f64,
        /// Images classified correctly.
        correct: u64,
        /// Images classified.
        total: u64,
        /// The same after each block.
        per_block: Vec<f64>,
        /// The share of the images trained on that the same weights classify correctly, with the steps of a solver that choose the epoch; the first versions did not
        /// record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        training_accuracy: Option<f64>,
        /// Seconds that the classification of both took, which are no training time; the first versions did not record them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        classification_seconds: Option<f64>,
        /// Training time, as in the last epoch's `total_seconds`.
        seconds: f64,
        /// Most memory resident, where the system tells.
        peak_memory_bytes: Option<u64>,
        /// Most memory of a GPU in tensors, if training was on one that tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_device_bytes: Option<u64>,
    },
}

/// The log of one run.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log and keeps its first `keep` bytes: what came after the saved state happens again.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn open(path: &Path, keep: u64) -> Result<Self, TrainError> {
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

    /// Every event of a log; a last line that a kill cut short is left out.
    ///
    /// # Errors
    /// [`TrainError::File`] if it cannot be read or a line is no event.
    pub fn read(path: &Path) -> Result<Vec<Event>, TrainError> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
            .map_err(TrainError::reading(path))?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .enumerate()
            .map(|(number, line)| {
                serde_json::from_str(line).map_err(|error| {
                    let reason = format!("line {} is no event: {error}", number + 1);
                    TrainError::reading(path)(std::io::Error::other(reason))
                })
            })
            .collect()
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

    /// Runs outlive versions: a log from before there was a training accuracy is read, and stays as it was when it is written again.
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

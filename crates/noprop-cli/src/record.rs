//! What a finished run recorded of itself.

use std::path::Path;

use anyhow::Result;
use noprop_train::{Event, Hardware, MetricsLog, RunDirectory};

/// The record of a training that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// On the test images, with the mean sampler: 0..=1.
    pub accuracy: f64,
    /// Training time.
    pub seconds: f64,
    /// The most memory that its process had resident, in bytes, where the system tells and if that process trained.
    pub peak: Option<u64>,
    /// Seconds of training, and validation accuracy, after each epoch.
    pub course: Vec<(f64, f64)>,
    /// What the last process of the training ran on.
    pub hardware: Option<Hardware>,
}

impl Record {
    /// Of the run in `path`; none if it has not come to its end.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let log = RunDirectory::open(path)?.metrics();
        // A run that was killed before its first step has no log.
        if !log.exists() {
            return Ok(None);
        }
        Ok(Self::of(&MetricsLog::read(&log)?))
    }

    fn of(events: &[Event]) -> Option<Self> {
        let (mut tested, mut course, mut began) = (None, Vec::new(), None);
        for event in events {
            match event {
                Event::Start { epoch, hardware, .. } => began = Some((*epoch, hardware)),
                Event::Epoch { total_seconds, validation_accuracy, .. } => {
                    course.push((*total_seconds, *validation_accuracy));
                }
                Event::Test { accuracy, seconds, peak_memory_bytes, .. } => {
                    tested = Some((*accuracy, *seconds, *peak_memory_bytes));
                }
                Event::Stop { .. } => {}
            }
        }
        let (accuracy, seconds, peak) = tested?;
        // The process that made the test may have been started when all epochs were done.
        let trained = began.is_some_and(|(epoch, _)| (epoch as usize) < course.len());
        let hardware = began.map(|(_, hardware)| hardware.clone());
        Some(Self { accuracy, seconds, peak: peak.filter(|_| trained), course, hardware })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that a process finished without training has no peak of training, and one without a test is not finished.
    #[test]
    fn a_peak_belongs_to_a_process_that_trained() {
        let start = |epoch| Event::Start {
            version: String::new(),
            hardware: Hardware { processor: "p".into(), threads: 2, system: "s".into() },
            epoch,
            step: 0,
            unix_time: 0,
        };
        let epoch = |epoch| Event::Epoch {
            epoch,
            seconds: 1.0,
            total_seconds: f64::from(epoch),
            images_per_second: 1.0,
            lr: 1.0,
            losses: Vec::new(),
            validation_accuracy: 0.5,
            validation_per_block: Vec::new(),
            best_epoch: 1,
        };
        let test = || Event::Test {
            best_epoch: 1,
            sampler: "mean".into(),
            accuracy: 0.25,
            correct: 1,
            total: 4,
            per_block: Vec::new(),
            seconds: 2.0,
            peak_memory_bytes: Some(7),
        };
        assert_eq!(Record::of(&[start(0), epoch(1), epoch(2)]), None);
        let whole = Record::of(&[start(0), epoch(1), start(1), epoch(2), test()]).unwrap();
        assert_eq!((whole.peak, whole.course.as_slice()), (Some(7), &[(1.0, 0.5), (2.0, 0.5)][..]));
        let ended = Record::of(&[start(0), epoch(1), epoch(2), start(2), test()]).unwrap();
        assert_eq!((ended.peak, ended.accuracy), (None, 0.25));
    }
}

//! The record of a finished run.

use std::path::Path;

use noprop_train::{Event, Hardware, RunDirectory};

use crate::error::Result;
use crate::history::History;

/// The record of a training that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// On the test images, with the mean sampler: 0..=1.
    pub accuracy: f64,
    /// The same on the images trained on; the first versions did not record it.
    pub training_accuracy: Option<f64>,
    /// Training time.
    pub seconds: f64,
    /// The time that classification at the end took, in seconds; 0 where it was not recorded.
    pub end: f64,
    /// The most memory that its process had resident, in bytes, if the system reports it and that process trained.
    pub peak: Option<u64>,
    /// The state after each epoch.
    pub course: Vec<Mark>,
    /// The machine of the last process of the training.
    pub hardware: Option<Hardware>,
    /// The history: a training that went on after its end differs from one of as many epochs.
    pub history: History,
}

/// The state of a training after an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// Seconds since the beginning, stops left out.
    pub seconds: f64,
    /// The same without validation.
    pub training_seconds: f64,
    /// 0..=1.
    pub validation_accuracy: f64,
}

impl Record {
    /// The record of the run in `path`; `None` if it has not come to its end.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Ok(Self::of(&RunDirectory::open(path)?.events()?))
    }

    fn of(events: &[Event]) -> Option<Self> {
        let Some(Event::Test {
            accuracy,
            training_accuracy,
            classification_seconds,
            seconds,
            peak_memory_bytes,
            ..
        }) = Event::final_test(events)
        else {
            return None;
        };
        let (mut course, mut began, mut training_seconds) = (Vec::new(), None, 0.0);
        for event in events {
            match event {
                Event::Start { epoch, hardware, .. } => began = Some((*epoch, hardware)),
                Event::Epoch { seconds, total_seconds, validation_accuracy, .. } => {
                    training_seconds += seconds;
                    course.push(Mark {
                        seconds: *total_seconds,
                        training_seconds,
                        validation_accuracy: *validation_accuracy,
                    });
                }
                Event::Test { .. } | Event::Stop { .. } | Event::Pause { .. } => {}
            }
        }
        // The process that made the test may have been started when all epochs were done.
        let trained = began.is_some_and(|(epoch, _)| (epoch as usize) < course.len());
        let hardware = began.map(|(_, hardware)| hardware.clone());
        Some(Self {
            accuracy: *accuracy,
            training_accuracy: *training_accuracy,
            seconds: *seconds,
            end: classification_seconds.unwrap_or_default(),
            peak: peak_memory_bytes.filter(|_| trained),
            course,
            hardware,
            history: History::of(events),
        })
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
            hardware: Hardware { processor: "p".into(), threads: 2, system: "s".into(), gpu: None },
            epoch,
            step: 0,
            epochs: None,
            ema: None,
            unix_time: 0,
        };
        let epoch = |epoch| Event::Epoch {
            epoch,
            seconds: 1.0,
            total_seconds: 3.0 * f64::from(epoch),
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
            training_accuracy: Some(0.75),
            classification_seconds: None,
            seconds: 2.0,
            peak_memory_bytes: Some(7),
            peak_device_bytes: None,
        };
        assert_eq!(Record::of(&[start(0), epoch(1), epoch(2)]), None);
        let whole = Record::of(&[start(0), epoch(1), start(1), epoch(2), test()]).unwrap();
        assert_eq!((whole.peak, whole.course.len()), (Some(7), 2));
        assert_eq!((whole.accuracy, whole.training_accuracy), (0.25, Some(0.75)));
        let last = Mark { seconds: 6.0, training_seconds: 2.0, validation_accuracy: 0.5 };
        assert_eq!(whole.course[1], last);
        let ended = Record::of(&[start(0), epoch(1), epoch(2), start(2), test()]).unwrap();
        assert_eq!((ended.peak, ended.accuracy), (None, 0.25));
    }

    /// A finished run that is made longer, and is stopped before its next epoch, has the settings of a longer training. The accuracy of the
    /// shorter one must not stand beside them.
    #[test]
    fn a_run_that_is_made_longer_is_not_finished() {
        let line = |line: &str| serde_json::from_str(line).unwrap();
        let start = |epoch, epochs| Event::Start {
            version: String::new(),
            hardware: Hardware { processor: "p".into(), threads: 2, system: "s".into(), gpu: None },
            epoch,
            step: 0,
            epochs,
            ema: None,
            unix_time: 0,
        };
        let epoch: Event = line(
            r#"{"event":"epoch","epoch":1,"seconds":1,"total_seconds":1,"images_per_second":1,"lr":1,"losses":[],"validation_accuracy":0.5,"validation_per_block":[],"best_epoch":1}"#,
        );
        let test: Event = line(
            r#"{"event":"test","best_epoch":1,"sampler":"mean","accuracy":0.5,"correct":1,"total":2,"per_block":[],"seconds":1,"peak_memory_bytes":7}"#,
        );
        let log = |goals: [Option<u32>; 2]| {
            [start(0, goals[0]), epoch.clone(), test.clone(), start(1, goals[1])]
        };
        for goals in [[Some(1), Some(3)], [None, Some(3)]] {
            assert_eq!(Record::of(&log(goals)), None, "{goals:?}");
        }
        // A process that only draws the figures, and one of a training that ended early.
        for goals in [[Some(1), Some(1)], [None, Some(1)], [None, None], [Some(9), Some(9)]] {
            assert!(Record::of(&log(goals)).is_some(), "{goals:?}");
        }
    }
}

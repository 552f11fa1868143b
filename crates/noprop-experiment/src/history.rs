//! The history of a run in its log: its number of ends, and the numbers of epochs that it was meant to have.

use std::collections::BTreeSet;

use noprop_train::{Event, Hardware};

/// The part of a run's history that belongs beside its accuracy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The epochs after which the test images were read and training went on.
    pub earlier_ends: Vec<u32>,
    /// The numbers of epochs that the training was meant to have, one after another, where they differ. The learning rate depends on
    /// them.
    pub goals: Vec<u32>,
    /// The blocks that were paused for a time, in rising order.
    pub paused: BTreeSet<usize>,
    /// The machines that trained, one after another or beside each other, where their kinds or their versions of noprop differ.
    pub machines: Vec<Machine>,
}

/// A machine that trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its hardware.
    pub hardware: Hardware,
    /// The version of noprop.
    pub version: String,
}

impl Machine {
    /// Returns whether the two compute the same bytes, as far as is known.
    fn computes_as(&self, other: &Self) -> bool {
        self.hardware.computes_as(&other.hardware) && self.version == other.version
    }
}

impl History {
    /// The history in the events of a log.
    pub fn of(events: &[Event]) -> Self {
        let mut history = Self::default();
        let (mut done, mut tested, mut began) = (0, false, Vec::new());
        for event in events {
            match event {
                Event::Start { epochs, hardware, version, .. } => {
                    if let Some(epochs) = epochs
                        && history.goals.last() != Some(epochs)
                    {
                        history.goals.push(*epochs);
                    }
                    began.push(Machine { hardware: hardware.clone(), version: version.clone() });
                }
                Event::Epoch { epoch, .. } => {
                    for machine in began.drain(..) {
                        if !history.machines.iter().any(|known| known.computes_as(&machine)) {
                            history.machines.push(machine);
                        }
                    }
                    if std::mem::take(&mut tested) {
                        history.earlier_ends.push(done);
                    }
                    done = *epoch;
                }
                Event::Test { .. } => tested = true,
                Event::Pause { blocks, .. } => history.paused.extend(blocks),
                Event::Stop { .. } => {}
            }
        }
        history
    }

    /// Returns whether the settings alone make the same weights again, but for rounding if machines differ.
    pub fn is_of_one_go(&self) -> bool {
        self.earlier_ends.is_empty() && self.goals.len() <= 1 && self.paused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use noprop_train::Hardware;

    use super::*;

    fn start(epochs: Option<u32>) -> Event {
        let hardware =
            Hardware { processor: "p".into(), threads: 2, system: "s".into(), gpu: None };
        let (version, unix_time) = (String::new(), 0);
        Event::Start { version, hardware, epoch: 0, step: 0, epochs, ema: None, unix_time }
    }

    fn epoch(epoch: u32) -> Event {
        Event::Epoch {
            epoch,
            seconds: 1.0,
            total_seconds: 1.0,
            images_per_second: 1.0,
            lr: 1.0,
            losses: Vec::new(),
            validation_accuracy: 0.5,
            validation_per_block: Vec::new(),
            best_epoch: 1,
        }
    }

    fn test() -> Event {
        Event::Test {
            best_epoch: 1,
            sampler: String::new(),
            accuracy: 0.5,
            correct: 1,
            total: 2,
            per_block: Vec::new(),
            training_accuracy: None,
            classification_seconds: None,
            seconds: 1.0,
            peak_memory_bytes: None,
            peak_device_bytes: None,
        }
    }

    /// A training that was made longer is not one of as many epochs, and one that was only stopped is.
    #[test]
    fn a_training_that_went_on_is_told_from_a_whole_one() {
        let stopped = [start(Some(2)), epoch(1), start(Some(2)), epoch(2), test(), test()];
        assert!(History::of(&stopped).is_of_one_go());
        let further = [start(Some(1)), epoch(1), test(), start(Some(2)), epoch(2), test()];
        let history = History::of(&further);
        assert_eq!((&history.earlier_ends[..], &history.goals[..]), (&[1][..], &[1, 2][..]));
        // Before its end: the learning rate is another, but the test images were read once.
        let longer = History::of(&[start(Some(9)), epoch(1), start(Some(2)), epoch(2), test()]);
        assert!(longer.earlier_ends.is_empty() && !longer.is_of_one_go());
        let pause = |blocks| Event::Pause { epoch: 0, step: 1, blocks };
        let paused = [start(Some(1)), pause(vec![2]), pause(vec![]), epoch(1), test()];
        let history = History::of(&paused);
        assert!(!history.is_of_one_go() && history.paused.contains(&2));
        // On another machine, by another version, and one that only tested.
        let on = |processor: &str, version: &str| match start(Some(2)) {
            Event::Start { mut hardware, epoch, step, epochs, ema, unix_time, .. } => {
                hardware.processor = processor.into();
                let version = version.into();
                Event::Start { version, hardware, epoch, step, epochs, ema, unix_time }
            }
            other => other,
        };
        let moved =
            [on("a", "1"), on("b", "1"), epoch(1), on("b", "1"), epoch(2), on("c", "1"), test()];
        let machines = History::of(&moved).machines;
        assert_eq!(
            machines.iter().map(|machine| &*machine.hardware.processor).collect::<Vec<_>>(),
            ["a", "b"]
        );
        let newer = [on("a", "1"), epoch(1), on("a", "2"), epoch(2), test()];
        assert_eq!(History::of(&newer).machines.len(), 2);
        // The first versions did not record the goal.
        let old = History::of(&[start(None), epoch(1), test(), start(Some(2)), epoch(2), test()]);
        assert_eq!(old.earlier_ends, [1]);
    }
}

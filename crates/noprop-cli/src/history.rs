//! The history of a run, as its log has it: whether it was trained further after its end.

use noprop_train::Event;

/// What a reader of an accuracy must know of the training before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Earlier ends of the training: the numbers of epochs that it was to have.
    pub earlier_ends: Vec<u32>,
}

impl History {
    /// The history in the events of a log.
    pub fn of(events: &[Event]) -> Self {
        let mut history = Self::default();
        let mut last = None;
        for event in events {
            if let Event::Start { epochs: Some(epochs), .. } = event {
                let earlier = last.replace(*epochs).filter(|earlier| earlier != epochs);
                history.earlier_ends.extend(earlier);
            }
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use noprop_train::Hardware;

    use super::*;

    /// A run that was trained further is not one of as many epochs.
    #[test]
    fn a_training_that_went_on_is_told_from_a_whole_one() {
        let start = |epochs| Event::Start {
            version: String::new(),
            hardware: Hardware { processor: "p".into(), threads: 2, system: "s".into(), gpu: None },
            epoch: 0,
            step: 0,
            epochs,
            unix_time: 0,
        };
        assert_eq!(History::of(&[start(None), start(Some(3)), start(Some(3))]), History::default());
        let further = History::of(&[start(Some(3)), start(Some(6)), start(Some(6))]);
        assert_eq!(further, History { earlier_ends: vec![3] });
    }
}

//! A training as a page shows it.
//!
//! | file | subject |
//! | --- | --- |
//! | `curve.rs` | the losses of steps, as few points |
//! | `epoch.rs` | the outcome of an epoch |
//! | `settings.rs` | the settings that a page gives |

mod curve;
mod epoch;
mod settings;

use noprop_method::{Losses, Part, Time};
use noprop_train::{EpochReport, StepReport};
use serde::Serialize;
use serde_json::{Value, json};
use web_time::Instant;

pub use curve::{Curve, Point};
pub use epoch::{Epoch, PartLoss};
pub use settings::settings;

use crate::progress::{Length, Remark};
use crate::settings::Setup;

/// Remarks that are kept.
const MOST_REMARKS: usize = 20;

/// The state of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There was none yet.
    #[default]
    None,
    /// It computes.
    Running,
    /// It was asked to stop, and saves.
    Stopping,
    /// It can go on.
    Stopped,
    /// All steps are done, and it is tested.
    Finished,
    /// It cannot go on.
    Failed,
}

/// The task of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// To make no steps.
    Hold,
    /// To make steps again.
    GoOn,
}

/// A training: its settings, and how far it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Training {
    /// Its state.
    pub state: State,
    /// The id of its run.
    pub run: Option<String>,
    settings: Value,
    method: Option<String>,
    blocks: usize,
    epochs: u32,
    steps_per_epoch: u32,
    /// Steps done.
    done: u64,
    images_per_second: Option<f64>,
    seconds_left: Option<f64>,
    /// Blocks that make no steps, counted from 1.
    paused: Vec<usize>,
    pausable: bool,
    /// The reason why it failed.
    pub error: Option<String>,
    remarks: Vec<String>,
    /// The accuracy on the test images, 0..=1.
    pub test_accuracy: Option<f64>,
    history: Vec<Epoch>,
    losses: Curve,
    #[serde(skip)]
    lines: Lines,
    #[serde(skip)]
    clock: Option<Clock>,
}

/// The curves of losses.
#[derive(Debug, Clone, Copy, Default)]
enum Lines {
    /// One for each block.
    Blocks(usize),
    /// One for the whole chain, which has a single loss.
    #[default]
    Chain,
}

impl Lines {
    fn count(self) -> usize {
        match self {
            Self::Blocks(blocks) => blocks,
            Self::Chain => 1,
        }
    }

    /// The number of the curve, from 0, that the loss of `part` belongs to; `None` for a part without a curve.
    fn of(self, part: Part) -> Option<usize> {
        match (self, part) {
            (Self::Blocks(_), Part::Block(block)) => block.checked_sub(1),
            (Self::Blocks(_), _) => None,
            (Self::Chain, _) => Some(0),
        }
    }
}

/// The work of a training since it began or went on.
#[derive(Debug, Clone, Copy)]
struct Clock {
    began: Instant,
    steps: u64,
    images: u64,
}

impl Clock {
    fn now() -> Self {
        Self { began: Instant::now(), steps: 0, images: 0 }
    }
}

impl Training {
    /// A training with the settings `setup` that writes the run `run`, if it writes one, after the epochs `history`.
    pub fn of(run: Option<&str>, setup: &Setup, history: Vec<Epoch>) -> Self {
        let blocks = match setup.method.time {
            Time::Discrete => setup.steps,
            Time::Continuous => setup.intervals,
            Time::None => 1,
        };
        // A setup that has no method is refused when the training begins.
        let method = setup.build_method().ok();
        let blockwise =
            method.is_some_and(|method| matches!(method.losses(), Losses::Blockwise(_)));
        Self {
            state: State::Running,
            run: run.map(Into::into),
            settings: json!(setup),
            method: Some(setup.method.name.into()),
            blocks,
            epochs: setup.epochs,
            pausable: blockwise && blocks > 1,
            lines: if blockwise { Lines::Blocks(blocks) } else { Lines::Chain },
            history,
            ..Self::default()
        }
    }

    /// Returns whether it computes now.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, State::Running | State::Stopping)
    }

    /// Its steps begin, or go on.
    pub fn begin(&mut self, length: Length) {
        self.epochs = length.epochs;
        self.steps_per_epoch = length.steps_per_epoch;
        self.done = length.done;
        self.clock = Some(Clock::now());
        let point = |epoch: &Epoch| {
            let mut errors = vec![None; self.lines.count()];
            for loss in &epoch.losses {
                let line = self.lines.of(loss.part).and_then(|line| errors.get_mut(line));
                if let Some(error) = line {
                    *error = Some(loss.error as f32);
                }
            }
            Point(u64::from(epoch.epoch) * u64::from(length.steps_per_epoch), errors)
        };
        let points = self.history.iter().map(point).collect();
        self.losses.begin(self.lines.count(), points);
    }

    /// Its steps go on after a rest, which does not count as time of training.
    pub fn rested(&mut self) {
        self.clock = self.clock.map(|_| Clock::now());
    }

    /// A step of all units is done.
    pub fn step(&mut self, reports: &[StepReport]) {
        self.done += 1;
        let losses = reports.iter().flat_map(|report| &report.losses);
        let losses = losses.filter_map(|loss| Some((self.lines.of(loss.part)?, loss.error)));
        self.losses.push(self.done, losses);
        if let Some(clock) = &mut self.clock {
            clock.steps += 1;
            clock.images += reports.first().map_or(0, |report| report.images as u64);
        }
    }

    /// An epoch is done.
    pub fn epoch(&mut self, report: &EpochReport) {
        self.history.retain(|epoch| epoch.epoch < report.epoch);
        self.history.push(report.into());
    }

    /// Removes the epoch before the last, unless `keep` says that it stays: the history of a long training does not fit into a message.
    pub fn thin(&mut self, keep: impl Fn(u32) -> bool) {
        if let [.., before, _] = self.history.as_slice()
            && !keep(before.epoch)
        {
            self.history.remove(self.history.len() - 2);
        }
    }

    /// Keeps something that the person who started it should know.
    pub fn remark(&mut self, remark: &Remark) {
        let text = remark.to_string();
        if !text.is_empty() && self.remarks.len() < MOST_REMARKS {
            self.remarks.push(text);
        }
    }

    /// Measures how fast it is, before it is shown.
    pub fn measure(&mut self) {
        let Some(clock) = self.clock.filter(|clock| clock.steps > 0) else { return };
        let seconds = clock.began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let total = u64::from(self.epochs) * u64::from(self.steps_per_epoch);
        let left = total.saturating_sub(self.done) as f64;
        self.images_per_second = Some(clock.images as f64 / seconds);
        self.seconds_left = Some(seconds / clock.steps as f64 * left);
    }

    /// Pauses a block, or lets it go on.
    ///
    /// # Errors
    /// A sentence, if the training has no such block that can be paused.
    pub fn pause(&mut self, block: usize, pause: Pause) -> Result<(), String> {
        if !self.pausable {
            return Err("the blocks of this training cannot be paused".into());
        }
        if !(1..=self.blocks).contains(&block) {
            return Err(format!("block must be between 1 and {}", self.blocks));
        }
        self.paused.retain(|paused| *paused != block);
        if pause == Pause::Hold {
            self.paused.push(block);
            self.paused.sort_unstable();
        }
        Ok(())
    }

    /// The blocks that are paused, counted from 1.
    pub fn paused(&self) -> &[usize] {
        &self.paused
    }

    /// It computes no longer.
    pub fn end(&mut self, state: State) {
        self.measure();
        self.state = state;
        self.seconds_left = None;
        self.clock = None;
    }
}

#[cfg(test)]
mod tests {
    use noprop_method::MethodKind;
    use noprop_train::Loss;

    use super::*;
    use crate::{Layers, Preset, Settings};

    fn losses(parts: &[(Part, f64)]) -> Vec<Loss> {
        parts.iter().map(|&(part, error)| Loss { part, loss: error, error }).collect()
    }

    fn training(method: MethodKind, history: Vec<Epoch>) -> Training {
        let settings = Settings { method: Some(method), steps: Some(3), ..Settings::default() };
        let layers = Layers { settings, ..Layers::default() };
        let setup = layers.resolve(|_| Ok(Preset::MnistSample)).unwrap().setup;
        let mut training = Training::of(None, &setup, history);
        training.begin(Length { epochs: 9, steps_per_epoch: 1, done: 0 });
        training
    }

    fn points(training: &Training) -> Value {
        serde_json::to_value(training).unwrap()["losses"].clone()
    }

    /// A block that is paused has no loss in a step or an epoch: those of the others and of the readout must not be drawn as its own.
    #[test]
    fn every_loss_is_drawn_as_that_of_its_part() {
        let step = |parts: &[(Part, f64)]| {
            let losses = losses(parts);
            [StepReport { epoch: 1, step: 1, lr: 0.1, images: 1, losses }]
        };
        let part_losses =
            losses(&[(Part::Block(1), 1.0), (Part::Block(3), 3.0), (Part::Readout, 9.0)]);
        let epoch = Epoch {
            epoch: 1,
            validation: None,
            losses: part_losses.iter().map(|l| PartLoss { part: l.part, error: l.error }).collect(),
            seconds: 1.0,
            images_per_second: 1.0,
        };
        let mut dt = training(MethodKind::DT, vec![epoch]);
        dt.step(&step(&[(Part::Readout, 9.0)]));
        dt.step(&step(&[(Part::Block(2), 2.0), (Part::Readout, 9.0)]));
        let expected =
            json!([[1, [1.0, null, 3.0]], [1, [null, null, null]], [2, [null, 2.0, null]],]);
        assert_eq!(points(&dt), expected);
        let mut backprop = training(MethodKind::BACKPROP, Vec::new());
        backprop.step(&step(&[(Part::Readout, 4.0)]));
        assert_eq!(points(&backprop), json!([[1, [4.0]]]));
    }
}

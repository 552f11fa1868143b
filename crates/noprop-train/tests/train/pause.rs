//! Blocks that are paused stand still, and the others learn on.

use std::time::Duration;

use noprop_method::{EncoderKind, MethodKind, Part};
use noprop_train::{
    Control, EpochReport, Event, MetricsLog, Observer, Order, Outcome, StepReport, TrainConfig,
};

use crate::case::{BLOCKS, Case, LEARNED, ONEHOT, case};
use crate::support::{CONFIG, bits, few_images, go_on_saving, model, new_run};

const SHARED: Case = case(MethodKind::DT, EncoderKind::Shared, ONEHOT);
const PER_BLOCK: Case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
const JOINT: Case = case(MethodKind::DT, EncoderKind::Shared, LEARNED);
const INTERVALS: Case = Case { intervals: 2, ..case(MethodKind::CT, EncoderKind::Shared, ONEHOT) };
const IN_TURN: Case = Case { order: Order::Paper, ..SHARED };

/// Pauses blocks in the first steps, and stops after some steps.
struct Pausing {
    blocks: Vec<usize>,
    /// The number of steps at whose end the blocks go on.
    until: u32,
    stop: u32,
    made: u32,
    /// The parts that had a loss.
    told: Vec<Part>,
}

impl Pausing {
    fn new(blocks: &[usize], until: u32, stop: u32) -> Self {
        Self { blocks: blocks.into(), until, stop, made: 0, told: Vec::new() }
    }
}

impl Observer for Pausing {
    fn paused(&mut self) -> Vec<usize> {
        if self.made < self.until { self.blocks.clone() } else { Vec::new() }
    }

    fn step(&mut self, reports: &[StepReport]) -> Control {
        self.made += 1;
        let losses = reports.iter().flat_map(|report| &report.losses);
        self.told.extend(losses.map(|loss| loss.part));
        if self.made == self.stop { Control::Stop } else { Control::Continue }
    }

    fn epoch(&mut self, _: &EpochReport) -> Control {
        Control::Continue
    }
}

/// The bits of all parameters after a training.
fn trained(case: Case, observer: &mut dyn Observer) -> Vec<(String, Vec<u32>)> {
    let mut trainer = case.trainer(&few_images(), CONFIG);
    trainer.run(observer).unwrap();
    bits(trainer.network())
}

/// A pause that moved the block, held up another one or changed a block that shares nothing with it would show the opposite of what it is
/// there for.
#[test]
fn a_paused_block_stands_still_and_the_others_learn_on() {
    for case in [SHARED, PER_BLOCK, JOINT, IN_TURN] {
        let fresh = bits(&case.network());
        let mut pausing = Pausing::new(&[2], u32::MAX, u32::MAX);
        let paused = trained(case, &mut pausing);
        let whole = trained(case, &mut Pausing::new(&[], 0, u32::MAX));
        assert!(!pausing.told.contains(&Part::Block(2)) && pausing.told.contains(&Part::Block(3)));
        for ((fresh, paused), whole) in fresh.iter().zip(&paused).zip(&whole) {
            let name = &fresh.0;
            match Part::parse(name).unwrap().0 {
                Part::Block(2) => assert_eq!(fresh, paused, "{case:?} {name}"),
                _ if case.encoder == EncoderKind::PerBlock => {
                    assert_eq!(paused, whole, "{case:?} {name}");
                }
                // A layer norm's buffers do not move, and nor does what nothing trains.
                _ => assert_eq!(fresh == paused, fresh == whole, "{case:?} {name}"),
            }
        }
    }
}

/// The last block can be paused too: the encoder and the schedule, which the blocks train, stand still then. The readout's loss goes on.
#[test]
fn all_blocks_can_be_paused() {
    let all: Vec<usize> = (1..=BLOCKS).collect();
    for case in [SHARED, PER_BLOCK, JOINT, IN_TURN, INTERVALS] {
        let fresh = bits(&case.network());
        let paused = trained(case, &mut Pausing::new(&all, u32::MAX, u32::MAX));
        let mut moved = false;
        for (fresh, paused) in fresh.iter().zip(&paused) {
            match Part::parse(&fresh.0).unwrap().0 {
                Part::Block(_) | Part::Encoder | Part::Schedule => {
                    assert_eq!(fresh, paused, "{case:?}");
                }
                Part::Readout | Part::Embedding => moved |= fresh != paused,
            }
        }
        assert!(moved, "{case:?}: the readout stood still");
    }
}

/// The optimizer's steps of a paused block are fewer than the training's. A resume must know, and a run must say that it had a pause.
#[test]
fn a_pause_is_recorded_and_survives_a_resume() {
    for case in [SHARED, JOINT] {
        let dir = tempfile::tempdir().unwrap();
        let train = |run: &_, observer: &mut Pausing| {
            let config = TrainConfig { ema: Some(0.9), ..CONFIG };
            let mut trainer = case.trainer(&few_images(), config);
            go_on_saving(&mut trainer, run, &few_images(), Duration::MAX, observer).unwrap()
        };
        let whole = new_run(&dir.path().join("whole"));
        train(&whole, &mut Pausing::new(&[2], 2, u32::MAX));
        let stopped = new_run(&dir.path().join("stopped"));
        let outcome = train(&stopped, &mut Pausing::new(&[2], 2, 4));
        assert!(matches!(outcome, Outcome::Stopped { epoch: 1, step: 1 }), "{outcome:?}");
        train(&stopped, &mut Pausing::new(&[], 0, u32::MAX));
        assert!(model(&whole) == model(&stopped), "{case:?}");
        let events = MetricsLog::read(&stopped.metrics()).unwrap();
        let pauses: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Pause { epoch, step, blocks } => Some((*epoch, *step, blocks.as_slice())),
                _ => None,
            })
            .collect();
        assert_eq!(pauses, [(0, 0, &[2][..]), (0, 2, &[])]);
    }
}

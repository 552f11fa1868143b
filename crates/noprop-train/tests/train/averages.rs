//! Averages of the weights: they are what a run keeps, and they leave the training as it is.

use noprop_method::{Denoiser, EncoderKind, MethodKind, Part};
use noprop_train::{Engine, Event, MetricsLog, Order, TrainConfig, Workers, read_weights};

use crate::case::{Case, CaseTrainer, LEARNED, ONEHOT, case};
use crate::support::{self, bits, few_images, go_on, new_run};

/// Twice the rate of the first step, and the rate of the second one.
const RATE: f64 = 0.25;
const CONFIG: TrainConfig = TrainConfig { ema: Some(RATE), epochs: 1, ..support::CONFIG };

const SHARED: Case = case(MethodKind::DT, EncoderKind::Shared, ONEHOT);
const PER_BLOCK: Case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
const JOINT: Case = case(MethodKind::DT, EncoderKind::Shared, LEARNED);
const FROZEN: Case = case(MethodKind::DT, EncoderKind::Frozen, ONEHOT);
const IN_TURN: Case = Case { order: Order::Paper, ..JOINT };
const CT: Case = Case { intervals: 2, ..case(MethodKind::CT, EncoderKind::Shared, LEARNED) };
const FM: Case = case(MethodKind::FM, EncoderKind::PerBlock, ONEHOT);
const BACKPROP: Case = case(MethodKind::BACKPROP, EncoderKind::Shared, ONEHOT);
const ADJOINT: Case = case(MethodKind::ADJOINT, EncoderKind::PerBlock, ONEHOT);

type Bits = Vec<(String, Vec<u32>)>;

/// The bits of all parameters that a run would keep now.
fn kept(trainer: &mut CaseTrainer) -> Bits {
    trainer.averaged(|network, _| Ok(bits(network))).unwrap()
}

/// After three steps every parameter and every running statistic has the average that is worked out from the weights of each step, with
/// shares of 9/11, 9/12 and 3/4 for the new value. The weights in training are those of a training without averages.
#[test]
fn three_steps_give_the_average_that_is_worked_out() {
    for case in [SHARED, PER_BLOCK, JOINT, FROZEN, CT, FM, BACKPROP, ADJOINT] {
        let mut trainer = case.trainer(&few_images(), CONFIG);
        let mut plain = case.trainer(&few_images(), TrainConfig { ema: None, ..CONFIG });
        let fresh = bits(trainer.network());
        let mut expected = fresh.clone();
        assert_eq!(kept(&mut trainer), expected, "{case:?}");
        for share in [9.0 / 11.0, 9.0 / 12.0, 3.0 / 4.0] {
            trainer.step().unwrap();
            plain.step().unwrap();
            let now = bits(trainer.network());
            assert!(now == bits(plain.network()) && now == kept(&mut plain), "{case:?}");
            for ((_, average), (_, value)) in expected.iter_mut().zip(&now) {
                for (average, value) in average.iter_mut().zip(value) {
                    let (a, v) = (f32::from_bits(*average), f32::from_bits(*value));
                    *average = (a + share as f32 * (v - a)).to_bits();
                }
            }
            let found = kept(&mut trainer);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{case:?}");
            }
            assert!(now == bits(trainer.network()), "{case:?}: the weights are not back");
        }
        let running = |name: &str| name.ends_with(".mean") || name.ends_with(".var");
        let moved = |(fresh, now): (&(String, _), &(String, _))| running(&fresh.0) && fresh != now;
        // The networks of the others have layer norms instead of batch norms.
        let has_some = [MethodKind::DT, MethodKind::BACKPROP].contains(&case.kind);
        assert!(!has_some || fresh.iter().zip(&expected).any(moved), "{case:?}");
    }
}

/// A run keeps the averages, in its weights and in its log, and a training that averages nothing says nothing of it.
#[test]
fn a_run_keeps_the_averages() {
    for case in [PER_BLOCK, JOINT, IN_TURN] {
        let dir = tempfile::tempdir().unwrap();
        let train = |name: &str, config| {
            let run = new_run(&dir.path().join(name));
            let mut trainer = case.trainer(&few_images(), config);
            go_on(&mut trainer, &run, &few_images(), u32::MAX);
            (run, trainer)
        };
        let (run, mut trainer) = train("averaged", CONFIG);
        let stored = read_weights(&run.model()).unwrap().tensors;
        let (plain_run, plain) = train("plain", TrainConfig { ema: None, ..CONFIG });
        assert!(bits(trainer.network()) == bits(plain.network()), "{case:?}");
        let found = trainer.averaged(|network, _| {
            let parameters = network.parameters();
            let before = bits(network);
            parameters.set(stored).unwrap();
            Ok(before == bits(network))
        });
        assert!(found.unwrap(), "{case:?}: these are not the averages");
        for (run, expected) in [(run, Some(RATE)), (plain_run, None)] {
            let events = MetricsLog::read(&run.metrics()).unwrap();
            assert!(matches!(&events[0], Event::Start { ema, .. } if *ema == expected));
        }
    }
}

/// The average of a block that is paused must not go on to its weights.
#[test]
fn the_average_of_a_paused_block_stands_still() {
    for case in [SHARED, PER_BLOCK, JOINT] {
        let mut trainer = case.trainer(&few_images(), CONFIG);
        trainer.step().unwrap();
        let before = kept(&mut trainer);
        trainer.step_without(&[2]).unwrap();
        let after = kept(&mut trainer);
        assert!(before != bits(trainer.network()), "{case:?}");
        for (before, after) in before.iter().zip(&after) {
            match Part::parse(&before.0).unwrap().0 {
                Part::Block(2) => assert_eq!(before, after, "{case:?}"),
                _ if before.0.ends_with(".weight") => assert_ne!(before, after, "{case:?}"),
                _ => {}
            }
        }
    }
}

/// Blocks that are trained in one call have averages in a stack, which must be those of the blocks, also where a training changes from
/// one form to the other.
#[test]
fn stacked_blocks_have_the_same_averages() {
    let config = TrainConfig { epochs: 8, lr: 1e-3, ema: Some(0.9), ..CONFIG };
    let threads = || Engine::Threads(Workers::Auto);
    for case in [SHARED, PER_BLOCK] {
        let averages = |plan: [Engine; 3]| {
            let mut trainer = case.trainer(&few_images(), config);
            for engine in plan {
                trainer = trainer.engine(engine);
                trainer.steps(4).unwrap();
            }
            kept(&mut trainer)
        };
        let expected = averages([threads(), threads(), threads()]);
        let found = averages([Engine::Batched, threads(), Engine::Batched]);
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            for (found, expected) in found.iter().zip(expected) {
                let apart = (f32::from_bits(*found) - f32::from_bits(*expected)).abs();
                assert!(apart < 1e-4, "{case:?}: {name} is {apart:e} apart");
            }
        }
    }
}

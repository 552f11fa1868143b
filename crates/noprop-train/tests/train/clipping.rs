//! Gradients that are scaled down to a norm.

use std::collections::BTreeMap;

use candle_core::Device;
use noprop_method::{EncoderKind, MethodKind, Part};
use noprop_train::{Engine, Order, TrainConfig};

use crate::case::{Case, LEARNED, ONEHOT, case};
use crate::support::{self, bits, few_images, go_on, new_run};

/// Far below the norms of first gradients.
const NORM: f64 = 1e-3;
const CLIPPED: TrainConfig = TrainConfig { clip_gradients: Some(NORM), ..support::CONFIG };

const PER_BLOCK: Case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
const JOINT: Case = case(MethodKind::DT, EncoderKind::Shared, LEARNED);
const CASES: [Case; 6] = [
    case(MethodKind::DT, EncoderKind::Shared, ONEHOT),
    PER_BLOCK,
    JOINT,
    Case { order: Order::Paper, ..JOINT },
    case(MethodKind::CT, EncoderKind::Shared, ONEHOT),
    case(MethodKind::BACKPROP, EncoderKind::Shared, ONEHOT),
];

/// The norms of all first moments after one step, by part, divided by the moment's share of a new gradient: those of the gradients.
fn norms(case: Case, config: TrainConfig) -> BTreeMap<Part, f64> {
    let dir = tempfile::tempdir().unwrap();
    let run = new_run(&dir.path().join("run"));
    go_on(&mut case.trainer(&few_images(), config), &run, &few_images(), 1);
    let mut squares = BTreeMap::new();
    for file in std::fs::read_dir(run.state().join("1")).unwrap() {
        let tensors = candle_core::safetensors::load(file.unwrap().path(), &Device::Cpu).unwrap();
        for (name, moment) in tensors {
            let Some(name) = name.strip_prefix("adam.m.") else { continue };
            let gradient = (moment / 0.1).unwrap();
            let square = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            *squares.entry(Part::parse(name).unwrap().0).or_insert(0.0) += f64::from(square);
        }
    }
    squares.into_iter().map(|(part, square): (Part, f64)| (part, square.sqrt())).collect()
}

/// No part has a longer gradient than was asked for, and one that is clipped has that length. Adam's first step hides the length of its
/// gradients, so they are taken from its moments.
#[test]
fn the_gradients_of_a_part_have_at_most_the_norm() {
    for case in CASES {
        let (free, clipped) = (norms(case, support::CONFIG), norms(case, CLIPPED));
        assert!(
            free.values().any(|&norm| norm > 2.0 * NORM),
            "{case:?}: nothing to clip: {free:?}"
        );
        assert!(free.keys().eq(clipped.keys()), "{case:?}");
        for ((part, free), clipped) in free.iter().zip(clipped.values()) {
            let expected = free.min(NORM);
            assert!(
                (clipped / expected.max(1e-30) - 1.0).abs() < 1e-4 || free == clipped,
                "{case:?}: {part}: {free}, {clipped}"
            );
        }
    }
}

/// A norm that no gradient reaches leaves every bit as it is, and the engine for a GPU clips as the threads do.
#[test]
fn short_gradients_and_other_engines_change_nothing() {
    let weights = |case: Case, clip_gradients, engine| {
        let config = TrainConfig { clip_gradients, ..support::CONFIG };
        let mut trainer = case.trainer(&few_images(), config).engine(engine);
        trainer.steps(3).unwrap();
        bits(trainer.network())
    };
    let threads = || Engine::Threads(noprop_train::Workers::Auto);
    for case in CASES {
        let free = weights(case, None, threads());
        assert!(free == weights(case, Some(1e30), threads()), "{case:?}");
        assert!(free != weights(case, Some(NORM), threads()), "{case:?}");
    }
    let clipped = weights(PER_BLOCK, Some(NORM), threads());
    assert!(clipped == weights(PER_BLOCK, Some(NORM), Engine::Batched));
}

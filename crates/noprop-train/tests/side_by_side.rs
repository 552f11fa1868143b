//! Blocks side by side in one call take the steps that they take one by one, but for rounding: the form in which a GPU trains
//! them, here on the CPU.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use candle_core::Device;
use noprop_data::{Augmentation, Dataset, Split};
use noprop_method::{
    Denoiser as _, DiscreteTime, EncoderKind, LossWeight, ParameterBuilder, Part, Schedule,
    ScheduleKind, Seed,
};
use noprop_models::{Embedding, ImageShape, Network, NetworkConfig};
use noprop_train::{Decay, Grouping, OptimizerKind, TrainConfig, Trainer};

const BLOCKS: usize = 3;
const LEARNED: Embedding = Embedding::Learned { dimension: 6 };
/// Few enough that rounding has not grown far.
const STEPS: u32 = 20;
const TOLERANCE: f32 = 1e-4;
/// Of a loss: with one-hot embeddings losses agree to the bit, with learned ones to 1e-6. A gradient that was wrong or left out shows
/// in the second step, in the second place.
const LOSS_TOLERANCE: f32 = 1e-5;
const CONFIG: TrainConfig = TrainConfig {
    epochs: 8,
    batch_size: 8,
    optimizer: OptimizerKind::Adamw,
    lr: 1e-3,
    lr_decay: Decay::Cosine,
    warmup_steps: 20,
    weight_decay: 1e-3,
    augment: Augmentation::NONE,
};

fn images() -> Split {
    let rows: Vec<u32> = (0..24).map(|i| i * 160).collect();
    Dataset::mnist_sample().unwrap().train.select(&rows).unwrap()
}

fn config() -> NetworkConfig {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    NetworkConfig::new(image, 10, BLOCKS).unwrap()
}

fn objective() -> DiscreteTime {
    let schedule = Schedule::new(ScheduleKind::Cosine, BLOCKS).unwrap();
    DiscreteTime::new(schedule, 0.1, LossWeight::Uniform).unwrap()
}

fn fresh(config: &NetworkConfig) -> Network {
    let network = Network::new(config, ParameterBuilder::seeded(Seed(1), &Device::Cpu)).unwrap();
    if network.first_embeddings().is_some() {
        let starts = images().range(0..10).unwrap().flatten_from(1).unwrap();
        network.start_embeddings_from(&starts).unwrap();
    }
    network
}

/// The network after steps in these groupings, one after the other, and the losses of every step by part.
fn trained(config: &NetworkConfig, plan: &[(Grouping, u32)]) -> (Network, Vec<Vec<(String, f32)>>) {
    let (images, network, objective) = (images(), fresh(config), objective());
    let mut losses = Vec::new();
    {
        let mut trainer = Trainer::new(&network, &objective, &images, CONFIG, Seed(1)).unwrap();
        for &(grouping, steps) in plan {
            trainer = trainer.grouping(grouping);
            // Several calls: what one wrote back the next begins with.
            for _ in 0..steps / 5 {
                for reports in trainer.advance_all(5).unwrap() {
                    let parts = reports.iter().flat_map(|report| &report.losses);
                    let mut step: Vec<_> =
                        parts.map(|loss| (loss.part.to_string(), loss.loss)).collect();
                    step.sort_by(|a, b| a.0.cmp(&b.0));
                    losses.push(step);
                }
            }
        }
    }
    (network, losses)
}

/// How far the parameters are apart at most, and which.
fn distance(a: &Network, b: &Network) -> (String, f32) {
    let pairs = a.parameters().iter().zip(b.parameters().iter());
    pairs
        .map(|(a, b)| {
            let apart = (a.var.as_tensor() - b.var.as_tensor()).unwrap().abs().unwrap();
            let most = apart.flatten_all().unwrap().max(0).unwrap();
            (a.name.clone(), most.to_scalar::<f32>().unwrap())
        })
        .fold((String::new(), 0.0), |most, next| if next.1 > most.1 { next } else { most })
}

/// The losses of every step agree: a loss depends on all weights that a step before it changed. Where embeddings are fixed weights agree
/// as well; where they are trained, a gradient that ought to be zero is another rounding of it, of which Adam makes whole steps.
#[test]
fn all_blocks_in_one_call_take_the_steps_of_one_by_one() {
    // With prototypes, which are images, rounding grows about tenfold a step from the third on: there only the beginning is compared.
    let all = STEPS as usize;
    for (name, compared, config) in [
        ("per-block", all, config().encoder(EncoderKind::PerBlock)),
        ("shared", all, config().encoder(EncoderKind::Shared)),
        ("frozen", all, config().encoder(EncoderKind::Frozen)),
        ("learned", all, config().encoder(EncoderKind::Shared).embedding(LEARNED)),
        ("prototype", 4, config().encoder(EncoderKind::Shared).embedding(Embedding::Prototype)),
    ] {
        let (expected, expected_losses) = trained(&config, &[(Grouping::OneByOne, STEPS)]);
        let (found, losses) = trained(&config, &[(Grouping::SideBySide, STEPS)]);
        if expected.parameters().count(Part::Embedding) == 0 {
            let (parameter, most) = distance(&found, &expected);
            assert!(most < TOLERANCE, "{name}: {parameter} is {most:e} apart");
        }
        assert_eq!(losses.len(), STEPS as usize);
        for (losses, expected) in losses.iter().zip(&expected_losses).take(compared) {
            assert_eq!(losses.len(), expected.len(), "{name}: {losses:?} {expected:?}");
            for ((part, loss), (_, expected)) in losses.iter().zip(expected) {
                let error = (loss - expected).abs() / expected.abs().max(1.0);
                assert!(
                    error < LOSS_TOLERANCE,
                    "{name}: {part} has loss {loss}, one by one {expected}"
                );
            }
        }
    }
}

/// Weights and moments go both ways: a training may change between the forms, as one does that moves from a GPU to a CPU.
#[test]
fn a_training_may_change_between_the_forms() {
    let config = config().encoder(EncoderKind::PerBlock);
    let (expected, _) = trained(&config, &[(Grouping::OneByOne, STEPS)]);
    for plan in [
        [(Grouping::SideBySide, 10), (Grouping::OneByOne, 10)],
        [(Grouping::OneByOne, 10), (Grouping::SideBySide, 10)],
    ] {
        let (found, _) = trained(&config, &plan);
        let (parameter, most) = distance(&found, &expected);
        assert!(most < TOLERANCE, "{plan:?}: {parameter} is {most:e} apart");
    }
}

/// A process that trains some blocks has nothing to put beside them.
#[test]
fn a_part_of_the_blocks_is_trained_one_by_one() {
    let config = config().encoder(EncoderKind::PerBlock);
    let (images, network, objective) = (images(), fresh(&config), objective());
    let only = {
        let trainer = Trainer::new(&network, &objective, &images, CONFIG, Seed(1)).unwrap();
        let units: Vec<_> = trainer.units().into_iter().take(1).collect();
        let mut trainer = trainer.only(&units).grouping(Grouping::SideBySide);
        trainer.advance_all(5).unwrap()
    };
    assert_eq!(only.len(), 5);
    assert!(only.iter().flatten().all(|report| report.losses.len() == 1), "one block's losses");
}

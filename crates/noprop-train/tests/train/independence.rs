//! The main property of NoProp: blocks are trained independently of each other, in any order, also after a stop.

use std::time::Duration;

use candle_core::{Device, Tensor};
use noprop_data::{Augmentation, Split};
use noprop_method::{
    Blockwise, DiscreteTime, EncoderKind, LossWeight, Needs, ParameterBuilder, ParameterKind, Part,
    Readout, Sampler, SamplerKind, Schedule, ScheduleKind, Seed,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{
    Existing, Fitting, Observer, Outcome, Progress, RunDirectory, Silent, TrainConfig, Trainer,
    evaluate, fit,
};

use crate::support::{CONFIG, StopAfter, bits, few_images};

const BLOCKS: usize = 3;
fn network(encoder: EncoderKind) -> Network {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let needs = Needs::discrete_time(BLOCKS, Readout::Softmax);
    let config = NetworkConfig::new(image, 10, needs).unwrap().encoder(encoder);
    Network::new(&config, ParameterBuilder::seeded(Seed(1), &Device::Cpu)).unwrap()
}

fn objective() -> DiscreteTime {
    let schedule = Schedule::new(ScheduleKind::Cosine, BLOCKS).unwrap();
    DiscreteTime::new(schedule, 0.1, LossWeight::Uniform).unwrap()
}

/// Gradients that flow between blocks are a known fault: block 1's loss must reach only block 1.
#[test]
fn a_blocks_loss_gives_no_gradient_to_another_block() {
    let (network, images) = (network(EncoderKind::PerBlock), few_images());
    let draws = Seed(1).at(0, 0);
    let pass = noprop_method::Pass::Train(draws.dropout(Part::Block(1)));
    let pixels = images.images().unwrap();
    let features =
        noprop_method::Denoiser::encode(&network, Part::Block(1), &pixels, pass).unwrap();
    let loss =
        objective().block_loss(&network, 1, &features, (&images.labels).into(), draws).unwrap();
    let gradients = loss.loss.backward().unwrap();
    for parameter in noprop_method::Denoiser::parameters(&network).iter() {
        let expected =
            parameter.part == Part::Block(1) && parameter.kind == ParameterKind::Trainable;
        assert_eq!(gradients.get(&parameter.var).is_some(), expected, "{}", parameter.name);
    }
}

/// Training block after block, or all blocks one step at a time, on one thread or two, gives the same bytes.
#[test]
fn order_and_threads_do_not_change_a_bit() {
    let (images, objective) = (few_images(), objective());
    let train = |block_after_block: fn(&mut Trainer<&Network, &DiscreteTime>)| {
        let network = network(EncoderKind::PerBlock);
        let mut trainer = Trainer::new(&network, &objective, &images, CONFIG, Seed(1)).unwrap();
        block_after_block(&mut trainer);
        drop(trainer);
        bits(&network)
    };
    let in_order = |trainer: &mut Trainer<&Network, &DiscreteTime>| {
        for unit in 0..trainer.units().len() {
            while !trainer.is_done(unit) {
                trainer.step_unit(unit).unwrap();
            }
        }
    };
    let interleaved = |trainer: &mut Trainer<&Network, &DiscreteTime>| {
        while !trainer.is_done(0) {
            for unit in (0..trainer.units().len()).rev() {
                trainer.step_unit(unit).unwrap();
            }
        }
    };
    let expected = train(in_order);
    assert_eq!(expected, train(interleaved));
    let one = rayon_pool(1).install(|| train(in_order));
    assert_eq!(expected, one);
    let two = rayon_pool(2).install(|| train(interleaved));
    assert_eq!(expected, two);
}

/// Features of a frozen encoder are computed once, so augmentation would have no effect. Settings that must fit the images are
/// checked before the first step.
#[test]
fn changes_that_cannot_be_made_are_refused() {
    let (images, objective) = (few_images(), objective());
    let refused = |encoder, augment: &str| {
        let config = TrainConfig { augment: augment.parse().unwrap(), ..CONFIG };
        let network = network(encoder);
        let refused = Trainer::new(&network, &objective, &images, config, Seed(1)).err();
        refused.unwrap().to_string()
    };
    let frozen = refused(EncoderKind::Frozen, "flip");
    assert!(frozen.starts_with("augment must be none where the encoder is frozen"), "{frozen}");
    let far = refused(EncoderKind::Shared, "shift:14");
    assert!(far.contains("at most 13 pixels for images of 28 x 28"), "{far}");
}

fn rayon_pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// An encoder that no optimizer trains, or a layer that no loss reaches, would keep its initial weights.
#[test]
fn every_trainable_variable_moves_in_one_step() {
    let (images, objective) = (few_images(), objective());
    for encoder in [EncoderKind::PerBlock, EncoderKind::Shared, EncoderKind::Frozen] {
        let network = network(encoder);
        let before = bits(&network);
        let mut trainer = Trainer::new(&network, &objective, &images, CONFIG, Seed(1)).unwrap();
        for unit in 0..trainer.units().len() {
            trainer.step_unit(unit).unwrap();
        }
        drop(trainer);
        let parameters = noprop_method::Denoiser::parameters(&network);
        for ((parameter, old), new) in parameters.iter().zip(before).zip(bits(&network)) {
            if parameter.kind == ParameterKind::Trainable {
                assert_ne!(old, new, "{} did not move", parameter.name);
            }
        }
    }
}

/// A training that is stopped in the middle of an epoch and resumed with a new trainer gives the same weights file, byte for
/// byte. With batches of two images an epoch is long enough for blocks to make three steps in a turn.
#[test]
fn stopped_and_resumed_gives_the_same_bytes() {
    let (images, objective) = (few_images(), objective());
    let dir = tempfile::tempdir().unwrap();
    let changed: Augmentation = "flip+shift:2".parse().unwrap();
    for (encoder, augment, batch_size, stop) in [
        (EncoderKind::PerBlock, changed, 8, 2),
        (EncoderKind::Shared, changed, 8, 2),
        (EncoderKind::Frozen, Augmentation::NONE, 8, 2),
        (EncoderKind::Frozen, Augmentation::NONE, 2, 3),
    ] {
        let config = TrainConfig { batch_size, augment, ..CONFIG };
        let session = |run: &RunDirectory, progress: Progress, observer: &mut dyn Observer| {
            let network = network(encoder);
            let mut trainer = Trainer::new(&network, &objective, &images, config, Seed(1)).unwrap();
            if progress.step > 0 {
                progress.restore(run, &mut trainer).unwrap();
            }
            let fitting = Fitting {
                run,
                validation: &images,
                sampler: Sampler::once(SamplerKind::Mean),
                metadata: "{}",
                save_every: Duration::MAX,
            };
            fit(&mut trainer, &fitting, progress, observer).unwrap()
        };
        let run = |name: &str| {
            let path = dir.path().join(format!("{name}-{encoder:?}-{batch_size}"));
            RunDirectory::create(&path, Existing::Refuse, "").unwrap()
        };
        let whole = run("whole");
        session(&whole, Progress::start("c"), &mut Silent);
        let halves = run("halves");
        let stopped = session(&halves, Progress::start("c"), &mut StopAfter(2));
        assert_eq!(stopped, Outcome::Stopped { epoch: 0, step: stop });
        let progress = Progress::read(&halves, "c").unwrap();
        assert!(Progress::read(&halves, "other").is_err(), "changed settings must be refused");
        assert!(matches!(session(&halves, progress, &mut Silent), Outcome::Finished(_)));
        let bytes = |run: &RunDirectory| std::fs::read(run.model()).unwrap();
        assert!(bytes(&whole) == bytes(&halves), "{encoder:?}, batch {batch_size}");
    }
}

/// Evaluation that starts from the true label is a known fault: labels must not affect predictions.
#[test]
fn permuting_the_labels_leaves_every_prediction_unchanged() {
    let (network, images, objective) = (network(EncoderKind::Shared), few_images(), objective());
    let mut shuffled = images.clone();
    let labels: Vec<u32> = images.labels.to_vec1::<u32>().unwrap().into_iter().rev().collect();
    shuffled.labels = Tensor::new(labels, &Device::Cpu).unwrap();
    for kind in [SamplerKind::Mean, SamplerKind::Stochastic] {
        let predictions = |split: &Split| {
            evaluate(&network, &objective, split, &Sampler::once(kind)).unwrap().predictions
        };
        assert_eq!(predictions(&images), predictions(&shuffled));
    }
}

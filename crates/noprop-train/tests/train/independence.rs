//! The main property of NoProp: blocks are trained independently of each other, in any order.

use noprop_method::{Denoiser, EncoderKind, MethodKind, ParameterKind, Part, Pass, Seed};
use noprop_train::{Order, TrainConfig, Trainer, Unit};

use crate::case::{Case, CaseTrainer, ONEHOT, case};
use crate::support::{CONFIG, bits, blockwise, few_images};

const PER_BLOCK: Case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
/// Two blocks of flow matching, each with its interval of time.
const IN_TWO: Case = Case { kind: MethodKind::FM, intervals: 2, ..PER_BLOCK };

/// Gradients that flow between blocks are a known fault: a block's loss must reach only the parameters of the block.
#[test]
fn a_blocks_loss_gives_no_gradient_to_another_block() {
    let images = few_images();
    let (pixels, draws) = (images.images().unwrap(), Seed(1).at(0, 0));
    for (case, block) in [(PER_BLOCK, 1), (IN_TWO, 1), (IN_TWO, 2)] {
        let (network, method) = (case.network(), case.objective());
        let part = Part::Block(block);
        let features = network.encode(part, &pixels, Pass::Train(draws.dropout(part))).unwrap();
        let targets = (&images.labels).into();
        let loss = blockwise(&*method).block_loss(&network, block, &features, targets, draws);
        let gradients = loss.unwrap().loss.backward().unwrap();
        for parameter in network.parameters().iter() {
            let own = parameter.part == part && parameter.kind == ParameterKind::Trainable;
            assert_eq!(gradients.get(&parameter.var).is_some(), own, "{}", parameter.name);
        }
    }
    let units = Unit::of(&IN_TWO.network(), &IN_TWO.objective(), Order::Batch);
    assert_eq!(units, [Unit::Block(1), Unit::Block(2)]);
}

/// Training block after block, or all blocks one step at a time, on one thread or two, gives the same bytes.
#[test]
fn order_and_threads_do_not_change_a_bit() {
    let images = few_images();
    let train = |case: Case, in_some_order: fn(&mut CaseTrainer)| {
        let mut trainer = case.trainer(&images, CONFIG);
        in_some_order(&mut trainer);
        bits(trainer.network())
    };
    let block_after_block = |trainer: &mut CaseTrainer| {
        for unit in 0..trainer.units().len() {
            while !trainer.is_done(unit) {
                trainer.step_unit(unit).unwrap();
            }
        }
    };
    let interleaved = |trainer: &mut CaseTrainer| {
        while !trainer.is_done(0) {
            for unit in (0..trainer.units().len()).rev() {
                trainer.step_unit(unit).unwrap();
            }
        }
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for case in [PER_BLOCK, IN_TWO] {
        let expected = train(case, block_after_block);
        assert_eq!(expected, train(case, interleaved));
        assert_eq!(expected, pool(1).install(|| train(case, block_after_block)));
        assert_eq!(expected, pool(2).install(|| train(case, interleaved)));
    }
}

/// Features of a frozen encoder are computed once, so augmentation would have no effect. Settings that must fit the images are
/// checked before the first step.
#[test]
fn changes_that_cannot_be_made_are_refused() {
    let refused = |encoder, augment: &str| {
        let config = TrainConfig { augment: augment.parse().unwrap(), ..CONFIG };
        let case = Case { encoder, ..PER_BLOCK };
        let (network, objective) = (case.network(), case.objective());
        let refused = Trainer::new(network, objective, &few_images(), config, Seed(1)).err();
        refused.unwrap().to_string()
    };
    let frozen = refused(EncoderKind::Frozen, "flip");
    assert!(frozen.starts_with("augment must be none where the encoder is frozen"), "{frozen}");
    let far = refused(EncoderKind::Shared, "shift:14");
    assert!(far.contains("at most 13 pixels for images of 28 x 28"), "{far}");
}

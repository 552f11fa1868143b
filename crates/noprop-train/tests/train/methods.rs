//! The guarantees of every method: all its parameters are trained, a repeated training gives the same bits, and classification
//! never uses a label.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use noprop_data::{Dataset, Split, epoch_order};
use noprop_method::{
    Denoiser, EncoderKind, Losses, Method, MethodKind, ParameterKind, Part, Pass, Readout, Sampler,
    SamplerKind, Seed, Targets,
};
use noprop_models::{Backbone, Embedding, Network};
use noprop_train::{ClassWeights, Loss, Order, Outcome, Progress, TrainConfig, evaluate};

use crate::case::{BLOCKS, Case, LEARNED, ONEHOT, by_cross_entropy, case};
use crate::support::{self, CPU, bits, blockwise, few_images, go_on, model, new_run};

const CONFIG: TrainConfig = TrainConfig { warmup_steps: 2, ..support::CONFIG };

const fn by_bayes_rule(case: Case) -> Case {
    Case { readout: Readout::Bayes, ..case }
}

const fn by_posterior(case: Case) -> Case {
    Case { readout: Readout::Posterior { sigma: 0.5 }, ..case }
}

const fn in_two(case: Case) -> Case {
    Case { intervals: 2, ..case }
}

const fn in_turn(case: Case) -> Case {
    Case { order: Order::Paper, ..case }
}

const fn with(backbone: Backbone, case: Case) -> Case {
    Case { backbone, ..case }
}

const MLP: Backbone = Backbone::Mlp { width: 32, depth: 2 };
const RESNET: Backbone = Backbone::Resnet { width: 4 };
const VIT: Backbone = Backbone::Vit { width: 32, depth: 1, patch: 7 };

const CASES: [Case; 49] = {
    use Embedding::{Onehot, Prototype};
    use EncoderKind::{Frozen, PerBlock, Shared};
    const DT: MethodKind = MethodKind::DT;
    const CT: MethodKind = MethodKind::CT;
    const FM: MethodKind = MethodKind::FM;
    [
        case(CT, PerBlock, Onehot),
        case(CT, Shared, LEARNED),
        case(CT, PerBlock, Prototype),
        in_two(case(CT, PerBlock, Onehot)),
        in_two(case(CT, Shared, LEARNED)),
        by_bayes_rule(case(CT, PerBlock, Onehot)),
        by_bayes_rule(case(CT, PerBlock, LEARNED)),
        case(FM, PerBlock, Onehot),
        in_two(case(FM, PerBlock, Onehot)),
        in_two(case(FM, Shared, Onehot)),
        case(FM, Shared, LEARNED),
        in_two(case(FM, PerBlock, LEARNED)),
        case(FM, PerBlock, Prototype),
        case(DT, PerBlock, Onehot),
        case(DT, Shared, Onehot),
        case(DT, Frozen, Onehot),
        case(DT, Shared, LEARNED),
        case(DT, PerBlock, LEARNED),
        case(DT, Shared, Prototype),
        case(DT, PerBlock, Prototype),
        by_posterior(case(CT, PerBlock, Onehot)),
        by_posterior(case(CT, Shared, LEARNED)),
        by_posterior(case(DT, PerBlock, Onehot)),
        by_posterior(case(DT, Shared, LEARNED)),
        by_bayes_rule(case(DT, Shared, LEARNED)),
        by_bayes_rule(case(DT, PerBlock, Onehot)),
        by_cross_entropy(case(DT, PerBlock, Onehot)),
        by_cross_entropy(case(DT, Shared, LEARNED)),
        by_cross_entropy(case(CT, PerBlock, Onehot)),
        by_cross_entropy(in_two(case(CT, Shared, LEARNED))),
        in_turn(case(DT, PerBlock, Onehot)),
        in_turn(case(DT, Shared, LEARNED)),
        in_turn(case(DT, PerBlock, Prototype)),
        case(MethodKind::BACKPROP, PerBlock, Onehot),
        case(MethodKind::BACKPROP, Shared, LEARNED),
        case(MethodKind::BACKPROP, Shared, Prototype),
        case(MethodKind::ADJOINT, PerBlock, Onehot),
        case(MethodKind::ADJOINT, Shared, LEARNED),
        with(MLP, case(DT, PerBlock, Onehot)),
        with(RESNET, case(DT, PerBlock, Onehot)),
        with(RESNET, case(DT, Shared, Prototype)),
        with(VIT, case(DT, Shared, LEARNED)),
        with(VIT, in_two(case(CT, PerBlock, Onehot))),
        with(RESNET, case(FM, Shared, LEARNED)),
        with(MLP, case(FM, PerBlock, Onehot)),
        with(RESNET, case(MethodKind::BACKPROP, Shared, Onehot)),
        with(VIT, case(MethodKind::ADJOINT, Shared, Onehot)),
        case(MethodKind::CLASSIFIER, PerBlock, Onehot),
        case(MethodKind::CLASSIFIER, Shared, Onehot),
    ]
};

/// A schedule, an embedding or an encoder that no optimizer moves is a known fault. Where blocks take turns, one block moves in
/// each step.
#[test]
fn every_trainable_variable_moves_in_one_step() {
    let images = few_images();
    for case in CASES {
        let mut trainer = case.trainer(&images, CONFIG);
        let before = bits(trainer.network());
        let steps = if case.order == Order::Paper { trainer.steps_per_epoch() } else { 1 };
        trainer.steps(steps).unwrap();
        let after = bits(trainer.network());
        let parameters = trainer.network().parameters().iter();
        for (parameter, (old, new)) in parameters.zip(before.iter().zip(&after)) {
            if parameter.kind == ParameterKind::Trainable {
                assert!(old.1 != new.1, "{case:?}: {} did not move", parameter.name);
            }
        }
    }
}

/// Adam's first step is as long as the learning rate, so a readout that starts at zero moves by its learning rate. The setting
/// must not change any other part.
#[test]
fn the_readout_has_a_learning_rate_of_its_own() {
    let images = few_images();
    let case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
    let after_a_step = |readout_lr_scale| {
        let mut trainer = case.trainer(&images, TrainConfig { readout_lr_scale, ..CONFIG });
        trainer.step().unwrap();
        bits(trainer.network())
    };
    let (one, ten) = (after_a_step(1.0), after_a_step(10.0));
    for ((name, one), (_, ten)) in one.iter().zip(&ten) {
        if !name.starts_with("readout.") {
            assert!(one == ten, "{name}");
            continue;
        }
        for (one, ten) in one.iter().zip(ten) {
            let (one, ten) = (f32::from_bits(*one), f32::from_bits(*ten));
            assert!((ten / one - 10.0).abs() < 1e-3, "{name}: {one} {ten}");
        }
    }
}

/// In flow matching with trained embeddings, the anchor is added to the velocity's error. It is the cross-entropy of a readout
/// that starts at zero: the logarithm of the number of classes. With fixed embeddings there is no anchor.
#[test]
fn flow_matching_anchors_trained_embeddings_alone() {
    let images = few_images();
    for (embedding, anchor) in [(LEARNED, 10f32.ln()), (Embedding::Onehot, 0.0)] {
        let case = case(MethodKind::FM, EncoderKind::PerBlock, embedding);
        let (network, objective) = (case.network(), case.objective());
        let features = network
            .encode(Part::Block(1), &images.range(0..images.len()).unwrap(), Pass::Eval)
            .unwrap();
        let draws = Seed(1).at(0, 0);
        let loss = blockwise(&*objective)
            .block_loss(&network, 1, &features, (&images.labels).into(), draws)
            .unwrap();
        let value = |scalar: &Tensor| scalar.to_scalar::<f32>().unwrap();
        let added = value(&loss.loss) - value(&loss.error);
        assert!((added - anchor).abs() < 1e-4, "{embedding}: {added} {anchor}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let images = few_images();
    for case in CASES {
        let train = || {
            let mut trainer = case.trainer(&images, CONFIG);
            for _ in 0..3 {
                trainer.step().unwrap();
            }
            bits(trainer.network())
        };
        let on = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(train)
        };
        assert!(on(1) == on(2), "{case:?}");
    }
}

/// A training that is stopped in the middle of an epoch and resumed with a new trainer gives the same weights file, byte for
/// byte.
#[test]
fn stopped_and_resumed_gives_the_same_bytes() {
    let images = few_images();
    let dir = tempfile::tempdir().unwrap();
    // The number of steps after which the observer stops, and the step at which the training stops. Where blocks take turns of
    // three steps, this is in the second block's turn.
    let usual = |case: Case| {
        let stop = if case.order == Order::Paper { 5 } else { 2 };
        (case, CONFIG, stop, stop)
    };
    let augment = "flip+shift:2".parse().unwrap();
    let augmented =
        |encoder| (case(MethodKind::DT, encoder, ONEHOT), TrainConfig { augment, ..CONFIG }, 2, 2);
    // With batches of two images an epoch is long enough for blocks to make three steps in a call.
    let frozen = case(MethodKind::DT, EncoderKind::Frozen, ONEHOT);
    let averaged = |kind, embedding| {
        let config = TrainConfig { ema: Some(0.9), ..CONFIG };
        (case(kind, EncoderKind::PerBlock, embedding), config, 2, 2)
    };
    let others = [
        averaged(MethodKind::DT, ONEHOT),
        averaged(MethodKind::CT, LEARNED),
        averaged(MethodKind::BACKPROP, ONEHOT),
        augmented(EncoderKind::PerBlock),
        augmented(EncoderKind::Shared),
        (frozen, TrainConfig { batch_size: 2, ..CONFIG }, 2, 3),
    ];
    let all = CASES.map(usual).into_iter().chain(others);
    for (number, (case, config, asked, stop)) in all.enumerate() {
        let run = |name: &str| new_run(&dir.path().join(format!("{name}-{number}")));
        let (whole, halves) = (run("whole"), run("halves"));
        let session = |run, stop| go_on(&mut case.trainer(&images, config), run, &images, stop);
        session(&whole, u32::MAX);
        let stopped = session(&halves, asked);
        assert_eq!(stopped, Outcome::Stopped { epoch: 0, step: stop }, "{case:?}");
        assert!(Progress::read(&halves, "other").is_err(), "changed settings must be refused");
        assert!(matches!(session(&halves, u32::MAX), Outcome::Finished(_)));
        assert!(model(&whole) == model(&halves), "{case:?}");
    }
}

/// Evaluation that starts from the true label is a known fault: labels must not affect predictions.
#[test]
fn permuting_the_labels_leaves_every_prediction_unchanged() {
    let images = few_images();
    let mut shuffled = images.clone();
    let labels: Vec<u32> = images.labels.to_vec1::<u32>().unwrap().into_iter().rev().collect();
    shuffled.labels = Tensor::new(labels, &CPU).unwrap();
    for case in CASES {
        let (network, objective) = (case.network(), case.objective());
        for kind in [SamplerKind::Mean, SamplerKind::Stochastic] {
            let predictions = |split: &Split| {
                evaluate(&network, &*objective, split, &Sampler::once(kind)).unwrap().predictions
            };
            assert_eq!(predictions(&images), predictions(&shuffled), "{case:?} {kind}");
        }
    }
}

/// An image's weight multiplies only the image's contribution to a loss and to its gradients: with any weights, the result is
/// the sum over images of the weight times the contribution. Weights of 1 give the same bits as no weights, and the reported
/// error is not weighted.
#[test]
fn weights_multiply_what_each_image_gives_to_the_loss() {
    let weights = [0.5f32, 3.0, 0.0, 1.25];
    let images = few_images().select(&[0, 7, 11, 23]).unwrap();
    for case in CASES {
        let (network, objective) = (case.network(), case.objective());
        let graded = |weights: Option<[f32; 4]>| {
            let weights = weights.map(|weights| Tensor::new(&weights, &CPU).unwrap());
            let targets = Targets { labels: &images.labels, weights: weights.as_ref() };
            losses_and_gradients(&network, &*objective, &images, targets)
        };
        assert!(graded(None) == graded(Some([1.0; 4])), "{case:?}");
        // The contribution that does not depend on any image, such as the gradient of a constant.
        let none = graded(Some([0.0; 4]));
        let mut expected = none.numbers.clone();
        for (image, weight) in weights.into_iter().enumerate() {
            let mut alone = [0.0; 4];
            alone[image] = 1.0;
            let alone = graded(Some(alone)).numbers;
            for ((sum, alone), none) in expected.iter_mut().zip(alone).zip(&none.numbers) {
                *sum += weight * (alone - none);
            }
        }
        let found = graded(Some(weights));
        assert_eq!(found.errors, none.errors, "{case:?}");
        for (found, expected) in found.numbers.iter().zip(&expected) {
            let off = (found - expected).abs() / expected.abs().max(1.0);
            assert!(off < 1e-3, "{case:?}: {found} where {expected} is right");
        }
    }
}

#[derive(PartialEq)]
struct Graded {
    /// All losses and all their gradients.
    numbers: Vec<f32>,
    /// The errors that are reported for blocks.
    errors: Vec<f32>,
}

/// Returns the losses of the first block and of the readout, or of the chain, and their gradients in the whole network.
fn losses_and_gradients(
    network: &Network,
    objective: &dyn Method,
    images: &Split,
    targets: Targets<'_>,
) -> Graded {
    let draws = Seed(1).at(0, 0);
    let pixels = images.images().unwrap();
    let features = |block: usize| {
        let part = network.encoder_part(block);
        Ok(network.encode(part, &pixels, Pass::Train(draws.dropout(part)))?)
    };
    let mut graded = Graded { numbers: Vec::new(), errors: Vec::new() };
    let mut note = |loss: &Tensor, gradients: &GradStore| {
        graded.numbers.push(loss.to_scalar().unwrap());
        for parameter in network.parameters().iter() {
            if let Some(gradient) = gradients.get(&parameter.var) {
                let gradient = gradient.flatten_all().unwrap();
                graded.numbers.extend(gradient.to_vec1::<f32>().unwrap());
            }
        }
    };
    let method = match objective.losses() {
        Losses::Blockwise(method) => method,
        Losses::EndToEnd(method) => {
            let done = method.end_to_end(network, &features, targets, draws).unwrap();
            note(&done.loss, &done.gradients);
            return graded;
        }
    };
    let block = method.block_loss(network, 1, &features(1).unwrap(), targets, draws).unwrap();
    note(&block.loss, &block.loss.backward().unwrap());
    if let Some(readout) = method.readout_loss() {
        let readout = readout.loss(network, targets, draws).unwrap();
        note(&readout, &readout.backward().unwrap());
    }
    graded.errors.push(block.error.to_scalar().unwrap());
    graded
}

/// Computed by hand: of 14 images, five are of class 0 and one of each other class, so an image counts 14 / (10 · 5) or 14 /
/// 10. A readout that starts at zero has a cross-entropy of ln 10 for every image, so its first loss is ln 10 times the mean
/// weight of the first batch.
#[test]
fn balanced_weights_make_the_loss_that_is_worked_out_by_hand() {
    let rows: Vec<u32> = (0..5).chain((1..10).map(|class| class * 400)).collect();
    let images = Dataset::mnist_sample().unwrap().train.select(&rows).unwrap();
    let case = case(MethodKind::DT, EncoderKind::PerBlock, ONEHOT);
    let first_step = |class_weights| {
        let config = TrainConfig { batch_size: 7, class_weights, ..CONFIG };
        let reports = case.trainer(&images, config).step().unwrap();
        reports.into_iter().flat_map(|report| report.losses).collect::<Vec<_>>()
    };
    let weights = epoch_order(1, 0, rows.len()).into_iter().take(7).map(|image| match image {
        0..5 => 14.0 / 50.0,
        _ => 14.0 / 10.0,
    });
    let mean = weights.sum::<f64>() / 7.0;
    assert!((mean - 1.0).abs() > 0.05, "this batch would show nothing: {mean}");
    let (plain, balanced) = (first_step(ClassWeights::Uniform), first_step(ClassWeights::Balanced));
    let readout = |losses: &[Loss]| losses.last().unwrap().loss;
    assert!((readout(&plain) - 10f64.ln()).abs() < 1e-5);
    assert!((readout(&balanced) - mean * 10f64.ln()).abs() < 1e-5);
    for (plain, balanced) in plain.iter().zip(&balanced).take(BLOCKS) {
        assert!(plain.loss != balanced.loss && plain.error == balanced.error, "{}", plain.part);
    }
}

/// If the classes are already balanced, every weight is exactly 1 and changes no bit.
#[test]
fn balanced_data_train_to_the_bytes_of_uniform_weights() {
    let rows: Vec<u32> = (0..20).map(|i| i * 200).collect();
    let images = Dataset::mnist_sample().unwrap().train.select(&rows).unwrap();
    for case in CASES {
        let train = |class_weights| {
            let config = TrainConfig { class_weights, ..CONFIG };
            let mut trainer = case.trainer(&images, config);
            trainer.steps(2).unwrap();
            bits(trainer.network())
        };
        assert!(train(ClassWeights::Uniform) == train(ClassWeights::Balanced), "{case:?}");
    }
}

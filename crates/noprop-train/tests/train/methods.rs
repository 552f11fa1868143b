//! The guarantees of every method: all its parameters are trained, a repeated training gives the same bits, and classification
//! never uses a label.

use std::time::Duration;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use noprop_data::{Dataset, Split, epoch_order};
use noprop_method::{
    Denoiser, EncoderKind, LossWeight, Losses, Method, MethodKind, MethodSettings,
    ParameterBuilder, ParameterKind, Part, Pass, Readout, Sampler, SamplerKind, Seed, Solver,
    Targets, Time,
};
use noprop_models::{Embedding, ImageShape, Network, NetworkConfig};
use noprop_train::{
    ClassWeights, Existing, Fitting, Loss, Observer, Order, Outcome, Progress, RunDirectory,
    Silent, TrainConfig, Trainer, Unit, evaluate, fit,
};

use crate::support::{self, METHOD, StopAfter, bits, blockwise, few_images};

const BLOCKS: usize = 3;
const CONFIG: TrainConfig = TrainConfig { warmup_steps: 2, ..support::CONFIG };

/// A method and the form of its network.
#[derive(Debug, Clone, Copy)]
struct Case {
    kind: MethodKind,
    encoder: EncoderKind,
    embedding: Embedding,
    /// The number of blocks that share continuous time.
    intervals: usize,
    readout: Readout,
    order: Order,
}

const LEARNED: Embedding = Embedding::Learned { dimension: 6 };

const ONEHOT: Embedding = Embedding::Onehot;

const fn case(kind: MethodKind, encoder: EncoderKind, embedding: Embedding) -> Case {
    Case { kind, encoder, embedding, intervals: 1, readout: Readout::Softmax, order: Order::Batch }
}

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

const CASES: [Case; 31] = {
    use Embedding::{Onehot, Prototype};
    use EncoderKind::{PerBlock, Shared};
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
        in_turn(case(DT, PerBlock, Onehot)),
        in_turn(case(DT, Shared, LEARNED)),
        in_turn(case(DT, PerBlock, Prototype)),
        case(MethodKind::BACKPROP, PerBlock, Onehot),
        case(MethodKind::BACKPROP, Shared, LEARNED),
        case(MethodKind::BACKPROP, Shared, Prototype),
        case(MethodKind::ADJOINT, PerBlock, Onehot),
        case(MethodKind::ADJOINT, Shared, LEARNED),
    ]
};

impl Case {
    fn config(self) -> TrainConfig {
        TrainConfig { order: self.order, ..CONFIG }
    }

    fn network(self) -> Network {
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        let config = NetworkConfig::new(image, 10, self.objective().needs())
            .unwrap()
            .encoder(self.encoder)
            .embedding(self.embedding);
        let source = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        let network = Network::new(&config, source).unwrap();
        if self.embedding == Embedding::Prototype {
            let rows = few_images().images().unwrap().narrow(0, 0, 10).unwrap();
            network.start_embeddings_from(&rows.flatten_from(1).unwrap()).unwrap();
        }
        network
    }

    fn objective(self) -> Box<dyn Method> {
        let weights = [
            (MethodKind::CT, 1.0, LossWeight::Clipped(5.0)),
            (MethodKind::FM, 1.0, LossWeight::Snr),
        ];
        let (_, eta, loss_weight) = weights
            .into_iter()
            .find(|(kind, ..)| *kind == self.kind)
            .unwrap_or((self.kind, 0.1, LossWeight::Uniform));
        let discrete = self.kind.time == Time::Discrete;
        let settings = MethodSettings {
            steps: if discrete { BLOCKS } else { 4 },
            solver: (self.kind == MethodKind::FM).then_some(Solver::HEUN),
            intervals: self.intervals,
            eta,
            loss_weight,
            readout: self.readout,
            ..METHOD
        };
        self.kind.build(&settings).unwrap()
    }
}

/// A schedule or an embedding that no optimizer moves is a known fault. Where blocks take turns, one block moves in each step.
#[test]
fn every_trainable_variable_moves_in_one_step() {
    let images = few_images();
    for case in CASES {
        let (network, objective) = (case.network(), case.objective());
        let before = bits(&network);
        let config = case.config();
        let mut trainer = Trainer::new(&network, &*objective, &images, config, Seed(1)).unwrap();
        let steps = match case.order {
            Order::Batch => 1,
            Order::Paper => trainer.steps_per_epoch(),
        };
        for _ in 0..steps {
            trainer.steps(1).unwrap();
        }
        drop(trainer);
        let after = bits(&network);
        for (parameter, (old, new)) in network.parameters().iter().zip(before.iter().zip(&after)) {
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
    let objective = case.objective();
    let after_a_step = |readout_lr_scale| {
        let network = case.network();
        let config = TrainConfig { readout_lr_scale, ..CONFIG };
        let mut trainer = Trainer::new(&network, &*objective, &images, config, Seed(1)).unwrap();
        trainer.steps(1).unwrap();
        drop(trainer);
        bits(&network)
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

/// Blocks of flow matching share nothing. Each is a unit, its loss reaches only its own parameters, and the order of the
/// blocks' steps does not matter.
#[test]
fn blocks_with_an_interval_each_never_meet() {
    let case = Case { intervals: 2, ..case(MethodKind::FM, EncoderKind::PerBlock, ONEHOT) };
    let (images, objective) = (few_images(), case.objective());
    let network = case.network();
    assert_eq!(Unit::of(&network, &*objective, Order::Batch), [Unit::Block(1), Unit::Block(2)]);
    let draws = Seed(1).at(0, 0);
    let pixels = images.images().unwrap();
    for block in [1, 2] {
        let pass = Pass::Train(draws.dropout(Part::Block(block)));
        let features = network.encode(Part::Block(block), &pixels, pass).unwrap();
        let loss = blockwise(&*objective).block_loss(
            &network,
            block,
            &features,
            (&images.labels).into(),
            draws,
        );
        let gradients = loss.unwrap().loss.backward().unwrap();
        for parameter in network.parameters().iter() {
            let own = parameter.part == Part::Block(block);
            assert_eq!(gradients.get(&parameter.var).is_some(), own, "{}", parameter.name);
        }
    }
    let train = |turns: &[usize]| {
        let network = case.network();
        let mut trainer = Trainer::new(&network, &*objective, &images, CONFIG, Seed(1)).unwrap();
        for &unit in turns {
            trainer.step_unit(unit).unwrap();
        }
        drop(trainer);
        bits(&network)
    };
    assert!(train(&[0, 0, 0, 1, 1, 1]) == train(&[1, 0, 1, 1, 0, 0]));
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
            let (network, objective) = (case.network(), case.objective());
            let mut trainer =
                Trainer::new(&network, &*objective, &images, case.config(), Seed(1)).unwrap();
            for _ in 0..3 {
                trainer.steps(1).unwrap();
            }
            drop(trainer);
            bits(&network)
        };
        let on = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(train)
        };
        assert!(on(1) == on(2), "{case:?}");
    }
}

#[test]
fn stopped_and_resumed_gives_the_same_bytes() {
    let images = few_images();
    let dir = tempfile::tempdir().unwrap();
    for (number, case) in CASES.into_iter().enumerate() {
        let objective = case.objective();
        let session = |run: &RunDirectory, progress: Progress, observer: &mut dyn Observer| {
            let network = case.network();
            let mut trainer =
                Trainer::new(&network, &*objective, &images, case.config(), Seed(1)).unwrap();
            if progress.step > 0 {
                progress.restore(run, &mut trainer).unwrap();
            }
            let sampler = Sampler::once(SamplerKind::Mean);
            let fitting = Fitting {
                run,
                validation: &images,
                sampler,
                metadata: "{}",
                save_every: Duration::MAX,
            };
            fit(&mut trainer, &fitting, progress, observer).unwrap()
        };
        let run = |name: &str| {
            let path = dir.path().join(format!("{name}-{number}"));
            RunDirectory::create(&path, Existing::Refuse, "").unwrap()
        };
        let (whole, halves) = (run("whole"), run("halves"));
        session(&whole, Progress::start("c"), &mut Silent);
        // Where blocks take turns of three steps, this stops in the second block's turn.
        let step = if case.order == Order::Paper { 5 } else { 2 };
        let stopped = session(&halves, Progress::start("c"), &mut StopAfter(step));
        assert_eq!(stopped, Outcome::Stopped { epoch: 0, step });
        let progress = Progress::read(&halves, "c").unwrap();
        session(&halves, progress, &mut Silent);
        let bytes = |run: &RunDirectory| std::fs::read(run.model()).unwrap();
        assert!(bytes(&whole) == bytes(&halves), "{case:?}");
    }
}

#[test]
fn permuting_the_labels_leaves_every_prediction_unchanged() {
    let images = few_images();
    let mut shuffled = images.clone();
    let labels: Vec<u32> = images.labels.to_vec1::<u32>().unwrap().into_iter().rev().collect();
    shuffled.labels = Tensor::new(labels, &Device::Cpu).unwrap();
    for case in CASES {
        let (network, objective) = (case.network(), case.objective());
        let predictions = |split: &Split| {
            let sampler = Sampler::once(SamplerKind::Stochastic);
            evaluate(&network, &*objective, split, &sampler).unwrap().predictions
        };
        assert_eq!(predictions(&images), predictions(&shuffled), "{case:?}");
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
            let weights = weights.map(|weights| Tensor::new(&weights, &Device::Cpu).unwrap());
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
    let objective = case.objective();
    let first_step = |class_weights| {
        let network = case.network();
        let config = TrainConfig { batch_size: 7, class_weights, ..CONFIG };
        let mut trainer = Trainer::new(&network, &*objective, &images, config, Seed(1)).unwrap();
        let reports = trainer.steps(1).unwrap().swap_remove(0);
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
            let (network, objective) = (case.network(), case.objective());
            let config = TrainConfig { class_weights, ..case.config() };
            let mut trainer =
                Trainer::new(&network, &*objective, &images, config, Seed(1)).unwrap();
            trainer.steps(2).unwrap();
            drop(trainer);
            bits(&network)
        };
        assert!(train(ClassWeights::Uniform) == train(ClassWeights::Balanced), "{case:?}");
    }
}

//! Every method keeps the promises: all of it trains, repeats to the bit, and never looks at a label.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::num::NonZeroU32;

use candle_core::{Device, Tensor};
use noprop_data::{Augmentation, Dataset, Split};
use noprop_method::{
    Adjoint, Backprop, ContinuousTime, Denoiser, DiscreteTime, EncoderKind, FlowMatching,
    Integration, LearnedSchedule, LossWeight, Objective, ParameterBuilder, ParameterKind, Part,
    Pass, Readout, Sampler, SamplerKind, Schedule, ScheduleKind, Seed, Solver,
};
use noprop_models::{Embedding, ImageShape, Network, NetworkConfig, Variant};
use noprop_train::{
    Control, Existing, Fitting, Observer, Outcome, Progress, RunDirectory, Silent, StepReport,
    TrainConfig, Trainer, Unit, evaluate, fit,
};

const BLOCKS: usize = 3;
const CONFIG: TrainConfig = TrainConfig {
    epochs: 2,
    batch_size: 8,
    optimizer: noprop_train::OptimizerKind::Adamw,
    lr: 2e-3,
    lr_decay: noprop_train::Decay::Cosine,
    warmup_steps: 2,
    weight_decay: 1e-3,
    augment: Augmentation::NONE,
};

/// A method, and what its network looks like.
#[derive(Debug, Clone, Copy)]
struct Case {
    variant: Variant,
    encoder: EncoderKind,
    embedding: Embedding,
    /// Blocks that share time between them, where it is continuous.
    intervals: usize,
    readout: Readout,
}

const LEARNED: Embedding = Embedding::Learned { dimension: 6 };

const ONEHOT: Embedding = Embedding::Onehot;

const fn case(variant: Variant, encoder: EncoderKind, embedding: Embedding) -> Case {
    Case { variant, encoder, embedding, intervals: 1, readout: Readout::Softmax }
}

const fn by_bayes_rule(case: Case) -> Case {
    Case { readout: Readout::Posterior, ..case }
}

const fn in_two(case: Case) -> Case {
    Case { intervals: 2, ..case }
}

const CASES: [Case; 24] = {
    use Embedding::{Onehot, Prototype};
    use EncoderKind::{PerBlock, Shared};
    use Variant::{Adjoint, Backprop, ContinuousTime, DiscreteTime, FlowMatching};
    [
        case(ContinuousTime, PerBlock, Onehot),
        case(ContinuousTime, Shared, LEARNED),
        case(ContinuousTime, PerBlock, Prototype),
        in_two(case(ContinuousTime, PerBlock, Onehot)),
        in_two(case(ContinuousTime, Shared, LEARNED)),
        by_bayes_rule(case(ContinuousTime, PerBlock, Onehot)),
        by_bayes_rule(case(ContinuousTime, PerBlock, LEARNED)),
        case(FlowMatching, PerBlock, Onehot),
        in_two(case(FlowMatching, PerBlock, Onehot)),
        in_two(case(FlowMatching, Shared, Onehot)),
        case(FlowMatching, Shared, LEARNED),
        in_two(case(FlowMatching, PerBlock, LEARNED)),
        case(FlowMatching, PerBlock, Prototype),
        case(DiscreteTime, Shared, LEARNED),
        case(DiscreteTime, PerBlock, LEARNED),
        case(DiscreteTime, Shared, Prototype),
        case(DiscreteTime, PerBlock, Prototype),
        by_bayes_rule(case(DiscreteTime, Shared, LEARNED)),
        by_bayes_rule(case(DiscreteTime, PerBlock, Onehot)),
        case(Backprop, PerBlock, Onehot),
        case(Backprop, Shared, LEARNED),
        case(Backprop, Shared, Prototype),
        case(Adjoint, PerBlock, Onehot),
        case(Adjoint, Shared, LEARNED),
    ]
};

impl Case {
    fn network(self) -> Network {
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        let blocks = match self.variant {
            Variant::DiscreteTime | Variant::Backprop => BLOCKS,
            Variant::ContinuousTime | Variant::FlowMatching | Variant::Adjoint => self.intervals,
        };
        let config = NetworkConfig::new(image, 10, blocks)
            .unwrap()
            .encoder(self.encoder)
            .embedding(self.embedding)
            .readout(self.readout)
            .variant(self.variant);
        let source = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        let network = Network::new(&config, source).unwrap();
        if self.embedding == Embedding::Prototype {
            let rows = few_images().images().unwrap().narrow(0, 0, 10).unwrap();
            network.start_embeddings_from(&rows.flatten_from(1).unwrap()).unwrap();
        }
        network
    }

    fn objective(self) -> Box<dyn Objective> {
        let with = |solver| Integration { solver, steps: NonZeroU32::new(4).unwrap() };
        match self.variant {
            Variant::DiscreteTime => {
                let schedule = Schedule::new(ScheduleKind::Cosine, BLOCKS).unwrap();
                let objective = DiscreteTime::new(schedule, 0.1, LossWeight::Uniform).unwrap();
                Box::new(objective.readout(self.readout))
            }
            Variant::ContinuousTime => {
                let weight = LossWeight::MinSnr(5.0);
                let whole = ContinuousTime::new(1.0, weight, with(Solver::Posterior)).unwrap();
                let builder = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
                let start = LearnedSchedule::new(&builder).unwrap();
                Box::new(whole.divided(self.intervals, &start).unwrap().readout(self.readout))
            }
            Variant::Backprop => Box::new(Backprop),
            Variant::Adjoint => Box::new(Adjoint::new(with(Solver::Euler)).unwrap()),
            Variant::FlowMatching => {
                let whole = FlowMatching::new(LossWeight::Snr, with(Solver::Heun)).unwrap();
                Box::new(whole.divided(self.intervals).unwrap())
            }
        }
    }
}

fn few_images() -> Split {
    let rows: Vec<u32> = (0..24).map(|i| i * 160).collect();
    Dataset::mnist_sample().unwrap().train.select(&rows).unwrap()
}

fn bits(network: &Network) -> Vec<(String, Vec<u32>)> {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    network
        .parameters()
        .iter()
        .map(|p| (p.name.clone(), values(&p.var).into_iter().map(f32::to_bits).collect()))
        .collect()
}

/// A schedule or an embedding that no optimizer moves is a known fault.
#[test]
fn every_trainable_variable_moves_in_one_step() {
    let images = few_images();
    for case in CASES {
        let (network, objective) = (case.network(), case.objective());
        let before = bits(&network);
        let mut trainer = Trainer::new(&network, &*objective, &images, CONFIG, Seed(1)).unwrap();
        trainer.advance_all(1).unwrap();
        drop(trainer);
        let after = bits(&network);
        for (parameter, (old, new)) in network.parameters().iter().zip(before.iter().zip(&after)) {
            if parameter.kind == ParameterKind::Trainable {
                assert!(old.1 != new.1, "{case:?}: {} did not move", parameter.name);
            }
        }
    }
}

/// Blocks of flow matching share nothing: each is a unit, its loss reaches it alone, and one may be trained before the other
/// or in turns with it.
#[test]
fn blocks_with_an_interval_each_never_meet() {
    let case = Case { intervals: 2, ..case(Variant::FlowMatching, EncoderKind::PerBlock, ONEHOT) };
    let (images, objective) = (few_images(), case.objective());
    let network = case.network();
    assert_eq!(Unit::of(&network, &*objective), [Unit::Block(1), Unit::Block(2)]);
    let draws = Seed(1).at(0, 0);
    let pixels = images.images().unwrap();
    for block in [1, 2] {
        let pass = Pass::Train(draws.dropout(Part::Block(block)));
        let features = network.encode(Part::Block(block), &pixels, pass).unwrap();
        let loss = objective.block_loss(&network, block, &features, &images.labels, draws);
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
            trainer.advance(unit).unwrap();
        }
        drop(trainer);
        bits(&network)
    };
    assert!(train(&[0, 0, 0, 1, 1, 1]) == train(&[1, 0, 1, 1, 0, 0]));
}

/// In flow matching with trained embeddings the anchor is added to the velocity's error: the cross-entropy of a readout that
/// starts at zero is the logarithm of the number of classes. With fixed embeddings there is none.
#[test]
fn flow_matching_anchors_trained_embeddings_alone() {
    let images = few_images();
    for (embedding, anchor) in [(LEARNED, 10f32.ln()), (Embedding::Onehot, 0.0)] {
        let case = case(Variant::FlowMatching, EncoderKind::PerBlock, embedding);
        let (network, objective) = (case.network(), case.objective());
        let features = network
            .encode(Part::Block(1), &images.range(0..images.len()).unwrap(), Pass::Eval)
            .unwrap();
        let draws = Seed(1).at(0, 0);
        let loss = objective.block_loss(&network, 1, &features, &images.labels, draws).unwrap();
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
                Trainer::new(&network, &*objective, &images, CONFIG, Seed(1)).unwrap();
            for _ in 0..3 {
                trainer.advance_all(1).unwrap();
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

struct StopAfter(u32);

impl Observer for StopAfter {
    fn step(&mut self, _: &[StepReport]) -> Control {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { Control::Stop } else { Control::Continue }
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
                Trainer::new(&network, &*objective, &images, CONFIG, Seed(1)).unwrap();
            if progress.step > 0 {
                progress.restore(run, &mut trainer).unwrap();
            }
            let sampler = Sampler::once(SamplerKind::Mean);
            let fitting = Fitting { run, validation: &images, sampler, metadata: "{}" };
            fit(&mut trainer, &fitting, progress, observer).unwrap()
        };
        let run = |name: &str| {
            let path = dir.path().join(format!("{name}-{number}"));
            RunDirectory::create(&path, Existing::Refuse, "").unwrap()
        };
        let (whole, halves) = (run("whole"), run("halves"));
        session(&whole, Progress::start("c"), &mut Silent);
        let stopped = session(&halves, Progress::start("c"), &mut StopAfter(2));
        assert_eq!(stopped, Outcome::Stopped { epoch: 0, step: 2 });
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

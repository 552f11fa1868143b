//! The examples of networks from outside noprop: they learn, a resume gives the same bits, and their weights are saved and
//! loaded.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use self::own_network::SmallCnn;
use self::var_map::Dense;
use crate::support::{bits, few_images, go_on, model, new_run};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarMap;
use noprop_data::{Dataset, Split};
use noprop_method::{
    BlockInput, Denoiser, EncoderKind, Method, ParameterBuilder, Parameters, Part, Pass, Sampler,
    SamplerKind, Seed,
};
use noprop_train::{
    Outcome, Progress, RunDirectory, TrainConfig, Trainer, WeightsError, evaluate, load_weights,
    save_weights,
};

#[path = "../../examples/own_network.rs"]
#[expect(dead_code, reason = "an example's main")]
mod own_network;
#[path = "../../examples/var_map.rs"]
#[expect(dead_code, reason = "an example's main")]
mod var_map;

fn cnn(seed: u64) -> SmallCnn {
    SmallCnn::new(ParameterBuilder::seeded(Seed(seed), &Device::Cpu)).unwrap()
}

fn train(network: &dyn Denoiser, objective: &dyn Method, images: &Split, steps: u32) {
    let config = TrainConfig { batch_size: 64, ..TrainConfig::default() };
    let mut trainer = Trainer::new(network, objective, images, config, Seed(1)).unwrap();
    trainer.steps(steps).unwrap();
}

fn accuracy(network: &dyn Denoiser, objective: &dyn Method, images: &Split) -> f64 {
    evaluate(network, objective, images, &Sampler::once(SamplerKind::Mean)).unwrap().accuracy()
}

/// The examples must show a network that learns: its accuracy must be far above chance, which is a tenth.
#[test]
fn the_examples_learn() {
    let data = Dataset::mnist_sample().unwrap();
    let test = data.test.select(&(0..300).collect::<Vec<_>>()).unwrap();
    let objective = own_network::objective().unwrap();
    let network = cnn(1);
    train(&network, &objective, &data.train, 60);
    let reached = accuracy(&network, &objective, &test);
    assert!(reached > 0.7, "small network: {reached}");

    let network = Dense::new(&VarMap::new()).unwrap();
    let objective = var_map::objective().unwrap();
    train(&network, &objective, &data.train, 60);
    let reached = accuracy(&network, &objective, &test);
    assert!(reached > 0.5, "dense network, from unseeded values: {reached}");
}

/// The saved state contains all values in candle-nn's layers, running statistics included. A training that was stopped in its
/// second epoch and resumed ends with the same bytes as one without a stop.
#[test]
fn stopped_and_resumed_a_network_of_candles_layers_ends_with_the_same_bytes() {
    let (dir, images) = (tempfile::tempdir().unwrap(), few_images());
    let objective = own_network::objective().unwrap();
    let part = |run: &RunDirectory, stop| {
        let network = cnn(1);
        let config = TrainConfig { epochs: 3, batch_size: 8, ..TrainConfig::default() };
        let mut trainer = Trainer::new(&network, &objective, &images, config, Seed(1)).unwrap();
        let outcome = go_on(&mut trainer, run, &images, stop);
        (outcome, bits(&network))
    };
    let [whole, parts] = ["whole", "parts"].map(|name| new_run(&dir.path().join(name)));
    let (outcome, expected) = part(&whole, u32::MAX);
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    let (outcome, _) = part(&parts, 4);
    assert!(matches!(outcome, Outcome::Stopped { epoch: 1, step: 1 }), "{outcome:?}");
    let (outcome, resumed) = part(&parts, u32::MAX);
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    assert_eq!(resumed, expected);
    assert!(model(&whole) == model(&parts));
}

/// A network whose second block panics at its fifth step, on the thread that trains it.
struct Faulty {
    network: SmallCnn,
    steps: AtomicU32,
}

impl Denoiser for Faulty {
    fn blocks(&self) -> usize {
        self.network.blocks()
    }

    fn parameters(&self) -> &Parameters {
        self.network.parameters()
    }

    fn class_embeddings(&self) -> &Tensor {
        self.network.class_embeddings()
    }

    fn encoder(&self) -> EncoderKind {
        self.network.encoder()
    }

    fn encode(&self, part: Part, images: &Tensor, pass: Pass) -> Result<Tensor> {
        self.network.encode(part, images, pass)
    }

    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
        if input.block == 2 && input.pass.is_train() {
            assert_ne!(self.steps.fetch_add(1, Ordering::Relaxed), 4, "a fault of the network");
        }
        self.network.logits(input)
    }

    fn readout(&self, z: &Tensor) -> Result<Tensor> {
        self.network.readout(z)
    }
}

/// A panic in a block ends the training at once, on any number of threads. The last save is whole, and a training that goes on from it ends
/// with the same bytes.
#[test]
fn a_block_that_panics_costs_the_steps_since_the_last_save() {
    let (dir, images) = (tempfile::tempdir().unwrap(), few_images());
    let objective = own_network::objective().unwrap();
    let train = |network: &dyn Denoiser, run: &RunDirectory| {
        let config = TrainConfig { epochs: 3, batch_size: 8, ..TrainConfig::default() };
        let mut trainer = Trainer::new(network, &objective, &images, config, Seed(1)).unwrap();
        go_on(&mut trainer, run, &images, u32::MAX)
    };
    let [whole, broken] = ["whole", "broken"].map(|name| new_run(&dir.path().join(name)));
    train(&cnn(1), &whole);
    let faulty = Faulty { network: cnn(1), steps: AtomicU32::new(0) };
    let ended = catch_unwind(AssertUnwindSafe(|| train(&faulty, &broken)));
    assert!(ended.is_err());
    assert_eq!(Progress::read(&broken, "c").unwrap().epoch, 1);
    train(&cnn(1), &broken);
    assert!(model(&whole) == model(&broken));
}

/// Weights are loaded with the same bits into a network with other initial values. A file of another network changes nothing.
#[test]
fn weights_are_saved_and_loaded_in_place() {
    let (dir, images) = (tempfile::tempdir().unwrap(), few_images());
    let path = |name: &str| dir.path().join(name);
    let objective = own_network::objective().unwrap();
    let (trained, other) = (cnn(1), cnn(2));
    let config = TrainConfig { batch_size: 8, ..TrainConfig::default() };
    let mut trainer = Trainer::new(&trained, &objective, &images, config, Seed(1)).unwrap();
    trainer.steps(3).unwrap();
    save_weights(&path("a"), trained.parameters()).unwrap();
    assert_ne!(bits(&other), bits(&trained));
    load_weights(&path("a"), other.parameters()).unwrap();
    assert_eq!(bits(&other), bits(&trained));
    save_weights(&path("b"), other.parameters()).unwrap();
    assert!(fs::read(path("a")).unwrap() == fs::read(path("b")).unwrap());
    assert_eq!(accuracy(&trained, &objective, &images), accuracy(&other, &objective, &images));

    let dense = Dense::new(&VarMap::new()).unwrap();
    let before = bits(&dense);
    let refused = load_weights(&path("a"), dense.parameters());
    assert!(matches!(refused, Err(WeightsError::Mismatch { .. })), "{refused:?}");
    let missing = load_weights(Path::new("nowhere"), dense.parameters());
    assert!(matches!(missing, Err(WeightsError::Read { .. })), "{missing:?}");
    assert_eq!(bits(&dense), before);
}

/// The file that the map saves holds the weights that NoProp trained, and a training that starts from it gives the same bits
/// again.
#[test]
fn a_var_map_is_loaded_trained_and_saved() {
    let (dir, images) = (tempfile::tempdir().unwrap(), few_images());
    let path = |name: &str| dir.path().join(name);
    let objective = var_map::objective().unwrap();
    let mut map = VarMap::new();
    let network = Dense::new(&map).unwrap();
    map.save(path("start")).unwrap();
    let trained_from = |start: &str| {
        let mut map = VarMap::new();
        let network = Dense::new(&map).unwrap();
        map.load(path(start)).unwrap();
        let config = TrainConfig { batch_size: 8, ..TrainConfig::default() };
        let mut trainer = Trainer::new(&network, &objective, &images, config, Seed(1)).unwrap();
        trainer.steps(3).unwrap();
        map.save(path("end")).unwrap();
        bits(&network)
    };
    let trained = trained_from("start");
    assert_eq!(trained, trained_from("start"));
    assert_ne!(trained, bits(&network));
    map.load(path("end")).unwrap();
    assert_eq!(bits(&network), trained);
    assert!(network.parameters().iter().all(|parameter| parameter.var.dtype() == DType::F32));
}

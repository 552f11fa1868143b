//! Algorithm 1, in which blocks take turns, compared with training all blocks on every mini-batch.

use candle_core::Device;
use noprop_method::{
    Denoiser, DiscreteTime, EncoderKind, LossWeight, Method, ParameterBuilder, Part, Schedule,
    ScheduleKind, Seed,
};
use noprop_models::{Embedding, ImageShape, Network, NetworkConfig};
use noprop_train::{Decay, Order, TrainConfig, Trainer};

use crate::support::{CONFIG, few_images};

/// The number of blocks. It is a power of two, so that a product with it keeps the digits of a loss.
const BLOCKS: usize = 4;
/// The number of steps in a pass over 24 images in batches of 8.
const STEPS: usize = 3;

fn network(embedding: Embedding) -> Network {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let config = NetworkConfig::new(image, 10, objective(0.1).needs()).unwrap();
    let config = config.encoder(EncoderKind::PerBlock).embedding(embedding);
    Network::new(&config, ParameterBuilder::seeded(Seed(1), &Device::Cpu)).unwrap()
}

fn objective(eta: f64) -> DiscreteTime {
    let schedule = Schedule::new(ScheduleKind::Cosine, BLOCKS).unwrap();
    DiscreteTime::new(schedule, eta, LossWeight::Snr).unwrap()
}

/// Returns settings with a constant learning rate, so that a step does not depend on its position in the training.
fn config(order: Order) -> TrainConfig {
    TrainConfig { order, epochs: 1, lr_decay: Decay::Constant, warmup_steps: 0, ..CONFIG }
}

/// Returns the bits of the trainable parameters of `part`.
fn bits(network: &Network, part: Part) -> Vec<u32> {
    let parameters = network.parameters();
    parameters
        .trainable(&[part])
        .flat_map(|parameter| parameter.var.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        .map(f32::to_bits)
        .collect()
}

/// Blocks that share nothing learn from the same images with the same noise in both orders. The loss of a turn replaces T terms
/// of the sum, so it is multiplied by T. With η divided by T the blocks end with the same bytes. The readout makes a step in
/// each turn, so it ends with other values.
#[test]
fn with_fixed_embeddings_the_blocks_end_alike() {
    let images = few_images();
    let train = |order, eta| {
        let (network, objective) = (network(Embedding::Onehot), objective(eta));
        let trainer = Trainer::new(network, objective, &images, config(order), Seed(1));
        let mut trainer = trainer.unwrap();
        trainer.epoch().unwrap();
        trainer.into_network()
    };
    let batch = train(Order::Batch, 0.5);
    let paper = train(Order::Paper, 0.5 / BLOCKS as f64);
    for block in (1..=BLOCKS).map(Part::Block) {
        assert!(bits(&batch, block) == bits(&paper, block), "{block}");
    }
    assert_ne!(bits(&batch, Part::Readout), bits(&paper, Part::Readout));
}

/// Each turn is a pass over all mini-batches that moves one block, the readout and the embeddings.
#[test]
fn a_turn_moves_one_block_and_what_all_share() {
    let (images, objective) = (few_images(), objective(0.1));
    let network = network(Embedding::Learned { dimension: 6 });
    let blocks = [1, 2, 3, 4].map(Part::Block);
    let parts: Vec<Part> = blocks.into_iter().chain([Part::Readout, Part::Embedding]).collect();
    let state = || parts.iter().map(|&part| bits(&network, part)).collect::<Vec<_>>();
    let config = config(Order::Paper);
    let mut trainer = Trainer::new(&network, &objective, &images, config, Seed(1)).unwrap();
    assert_eq!(trainer.steps_per_epoch() as usize, BLOCKS * STEPS);
    for step in 0..BLOCKS * STEPS {
        let before = state();
        let reports = trainer.step().unwrap();
        let moved: Vec<bool> = before.iter().zip(state()).map(|(a, b)| *a != b).collect();
        let turn = step / STEPS;
        let expected = [turn == 0, turn == 1, turn == 2, turn == 3, true, true];
        assert_eq!(moved, expected, "step {step}");
        let report = &reports[0];
        assert_eq!((report.epoch, report.step as usize), (1, step + 1));
        let graded: Vec<Part> = report.losses.iter().map(|loss| loss.part).collect();
        assert_eq!(graded, [parts[turn], Part::Readout]);
    }
}

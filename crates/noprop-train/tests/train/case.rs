//! A method and its network, as most tests train them.

use candle_core::Device;
use noprop_data::Split;
use noprop_method::{
    BlockLossKind, EncoderKind, LossWeight, Method, MethodKind, MethodSettings, ParameterBuilder,
    Readout, ScheduleKind, Seed, Solver, Time,
};
use noprop_models::{Backbone, Embedding, ImageShape, Network, NetworkConfig};
use noprop_train::{Order, TrainConfig, Trainer};

use crate::support::{CPU, few_images};

pub type CaseTrainer = Trainer<Network, Box<dyn Method>>;

/// The number of blocks in discrete time.
pub const BLOCKS: usize = 3;

/// A method and the form of its network.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub kind: MethodKind,
    pub encoder: EncoderKind,
    pub backbone: Backbone,
    pub embedding: Embedding,
    /// The number of blocks that share continuous time.
    pub intervals: usize,
    pub readout: Readout,
    pub order: Order,
    pub block_loss: BlockLossKind,
}

pub const LEARNED: Embedding = Embedding::Learned { dimension: 6 };

pub const ONEHOT: Embedding = Embedding::Onehot;

pub const fn case(kind: MethodKind, encoder: EncoderKind, embedding: Embedding) -> Case {
    Case {
        kind,
        encoder,
        backbone: Backbone::Paper,
        embedding,
        intervals: 1,
        readout: Readout::Softmax,
        order: Order::Batch,
        block_loss: BlockLossKind::Squared,
    }
}

/// Returns the case with cross-entropy as the loss function of a block.
pub const fn by_cross_entropy(case: Case) -> Case {
    Case { block_loss: BlockLossKind::CrossEntropy, ..case }
}

impl Case {
    pub fn network(self) -> Network {
        self.network_on(&CPU)
    }

    /// Builds the network with fresh values. Embeddings that are images start as the first of [`few_images`].
    pub fn network_on(self, device: &Device) -> Network {
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        let config = NetworkConfig::new(image, 10, self.objective().needs()).unwrap();
        let config = config.encoder(self.encoder).backbone(self.backbone).embedding(self.embedding);
        let network = Network::new(&config, ParameterBuilder::seeded(Seed(1), device)).unwrap();
        if network.first_embeddings().is_some() {
            let starts = few_images().to_device(device).unwrap().range(0..10).unwrap();
            network.start_embeddings_from(&starts.flatten_from(1).unwrap()).unwrap();
        }
        network
    }

    /// Returns a trainer at the beginning of training. The order of the blocks is that of the case.
    pub fn trainer(self, images: &Split, config: TrainConfig) -> CaseTrainer {
        let config = TrainConfig { order: self.order, ..config };
        Trainer::new(self.network(), self.objective(), images, config, Seed(1)).unwrap()
    }

    pub fn objective(self) -> Box<dyn Method> {
        let common = MethodSettings {
            steps: BLOCKS,
            solver: None,
            intervals: self.intervals,
            schedule: ScheduleKind::Cosine,
            eta: 0.1,
            loss_weight: LossWeight::Uniform,
            block_loss: self.block_loss,
            readout: self.readout,
            path_noise: 0.0,
            seed: Seed(1),
        };
        let (eta, loss_weight) = (1.0, LossWeight::Clipped(5.0));
        let settings = match self.kind {
            kind if kind == MethodKind::FM => MethodSettings {
                steps: 5,
                solver: Some(Solver::HEUN),
                loss_weight: LossWeight::Snr,
                ..common
            },
            kind if kind.time == Time::Continuous => {
                MethodSettings { steps: 5, eta, loss_weight, ..common }
            }
            _ => common,
        };
        self.kind.build(&settings).unwrap()
    }
}

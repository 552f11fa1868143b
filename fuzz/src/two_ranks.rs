//! A training by two ranks, one of which receives changed messages.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use noprop_data::{Dataset, Split};
use noprop_experiment::candle_core::Device;
use noprop_experiment::{Backbone, Embedding, MethodKind};
use noprop_method::{
    BlockLossKind, EncoderKind, LossWeight, MethodSettings, ParameterBuilder, Readout, Sampler,
    SamplerKind, ScheduleKind, Seed,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{
    Engine, Existing, Fitting, Progress, Ranks, RanksError, RunDirectory, Silent, Traffic,
    TrainConfig, Trainer, Workers, fit,
};

/// The time after which a rank that waits for the other gives up: a changed message can let them make different calls.
const PATIENCE: Duration = Duration::from_millis(200);

/// Trains two blocks for a step by two ranks, one of which receives changed messages. Returns whether both came to the end. The first byte
/// chooses the rank and what blocks share, the others are the changes. `folder` is the run, again and again.
pub fn train(bytes: &[u8], folder: &Path) -> bool {
    thread_local! {
        static IMAGES: OnceCell<Split> = const { OnceCell::new() };
    }
    let Some((&choice, changes)) = bytes.split_first() else { return false };
    let embedding = match choice & 2 {
        0 => Embedding::Learned { dimension: 2 },
        _ => Embedding::Onehot,
    };
    let (first, second) = Rank::pair(usize::from(choice & 1), changes);
    let run = RunDirectory::create(folder, Existing::Replace, "", &[]).expect("a run");
    IMAGES.with(|images| {
        let images = images.get_or_init(|| {
            let sample = Dataset::mnist_sample().expect("the sample is part of the program");
            sample.train.select(&[0, 500, 1000, 1500]).expect("the sample has more images")
        });
        thread::scope(|scope| {
            let other = scope.spawn(|| take_part(embedding, Arc::new(second), images, &run));
            let one = take_part(embedding, Arc::new(first), images, &run);
            one & other.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    })
}

fn take_part(
    embedding: Embedding,
    ranks: Arc<dyn Ranks>,
    images: &Split,
    run: &RunDirectory,
) -> bool {
    let method = MethodKind::DT.build(&MethodSettings {
        steps: 2,
        solver: None,
        intervals: 1,
        schedule: ScheduleKind::Cosine,
        eta: 0.1,
        loss_weight: LossWeight::Uniform,
        block_loss: BlockLossKind::Squared,
        readout: Readout::Softmax,
        path_noise: 0.0,
        seed: Seed(1),
    });
    let method = method.expect("the settings are right");
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let config = NetworkConfig::new(shape, 10, method.needs()).expect("there are ten classes");
    let backbone = Backbone::Mlp { width: 4, depth: 1 };
    let config = config.encoder(EncoderKind::PerBlock).backbone(backbone).embedding(embedding);
    let network = Network::new(&config, ParameterBuilder::seeded(Seed(1), &Device::Cpu));
    let network = network.expect("the network is small");
    let config = TrainConfig { epochs: 1, batch_size: 4, ema: Some(0.9), ..TrainConfig::default() };
    let engine = Engine::Ranks { ranks, workers: Workers::Exactly(NonZeroUsize::MIN) };
    let trainer = Trainer::new(network, method, images, config, Seed(1));
    let mut trainer = trainer.expect("the settings are right").engine(engine);
    let sampler = Sampler::once(SamplerKind::Mean);
    let fitting = Fitting {
        run,
        validation: images,
        sampler,
        metadata: "{}",
        patience: None,
        save_every: Duration::MAX,
    };
    fit(&mut trainer, &fitting, Progress::start("c"), &mut Silent).is_ok()
}

/// One of two ranks, on a thread.
struct Rank {
    rank: usize,
    to: Sender<Vec<f32>>,
    from: Mutex<Receiver<Vec<f32>>>,
    /// The changes of what it receives.
    changes: Mutex<VecDeque<u8>>,
}

impl Rank {
    /// Two ranks. `receiver` receives changed messages.
    fn pair(receiver: usize, changes: &[u8]) -> (Self, Self) {
        let ((to_first, by_first), (to_second, by_second)) = (channel(), channel());
        let of = |rank| if rank == receiver { changes.to_vec() } else { Vec::new() };
        let rank = |rank, to, from| Self {
            rank,
            to,
            from: Mutex::new(from),
            changes: Mutex::new(of(rank).into()),
        };
        (rank(0, to_second, by_first), rank(1, to_first, by_second))
    }

    fn send(&self, mine: &[f32]) -> Result<(), RanksError> {
        self.to.send(mine.to_vec()).map_err(|_| RanksError::Gone(1 - self.rank))
    }

    /// The other's next message. The first byte of a change is the number of numbers to change, up to 7, and above that a number of numbers to
    /// add or to cut; two bytes are the place of a number, and four its value.
    fn hear(&self) -> Result<Vec<f32>, RanksError> {
        let from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = from.recv_timeout(PATIENCE);
        let mut message = heard.map_err(|_| RanksError::Gone(1 - self.rank))?;
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = || changes.pop_front().unwrap_or(0);
        match next() {
            changed @ 0..8 => {
                for _ in 0..changed {
                    let place = usize::from(u16::from_le_bytes([next(), next()]));
                    let value = f32::from_le_bytes([next(), next(), next(), next()]);
                    let count = message.len().max(1);
                    if let Some(number) = message.get_mut(place % count) {
                        *number = value;
                    }
                }
            }
            length => {
                let length = message.len().saturating_add_signed(isize::from(length as i8));
                message.resize(length, 1.0);
            }
        }
        Ok(message)
    }
}

impl Ranks for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        2
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        self.send(&mine)?;
        let other = self.hear()?;
        Ok(if self.rank == 0 { vec![mine, other] } else { vec![other, mine] })
    }

    fn gather_first(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        if self.rank == 0 {
            return Ok(vec![mine, self.hear()?]);
        }
        self.send(&mine)?;
        Ok(Vec::new())
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

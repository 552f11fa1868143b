//! The flags of `noprop train`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use noprop_experiment::{
    Augmentation, Backbone, BlockLossKind, Blocks, ClassWeights, Embedding, EmbeddingStart,
    EncoderKind, Existing, Layers, LossWeight, MethodKind, Moved, Normalize, Order, Precision,
    Preset, Readout, ScheduleKind, Settings, Solver, Source,
};

use super::{Compute, Distributed, moved};
use crate::values::{Seeds, Time, count, methods, normalizations, orders, path_parser, precisions};

#[derive(clap::Args)]
pub struct Train {
    /// Images to train on: mnist, fashion-mnist, cifar10, cifar100, mnist-sample, or folder:PATH for your own pictures in
    /// PATH/train/CLASS and PATH/test/CLASS (and PATH/val/CLASS to choose the epoch), or in PATH/CLASS with --split; without it
    /// MNIST if it is there, else the bundled sample. Beside --resume: where the run's own data are now
    #[arg(long)]
    pub dataset: Option<Source>,
    /// Side in pixels that the pictures of a folder are scaled to; without it they must be of one size
    #[arg(long, value_name = "PIXELS", conflicts_with = "resume")]
    pub image_size: Option<usize>,
    /// Share of the pictures in PATH/CLASS to test on, for a folder without train and test; the same pictures whatever the seed
    #[arg(long, value_name = "FRACTION", conflicts_with = "resume")]
    pub split: Option<f64>,
    /// Leave out files of a folder that are not pictures, and name them, instead of refusing the folder
    #[arg(long)]
    pub skip_bad: bool,
    /// Normalisation of every image; without it none
    #[arg(long, conflicts_with = "resume", value_parser = normalizations())]
    pub normalize: Option<Normalize>,
    /// Weights of the training images: uniform, or balanced, which gives every class the same total weight; without it uniform
    #[arg(long, value_name = "WEIGHTS", conflicts_with = "resume")]
    pub class_weights: Option<ClassWeights>,
    /// Random changes of training images: none, or some of these, joined by +: rotate:D turns each by up to D degrees either way,
    /// flip mirrors half of them, shift:N moves each by up to N pixels each way, and black comes in, crop:N moves each likewise, and
    /// the mirror image comes in, and cutout:S makes a square of S pixels a side black. They are made in this order
    #[arg(long, value_name = "CHANGES", conflicts_with = "resume")]
    pub augment: Option<Augmentation>,
    /// Folder that holds the data sets, one folder each; without it data, or beside --resume the run's own
    #[arg(long, env = "NOPROP_DATA_DIR", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: Option<PathBuf>,
    /// Run directory to write; without it the next free folder under runs
    #[arg(long, value_name = "DIR", conflicts_with = "resume", value_parser = path_parser())]
    pub out: Option<PathBuf>,
    /// Replace the run in --out; a folder that is not a run is never replaced
    #[arg(long, requires = "out", conflicts_with = "resume")]
    pub force: bool,
    /// Continue a stopped or killed run; its own settings hold. With --epochs N a finished run is trained further, to N epochs in
    /// all: the learning rate then goes on as in a training of N epochs, so with a cosine it rises again before it falls to 0
    #[arg(long, value_name = "RUN", value_parser = path_parser())]
    pub resume: Option<PathBuf>,
    /// Start from the weights of another run, whose settings of network and method hold unless flags, --config or --preset set
    /// them. Data and classes may be others: parameters that depend on the number of classes begin anew where that number differs
    #[arg(long, value_name = "RUN", conflicts_with = "resume", value_parser = path_parser())]
    pub init: Option<PathBuf>,
    /// Time after which the state is saved within an epoch too, such as 90s, 30m or 2h: a kill costs no more than that, and --resume
    /// goes on from there. A GPU saves only after epochs
    #[arg(long, value_name = "TIME", default_value = "3m")]
    pub save_every: Time,
    /// Time after which the training is saved and stopped as by Ctrl-C, such as 90s, 30m or 2h; --resume goes on with it
    #[arg(long, value_name = "TIME")]
    pub max_time: Option<Time>,
    /// Train these blocks alone, such as 3-5,8 or readout, for other processes to train the rest into the same --out; then
    /// `noprop merge`. Resumes blocks that are already partly trained. Blocks must share nothing that is trained: --encoder
    /// per-block or frozen, and fixed class embeddings
    #[arg(long, value_name = "LIST")]
    pub blocks: Option<Blocks>,
    /// Train as one of the processes that mpirun started, each with its share of the blocks; needs --out or --resume, and a
    /// noprop that was built with the feature mpi. The result does not depend on their number
    #[arg(long, value_enum, conflicts_with = "blocks")]
    pub distributed: Option<Distributed>,
    /// Blocks in training at a time, with the threads split among them; without it as many as keep all threads busy. The result
    /// does not depend on it. A GPU trains all blocks of dt in one call; with 1 it trains one after the other, in less memory and
    /// with other rounding
    #[arg(long, value_name = "N", value_parser = count::<NonZeroUsize>)]
    pub block_workers: Option<NonZeroUsize>,
    /// Named settings to start from: mnist, mnist-sample, resnet-mnist, resnet-fashion-mnist, resnet-cifar10, paper-mnist, or a row
    /// of the paper's Table 1: paper-DATA-METHOD with one-hot embeddings, or paper-DATA-METHOD-EMBEDDING. DATA is mnist, cifar10 or
    /// cifar100, METHOD is dt, ct, fm, backprop or adjoint, and EMBEDDING is learned20 or prototype, which adjoint does not
    /// have. Without it mnist-sample for the bundled sample and mnist for all other data, changed by what --method needs; noprop info
    /// RUN prints all settings of a run
    #[arg(long, conflicts_with = "resume")]
    pub preset: Option<Preset>,
    /// Settings from a file such as a run's config.toml; they beat the preset, and flags beat them
    #[arg(long, value_name = "FILE", conflicts_with = "resume", value_parser = path_parser())]
    pub config: Option<PathBuf>,
    /// Variant of NoProp
    #[arg(long, conflicts_with = "resume", value_parser = methods())]
    pub method: Option<MethodKind>,
    /// Image encoder: shared (one for all blocks), per-block (one each, as in the paper) or frozen (random, untrained)
    #[arg(long, conflicts_with = "resume")]
    pub encoder: Option<EncoderKind>,
    /// T, the number of blocks; for ct and fm the solver's steps when it classifies, for adjoint also in training
    #[arg(long, conflicts_with = "resume")]
    pub steps: Option<usize>,
    /// Solver that integrates time in ct, fm and adjoint: posterior (ct alone), euler or heun
    #[arg(long, conflicts_with = "resume")]
    pub solver: Option<Solver>,
    /// Steps of the solver when held-out images choose the epoch, if fewer than --steps are enough for that
    #[arg(long, value_name = "STEPS", conflicts_with = "resume")]
    pub validation_steps: Option<usize>,
    /// Blocks of ct and fm that share time between them, each owning an interval of it with an equal part of the loss; without
    /// it one, as in the paper
    #[arg(long, value_name = "B", conflicts_with = "resume")]
    pub intervals: Option<usize>,
    /// Deviation of z_t from the straight path of fm (Eq. 10); without it 0, since the paper gives no value
    #[arg(long, value_name = "SIGMA", conflicts_with = "resume")]
    pub path_noise: Option<f64>,
    /// Blocks of dt that learn from a mini-batch: batch (all of them) or paper (Algorithm 1: every epoch has a pass over the images for
    /// each block, and the readout and trained embeddings learn in each)
    #[arg(long, conflicts_with = "resume", value_parser = orders())]
    pub order: Option<Order>,
    /// Noise schedule: cosine, linear or notebook
    #[arg(long, conflicts_with = "resume")]
    pub schedule: Option<ScheduleKind>,
    /// Weight of each block's error: snr, the paper's; uniform; or clipped:NUMBER, the paper's but never more than NUMBER
    #[arg(long, conflicts_with = "resume")]
    pub loss_weight: Option<LossWeight>,
    /// Loss function of the blocks of dt and ct: squared, the paper's distance to the clean embedding, or cross-entropy of the block's
    /// class probabilities, with the same weights; without it squared
    #[arg(long, value_name = "LOSS", conflicts_with = "resume")]
    pub block_loss: Option<BlockLossKind>,
    /// Weight of the denoising term, for --loss-weight snr and clipped:NUMBER
    #[arg(long, conflicts_with = "resume")]
    pub eta: Option<f64>,
    /// Class embeddings: onehot, learned:D for a matrix with D columns that is trained, or prototype for one whose rows are images
    #[arg(long, conflicts_with = "resume")]
    pub embedding: Option<Embedding>,
    /// Start of trained class embeddings: orthogonal, random, or prototype, the most typical image of each class. Without it
    /// prototype for --embedding prototype, and else orthogonal, or random where there are more classes than numbers
    #[arg(long, conflicts_with = "resume")]
    pub embedding_start: Option<EmbeddingStart>,
    /// Step from the last embedding to a class: softmax, a trained layer (Eq. 14); posterior:SIGMA, the nearest embedding to where
    /// that layer points (Eqs. 15-16; posterior is posterior:0.5, a value of ours); or bayes, Bayes' rule over the class embeddings, with nothing to train
    #[arg(long, conflicts_with = "resume")]
    pub readout: Option<Readout>,
    /// Length of every one-hot class embedding, and of orthogonal and random starts; without it 1, but for fm a tenth of their dimension
    /// where that is more, and for --embedding prototype that of the class's prototype
    #[arg(long, value_name = "LENGTH", conflicts_with = "resume")]
    pub embedding_scale: Option<f64>,
    /// Layers of an image encoder: paper, three convolutions; mlp:W,D, dense layers; resnet:W, a residual network of eight convolutions
    /// with W to 8W channels; or vit:W,D,P, a vision transformer of D layers on patches of P pixels
    #[arg(long, conflicts_with = "resume")]
    pub network: Option<Backbone>,
    /// Share of activations that training drops in the convolutions of --network paper
    #[arg(long, conflicts_with = "resume")]
    pub dropout: Option<f64>,
    /// Rings of zeros around the input of each convolution of --network paper: 0, as in the paper, or 1, which loses no border
    #[arg(long, value_name = "RINGS", conflicts_with = "resume")]
    pub padding: Option<usize>,
    /// Training images held out to choose the epoch
    #[arg(long, conflicts_with = "resume")]
    pub validation: Option<usize>,
    /// Passes over the training images
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Images a step
    #[arg(long, conflicts_with = "resume")]
    pub batch_size: Option<usize>,
    /// Peak learning rate
    #[arg(long, conflicts_with = "resume")]
    pub lr: Option<f64>,
    /// Average the weights over the steps, with this rate of the exponential moving average, such as 0.99: at least 0 and below 1.
    /// The averages are then validated and kept, and the weights themselves are trained on; without it nothing is averaged
    #[arg(long, value_name = "RATE", conflicts_with = "resume")]
    pub ema: Option<f64>,
    /// Scale the gradients of a block, or of an encoder that blocks share, down to this Euclidean norm where theirs is greater; without
    /// it they are as they come
    #[arg(long, value_name = "NORM", conflicts_with = "resume")]
    pub clip_gradients: Option<f64>,
    /// End the training early, once this many epochs in a row were worse on the held-out images than the best before them. The learning
    /// rate is that of --epochs
    #[arg(long, value_name = "EPOCHS", conflicts_with = "resume", value_parser = count::<NonZeroU32>)]
    pub patience: Option<NonZeroU32>,
    /// Seed of everything random, 0 to 2^63 - 1
    #[arg(long, conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Train once with each of these seeds, such as 0..4 (0 to 3), 0..=4 (0 to 4) or 3,5, one after another into --out/seed-0 and so on,
    /// and compare the runs. The same command goes on with what is there
    #[arg(long, value_name = "SEEDS", requires = "out", conflicts_with_all = ["seed", "resume", "blocks", "distributed", "force"])]
    pub seeds: Option<Seeds>,
    /// Precision of the factors of products; without it f32
    #[arg(long, conflicts_with = "resume", value_parser = precisions())]
    pub precision: Option<Precision>,
    #[command(flatten)]
    pub compute: Compute,
    /// Also write events for TensorBoard into the run directory; a run that has some goes on with them. Read them with
    /// tensorboard --logdir runs
    #[arg(long, conflicts_with = "blocks")]
    pub tensorboard: bool,
    /// Also write what is printed to the end of this file, with times, and what --quiet leaves out; NOPROP_LOG adds diagnostics
    #[arg(long, value_name = "FILE", value_parser = path_parser())]
    pub log_file: Option<PathBuf>,
    /// Print nothing until the end, except warnings
    #[arg(long)]
    pub quiet: bool,
    /// Print the result as one JSON object, in which done is false if the training was stopped; with --seeds, a list that holds the summary of the runs, and is empty if they were stopped
    #[arg(long)]
    pub json: bool,
}

impl Train {
    /// The layers of the settings of a new training.
    pub fn layers(&self) -> Layers {
        let settings = Settings {
            dataset: self.dataset.clone(),
            image_size: self.image_size,
            split: self.split,
            skip_bad: self.skip_bad.then_some(true),
            normalize: self.normalize,
            validation: self.validation,
            method: self.method,
            steps: self.steps,
            solver: self.solver,
            validation_steps: self.validation_steps,
            intervals: self.intervals,
            schedule: self.schedule,
            eta: self.eta,
            path_noise: self.path_noise,
            loss_weight: self.loss_weight,
            block_loss: self.block_loss,
            encoder: self.encoder,
            network: self.network,
            dropout: self.dropout,
            padding: self.padding,
            embedding: self.embedding,
            embedding_start: self.embedding_start,
            readout: self.readout,
            embedding_scale: self.embedding_scale,
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr: self.lr,
            order: self.order,
            augment: self.augment,
            class_weights: self.class_weights,
            ema: self.ema,
            clip_gradients: self.clip_gradients,
            patience: self.patience,
            seed: self.seed,
            precision: self.precision,
            ..Settings::default()
        };
        let (preset, config, init) = (self.preset, self.config.clone(), self.init.clone());
        Layers { preset, config, init, settings }
    }

    /// The place of the data of the run in --resume.
    pub fn moved(&self) -> Moved {
        moved(&self.dataset, &self.data_dir, self.skip_bad)
    }

    /// The treatment of a run that is there.
    pub fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Refuse }
    }
}

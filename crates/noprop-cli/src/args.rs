//! The command line.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use noprop_data::DatasetName;
use noprop_data::fetch::Mirror;
use noprop_method::{EncoderKind, LossWeight, Readout, SamplerKind, ScheduleKind, Solver};
use noprop_models::{Embedding, EmbeddingStart};

use crate::config::{Method, Precision};
use crate::preset::Preset;
use crate::source::Source;

/// Train image classifiers without back-propagation across their blocks (NoProp).
#[derive(Parser)]
#[command(name = "noprop", version, propagate_version = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a network and test it once, at the end
    Train(Box<Train>),
    /// Classify the test images with a trained network
    Eval(Eval),
    /// Say which class pictures of your own belong to
    Predict(Predict),
    /// Draw the figures of a run into its folder; where time is continuous also accuracy against steps, which train leaves out
    Plot(Plot),
    /// Several finished runs in one table; runs that differ in their seed alone share a line
    Compare(Compare),
    /// Download a data set, verify it and unpack it
    Fetch(Fetch),
    /// Say what a run is: parameters, settings, data, accuracy
    Info(Info),
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The fastest that this build supports
    Auto,
    /// The processor
    Cpu,
}

/// What every command that computes takes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Compute {
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    /// Threads to use, all cores by default; the result does not depend on them
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
}

#[derive(clap::Args)]
pub struct Train {
    /// Images to train on: mnist, fashion-mnist, cifar10, cifar100, mnist-sample, or folder:PATH for pictures of your own in
    /// PATH/train/CLASS and PATH/test/CLASS; without it MNIST if it is there, else the bundled sample
    #[arg(long)]
    pub dataset: Option<Source>,
    /// Side in pixels that the pictures of a folder are scaled to; without it they must be of one size
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<usize>,
    /// Leave files of a folder out that are no pictures, and name them, instead of refusing
    #[arg(long)]
    pub skip_bad: bool,
    /// Folder that holds the data sets, one folder each
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Run directory to write; without it the next free folder under runs
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Replace the run in --out
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Continue a stopped run; its own settings hold
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Named settings to start from: mnist, mnist-sample, paper-mnist, or a row of the paper's Table 3 such as paper-mnist-dt
    /// or paper-cifar10-ct: mnist, cifar10 or cifar100 with dt, ct, fm or backprop
    #[arg(long, conflicts_with = "resume")]
    pub preset: Option<Preset>,
    /// Settings from a file such as a run's config.toml; they beat the preset, and flags beat them
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub config: Option<PathBuf>,
    /// Variant of NoProp
    #[arg(long)]
    pub method: Option<Method>,
    /// Who looks at the image: shared, per-block or frozen
    #[arg(long, value_parser = encoder)]
    pub encoder: Option<EncoderKind>,
    /// T, the number of blocks; for ct and fm the solver's steps when it classifies, for adjoint also in training
    #[arg(long)]
    pub steps: Option<usize>,
    /// How ct, fm and adjoint integrate time: posterior (ct alone), euler or heun
    #[arg(long)]
    pub solver: Option<Solver>,
    /// Blocks of ct and fm that share time between them, each owning an interval of it with an equal part of the loss; without
    /// it one, as in the paper
    #[arg(long, value_name = "B")]
    pub intervals: Option<usize>,
    /// Noise schedule: cosine, linear or notebook
    #[arg(long)]
    pub schedule: Option<ScheduleKind>,
    /// How much each block's error counts: snr, uniform, or min-snr:NUMBER, which clips snr
    #[arg(long)]
    pub loss_weight: Option<LossWeight>,
    /// Weight of the denoising term, for --loss-weight snr
    #[arg(long)]
    pub eta: Option<f64>,
    /// Class embeddings: onehot, learned:D for a matrix with D columns that is trained, or prototype for one whose rows are images
    #[arg(long)]
    pub embedding: Option<Embedding>,
    /// What trained class embeddings start from: orthogonal, random, or prototype, the most typical image of each class
    #[arg(long)]
    pub embedding_start: Option<EmbeddingStart>,
    /// How the last embedding becomes a class: softmax, a trained layer, or posterior, Bayes' rule over the class embeddings
    #[arg(long)]
    pub readout: Option<Readout>,
    /// Length of every one-hot class embedding, and of orthogonal and random starts
    #[arg(long, value_name = "LENGTH")]
    pub embedding_scale: Option<f64>,
    /// Share of activations that training drops in the image branch
    #[arg(long)]
    pub dropout: Option<f64>,
    /// Training images held out to choose the epoch
    #[arg(long)]
    pub validation: Option<usize>,
    /// Passes over the training images
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Images a step
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Peak learning rate
    #[arg(long)]
    pub lr: Option<f64>,
    /// Seed of everything random
    #[arg(long)]
    pub seed: Option<u64>,
    /// How dense layers multiply; without it f32
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    #[command(flatten)]
    pub compute: Compute,
    /// Say nothing until the end
    #[arg(long)]
    pub quiet: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Eval {
    /// Run directory of the trained network
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder that holds the data sets
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Images to test on; without it those the network was trained on
    #[arg(long)]
    pub dataset: Option<Source>,
    /// Leave files of a folder out that are no pictures, and name them, instead of refusing
    #[arg(long)]
    pub skip_bad: bool,
    /// mean leaves the chain's noise out, stochastic is the paper's
    #[arg(long, default_value_t = SamplerKind::Mean)]
    pub sampler: SamplerKind,
    /// Chains to average
    #[arg(long, default_value = "1")]
    pub runs: NonZeroU32,
    /// Steps of the solver, 1 to 1000, for ct, fm and adjoint; without it those of the run
    #[arg(long)]
    pub steps: Option<usize>,
    /// How ct, fm and adjoint integrate time: posterior (ct alone), euler or heun; without it as the run does
    #[arg(long)]
    pub solver: Option<Solver>,
    /// Seed of the chains' noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub compute: Compute,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Info {
    /// Run directory of the trained network
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Predict {
    /// Run directory of the trained network
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// PNG or JPEG pictures of any size, grey or colour
    #[arg(required = true, value_name = "PICTURE")]
    pub pictures: Vec<PathBuf>,
    /// For dark ink on light paper, where the network learned light on dark
    #[arg(long)]
    pub invert: bool,
    /// mean leaves the chain's noise out, stochastic is the paper's
    #[arg(long, default_value_t = SamplerKind::Mean)]
    pub sampler: SamplerKind,
    /// Chains to average
    #[arg(long, default_value = "1")]
    pub runs: NonZeroU32,
    /// Steps of the solver, 1 to 1000, for ct, fm and adjoint; without it those of the run
    #[arg(long)]
    pub steps: Option<usize>,
    /// How ct, fm and adjoint integrate time: posterior (ct alone), euler or heun; without it as the run does
    #[arg(long)]
    pub solver: Option<Solver>,
    /// Seed of the chains' noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub compute: Compute,
    /// Print one JSON object a picture
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Plot {
    /// Run directory of the trained network
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Folder that holds the data sets
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub compute: Compute,
    /// Print one JSON object with the paths of the figures
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Compare {
    /// Run directories
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Also draw errors over time, into this path with .png and .svg added
    #[arg(long, value_name = "PATH")]
    pub figure: Option<PathBuf>,
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Fetch {
    /// mnist, fashion-mnist, cifar10 or cifar100
    pub dataset: DatasetName,
    /// Take the files from this address, or from this folder, instead of the public mirrors
    #[arg(long, value_name = "URL-OR-DIR")]
    pub mirror: Option<Mirror>,
    /// Folder that holds the data sets, one folder each
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
}

fn encoder(name: &str) -> Result<EncoderKind, String> {
    match name {
        "shared" => Ok(EncoderKind::Shared),
        "per-block" => Ok(EncoderKind::PerBlock),
        "frozen" => Ok(EncoderKind::Frozen),
        _ => Err("choose one of shared, per-block, frozen".into()),
    }
}

//! The command line.

mod train;

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use noprop_experiment::reproduce::Target;
use noprop_experiment::{
    BadPictures, DatasetName, DeviceName, Half, License, Moved, SamplerKind, Sampling, Solver,
    Source,
};
use noprop_fetch::Mirror;

pub use self::train::Train;
use crate::values::{Time, count, half, path_parser, targets, threads};

/// Train image classifiers without back-propagation across their blocks (NoProp).
#[derive(Parser)]
#[command(
    name = "noprop",
    version,
    propagate_version = true,
    after_help = "Where a command reads a run, and does not write into it, RUN may also be a model on the Hugging Face hub: hf://OWNER/NAME, or hf://OWNER/NAME@REVISION."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a network and test it once, at the end
    #[command(allow_negative_numbers = true)]
    Train(Box<Train>),
    /// Classify the test images with a trained network, or those that it was trained on
    #[command(allow_negative_numbers = true)]
    Eval(Eval),
    /// Classify your own pictures
    #[command(allow_negative_numbers = true)]
    Predict(Predict),
    /// Write a run for other programs: as an ONNX file, or as a folder for the Hugging Face hub
    #[command(allow_negative_numbers = true)]
    Export(Export),
    /// Measure what each block of a run adds: the accuracy without it, up to it and with it alone, and of other orders and other noise
    #[command(allow_negative_numbers = true)]
    Ablate(Ablate),
    /// Draw the figures of a run into its folder; where time is continuous also accuracy against steps, which train leaves out
    #[command(allow_negative_numbers = true)]
    Plot(Plot),
    /// Compare finished runs in one table; runs that differ in their seed alone share a line
    Compare(Compare),
    /// Make a table or a figure of the paper again, with the paper's numbers beside ours
    ///
    /// Trains what is needed and not there yet, and writes a report. Ctrl-C stops it; the same command goes on from there.
    #[command(allow_negative_numbers = true)]
    Reproduce(Reproduce),
    /// Open a page that classifies, trains and shows runs, in a browser on this machine
    #[command(allow_negative_numbers = true)]
    Serve(Serve),
    /// Download a data set, verify it and unpack it
    Fetch(Fetch),
    /// Merge the blocks that `train --blocks` trained apart
    #[command(allow_negative_numbers = true)]
    Merge(Merge),
    /// Show which blocks of a training by `train --blocks` are done
    Status(Status),
    /// Show the parameters, settings, data and accuracy of a run
    Info(Info),
    /// Print the completions of a shell: a script that makes it complete the commands, flags and values of noprop
    Completions(Completions),
    /// Print the manual page of noprop or of one of its commands, for man: noprop man train | man -l -
    Man(Man),
}

impl Command {
    /// The runs that the command reads: directories, or addresses on the Hugging Face hub.
    pub fn runs_read(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Train(args) => args.init.iter_mut().collect(),
            Self::Eval(args) => args.run.named(),
            Self::Ablate(args) => args.run.named(),
            Self::Info(args) => args.run.named(),
            Self::Export(args) => args.run.named(),
            Self::Predict(args) => args.run.iter_mut().chain(args.paths.first_mut()).collect(),
            Self::Compare(args) => args.runs.iter_mut().collect(),
            Self::Serve(args) => args.run.iter_mut().collect(),
            // They write the run, or read none.
            _ => Vec::new(),
        }
    }
}

/// The transport between processes that train one network together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Distributed {
    /// The Message Passing Interface
    Mpi,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Words,
    Json,
}

impl Form {
    /// The form with the flag `--json`, or without it.
    pub fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Words }
    }
}

/// The arguments of every command that computes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Compute {
    /// Device: cpu, cuda, cuda:N or metal; auto takes a GPU if this noprop was built for one and it is there
    #[arg(long, default_value = "auto")]
    pub device: DeviceName,
    /// Threads to use, all cores by default; the result does not depend on them
    #[arg(long, value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

/// The run that a command reads, given in one of two ways.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Run {
    /// Run directory of the trained network
    #[arg(value_name = "RUN", value_parser = path_parser())]
    plain: Option<PathBuf>,
    /// The same as RUN
    #[arg(long = "run", value_name = "DIR", value_parser = path_parser())]
    flag: Option<PathBuf>,
}

impl Run {
    fn named(&mut self) -> Vec<&mut PathBuf> {
        self.plain.iter_mut().chain(&mut self.flag).collect()
    }
}

impl AsRef<Path> for Run {
    fn as_ref(&self) -> &Path {
        // clap requires one of the two.
        self.plain.as_deref().or(self.flag.as_deref()).unwrap_or(Path::new(""))
    }
}

/// The place of a run's data as flags name it.
pub fn moved(dataset: &Option<Source>, data_dir: &Option<PathBuf>, skip_bad: bool) -> Moved {
    let bad = if skip_bad { BadPictures::Skip } else { BadPictures::Refuse };
    Moved { dataset: dataset.clone(), data_dir: data_dir.clone(), bad }
}

/// The flags of a classification with a trained network.
#[derive(clap::Args)]
pub struct Classify {
    /// mean leaves the chain's noise out, stochastic is the paper's
    #[arg(long, default_value_t = SamplerKind::Mean)]
    sampler: SamplerKind,
    /// Chains to average
    #[arg(long, default_value = "1", value_parser = count::<NonZeroU32>)]
    runs: NonZeroU32,
    /// Steps of the solver, 1 to 1000, for ct, fm and adjoint; without it those of the run
    #[arg(long)]
    steps: Option<usize>,
    /// Solver that integrates time in ct, fm and adjoint: posterior (ct alone), euler or heun; without it that of the run
    #[arg(long)]
    solver: Option<Solver>,
}

impl Classify {
    /// Returns whether a flag asks for another classification than the usual one.
    pub fn is_asked_for(&self) -> bool {
        let &Self { sampler, runs, steps, solver } = self;
        sampler != SamplerKind::Mean || runs.get() != 1 || steps.is_some() || solver.is_some()
    }

    /// The sampling with a seed.
    pub fn sampling(&self, seed: u64) -> Sampling {
        let &Self { sampler: kind, runs, steps, solver } = self;
        Sampling { kind, runs, seed, solver, steps }
    }
}

#[derive(clap::Args)]
pub struct Eval {
    #[command(flatten)]
    pub run: Run,
    /// Folder that holds the data sets; without it the run's own
    #[arg(long, env = "NOPROP_DATA_DIR", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: Option<PathBuf>,
    /// Images to classify: train, those that the network was trained on; validation, those held out to choose the epoch; or test. Of
    /// data other than the run's own, train is all training images
    #[arg(long, default_value = Half::Test.name(), value_parser = half())]
    pub split: Half,
    /// Data set of the images, folder:PATH with PATH/train/CLASS, PATH/val/CLASS, and PATH/test/CLASS or else PATH/CLASS; classes are
    /// matched by name. Without it the run's own
    #[arg(long)]
    pub dataset: Option<Source>,
    /// Leave out files of a folder that are not pictures, and name them, instead of refusing the folder
    #[arg(long)]
    pub skip_bad: bool,
    #[command(flatten)]
    pub classify: Classify,
    /// Seed of the chains' noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also write the answer to every image, with the probabilities of all classes, into this file, as CSV
    #[arg(long, value_name = "FILE", value_parser = path_parser())]
    pub answers: Option<PathBuf>,
    #[command(flatten)]
    pub compute: Compute,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Ablate {
    #[command(flatten)]
    pub run: Run,
    /// Folder that holds the data sets; without it the run's own
    #[arg(long, env = "NOPROP_DATA_DIR", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: Option<PathBuf>,
    /// Images to classify: train, those that the network was trained on; validation, those held out to choose the epoch; or test
    #[arg(long, default_value = Half::Test.name(), value_parser = half())]
    pub split: Half,
    /// Data set of the images, as in eval; without it the run's own
    #[arg(long)]
    pub dataset: Option<Source>,
    /// Images to classify, drawn at random; without it all, and 1000 for ct, fm and adjoint
    #[arg(long, value_name = "N", value_parser = count::<NonZeroUsize>)]
    pub images: Option<NonZeroUsize>,
    #[command(flatten)]
    pub classify: Classify,
    /// Seed of the chains' noise; the chains from other noise have the next five seeds
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also draw accuracy by block, into this path with .png and .svg added
    #[arg(long, value_name = "PATH", value_parser = path_parser())]
    pub figure: Option<PathBuf>,
    #[command(flatten)]
    pub compute: Compute,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(clap::Args)]
pub struct Man {
    /// The command; without it noprop itself
    pub command: Option<String>,
}

#[derive(clap::Args)]
pub struct Info {
    #[command(flatten)]
    pub run: Run,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Merge {
    /// Run directory that all units were trained into
    #[arg(value_name = "DIR", value_parser = path_parser())]
    pub run: PathBuf,
    /// The place where the run's own data are now, if they were moved: folder:PATH
    #[arg(long)]
    pub dataset: Option<Source>,
    /// Folder that holds the data sets; without it the run's own
    #[arg(long, env = "NOPROP_DATA_DIR", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: Option<PathBuf>,
    /// Leave out files of a folder that are not pictures, and name them, instead of refusing the folder
    #[arg(long)]
    pub skip_bad: bool,
    #[command(flatten)]
    pub compute: Compute,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Status {
    /// Run directory that units are trained into
    #[arg(value_name = "DIR", value_parser = path_parser())]
    pub run: PathBuf,
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
#[command(override_usage = "noprop predict [OPTIONS] [RUN] <PICTURE>...
       noprop predict [OPTIONS] --run <DIR> <PICTURE>...")]
pub struct Predict {
    /// Run directory of the trained network, instead of the first PICTURE
    #[arg(long, value_name = "DIR", value_parser = path_parser())]
    pub run: Option<PathBuf>,
    /// Run directory of the trained network, unless --run names it; then PNG or JPEG pictures of any size, grey or colour,
    /// and folders of such pictures. Without a run the pretrained network for MNIST's digits answers
    #[arg(required = true, value_name = "PICTURE", value_parser = path_parser())]
    pub paths: Vec<PathBuf>,
    /// Invert the pictures, for dark ink on light paper where the network learned light ink on dark
    #[arg(long)]
    pub invert: bool,
    #[command(flatten)]
    pub classify: Classify,
    /// Seed of the chains' noise. Every picture gets the noise that eval gives to its first image, so eval may answer otherwise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub compute: Compute,
    /// Print one JSON object a picture
    #[arg(long)]
    pub json: bool,
}

/// A form of a run for other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The whole chain as one graph, from images and noise to class probabilities (docs/onnx.md)
    Onnx,
    /// A folder for the Hugging Face hub: weights, settings, and a model card with its figures. It is a run too, without the state that
    /// --resume needs
    Hub,
}

#[derive(clap::Args)]
pub struct Export {
    #[command(flatten)]
    pub run: Run,
    /// Format
    #[arg(long, value_enum)]
    pub format: Format,
    /// File to write; for hub a folder, which must not be there yet
    #[arg(long, value_name = "PATH", value_parser = path_parser())]
    pub out: PathBuf,
    /// Replace the file in --out
    #[arg(long)]
    pub force: bool,
    /// Licence of the weights in the model card of hub, as the hub writes it, such as mit or cc-by-4.0; without it unknown
    #[arg(long)]
    pub license: Option<License>,
    #[command(flatten)]
    pub classify: Classify,
    /// Print the inputs and outputs of the model as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Plot {
    #[command(flatten)]
    pub run: Run,
    /// The place where the run's own data are now, if they were moved: folder:PATH
    #[arg(long)]
    pub dataset: Option<Source>,
    /// Folder that holds the data sets; without it the run's own
    #[arg(long, env = "NOPROP_DATA_DIR", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub compute: Compute,
    /// Print one JSON object with the paths of the figures
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Compare {
    /// Run directories
    #[arg(required = true, value_name = "RUN", value_parser = path_parser())]
    pub runs: Vec<PathBuf>,
    /// Also draw errors over time, into this path with .png and .svg added
    #[arg(long, value_name = "PATH", value_parser = path_parser())]
    pub figure: Option<PathBuf>,
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Reproduce {
    /// Table or figure to reproduce
    #[arg(value_parser = targets())]
    pub what: Target,
    /// Images to train on, one or more data sets as in train; without it the paper's: mnist cifar10 cifar100
    #[arg(long, value_name = "DATA", num_args = 1..)]
    pub dataset: Vec<Source>,
    /// Rows to make, separated by commas, such as dt-onehot,fm-onehot; without it all
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Number of trainings of each row, with the seeds 0, 1, …; without it 3, and 1 for fig2
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub seeds: Option<u32>,
    /// Classifications of the test images with each training and sampler
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Epochs of every training; without it the paper's, which take days on a CPU, and one for table2
    #[arg(long, value_name = "N", conflicts_with = "budget", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: Option<u32>,
    /// Steps of the solver when ct, fm and adjoint classify; without it the paper's 1000, which take longer than a short training.
    /// Answers, and trainings of ct and fm, are kept apart by it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub eval_steps: Option<u32>,
    /// Time for all of it, such as 90s, 30m or 2h, instead of epochs: each row has an equal share, and at least one epoch
    #[arg(long, value_name = "TIME")]
    pub budget: Option<Time>,
    /// Folder for the report, its figures and the runs; reports that share it also share runs
    #[arg(long, default_value = "reproduced", value_name = "DIR", value_parser = path_parser())]
    pub out: PathBuf,
    /// Folder that holds the data sets, one folder each
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: PathBuf,
    /// Threads of each training, all cores by default; accuracy does not depend on them, memory does
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
    /// Do not show the progress of each training
    #[arg(long)]
    pub quiet: bool,
    /// Print the files and the rows as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(clap::Args)]
pub struct Serve {
    /// Run to begin with
    #[arg(long, value_name = "RUN", value_parser = path_parser())]
    pub run: Option<PathBuf>,
    /// Folder whose runs are shown, and that new runs are written into
    #[arg(long, default_value = "runs", value_name = "DIR", value_parser = path_parser())]
    pub runs: PathBuf,
    /// Folder that holds the data sets, one folder each
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: PathBuf,
    /// Folder of pictures that the page may train on, as folder:PATH; may be given several times
    #[arg(long = "data", value_name = "folder:PATH")]
    pub data: Vec<Source>,
    /// Port; 0 takes one that is free
    #[arg(long, default_value_t = 8737)]
    pub port: u16,
    /// Name or address by which other machines may reach the page, with a token that is printed; without it none can
    #[arg(long)]
    pub host: Option<String>,
    /// Open the page in the browser of this system
    #[arg(long)]
    pub open: bool,
    #[command(flatten)]
    pub compute: Compute,
}

#[derive(clap::Args)]
pub struct Fetch {
    /// mnist, fashion-mnist, cifar10 or cifar100
    pub dataset: DatasetName,
    /// Take the files from this address or folder instead of the public mirrors
    #[arg(long, value_name = "URL-OR-DIR")]
    pub mirror: Option<Mirror>,
    /// Folder that holds the data sets, one folder each
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR", value_parser = path_parser())]
    pub data_dir: PathBuf,
}

//! `noprop train`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use noprop_data::{BadPictures, Dataset, DatasetName, Presence, Split, hold_out, prototypes};
use noprop_method::{Denoiser, Objective, Seed};
use noprop_models::EmbeddingStart;
use noprop_train::{
    Evaluation, Event, Existing, FitReport, Fitting, MetricsLog, Outcome, Progress, RunDirectory,
    Trainer, evaluate, fit, peak_memory_bytes,
};

use crate::args::Train;
use crate::config::{Holdout, RunConfig};
use crate::images::Images;
use crate::preset::Preset;
use crate::progress::{self, Verbosity};
use crate::source::Source;
use crate::trained::Trained;
use crate::{model_card, plot};

/// Images that set a frozen encoder's statistics.
const CALIBRATION_IMAGES: usize = 1024;
/// KL(q(z_0|y) ‖ N(0, I)) in nats above which z_0 tells a good part of the label in training.
const KL_WARNING: f64 = 0.05;

pub fn run(args: &Train) -> Result<()> {
    let job = Job::prepare(args)?;
    let outcome = job.train(args)?;
    match outcome {
        Outcome::Stopped { epoch, step } => {
            let path = job.run.path().display();
            eprintln!(
                "stopped after {epoch} epoch(s) and {step} step(s); go on with: noprop train --resume {path}"
            );
            Ok(())
        }
        Outcome::Finished(report) => job.finish(args, &report),
    }
}

/// A training whose settings, data and run directory are known to be good.
struct Job {
    config: RunConfig,
    train: Split,
    validation: Split,
    test: Split,
    /// Training images that class embeddings start from, one a class, if they do.
    prototypes: Option<Vec<u32>>,
    objective: Box<dyn Objective>,
    run: RunDirectory,
    start: Start,
}

#[derive(PartialEq)]
enum Start {
    Fresh,
    Resumed,
}

impl Job {
    /// Checks everything before it makes a directory, so that a mistake leaves nothing behind.
    fn prepare(args: &Train) -> Result<Self> {
        let resumed = match &args.resume {
            Some(path) => {
                let run = RunDirectory::open_to_write(path)?;
                Some((RunConfig::of_run(&run.config())?, run))
            }
            None => None,
        };
        let (mut config, holdout, run) = match resumed {
            Some((config, run)) => (config, Holdout::Asked, Some(run)),
            None => {
                let (config, holdout) = RunConfig::resolve(preset(args), args)?;
                (config, holdout, None)
            }
        };
        let mut options = config.folder_options()?;
        if args.skip_bad {
            // Also where a run is resumed: it is then checked that the data are the same.
            options.bad = BadPictures::Skip;
        }
        let data = config.dataset.load(&args.data_dir, options)?;
        if holdout == Holdout::Usual && matches!(config.dataset, Source::Folder(_)) {
            // The presets' number is MNIST's; a folder may be much smaller.
            config.validation = config.validation.min(data.train.len().div_ceil(10));
        }
        let images = Images::of(&data)?;
        if run.is_some() {
            ensure!(
                config.images()?.same_data(&images),
                "the data under {} are not those that the run was started with",
                args.data_dir.display()
            );
        } else {
            config.with_images(images);
        }
        let (train, validation) = hold_out(&data.train, config.validation, config.seed)?;
        config.measure(&train)?;
        let Dataset { test, .. } = data;
        let (train, validation, test) =
            (config.seen(&train)?, config.seen(&validation)?, config.seen(&test)?);
        config.train().validate(train.len())?;
        config.train().check_augmentation(&train, config.encoder)?;
        let objective = config.objective()?;
        let (run, start, prototypes) = match run {
            Some(run) => (run, Start::Resumed, None),
            None => {
                let existing = if args.force { Existing::Replace } else { Existing::Refuse };
                let out = args.out.clone().unwrap_or_else(|| next_run(&config));
                // A network that cannot be built is refused before the directory is made.
                config.network(config.fresh())?;
                let prototypes = find_prototypes(&config, &train)?;
                let run = RunDirectory::create(&out, existing, &config.to_toml()?)?;
                (run, Start::Fresh, prototypes)
            }
        };
        Ok(Self { config, train, validation, test, prototypes, objective, run, start })
    }

    fn train(&self, args: &Train) -> Result<Outcome> {
        let config = &self.config;
        let network = config.network(config.fresh())?;
        if let Some(rows) = &self.prototypes {
            network.start_embeddings_from(&self.train.batch(rows)?.0.flatten_from(1)?)?;
        }
        self.warn_of_a_label_in_the_noise(&network)?;
        let identity = config.to_json()?;
        let progress = match self.start {
            Start::Resumed => Progress::read(&self.run, &identity)?,
            Start::Fresh => {
                network.calibrate_frozen_encoder(&self.train.range(0..CALIBRATION_IMAGES)?)?;
                Progress::start(&identity)
            }
        };
        let seed = Seed(config.seed);
        let mut trainer =
            Trainer::new(&network, &*self.objective, &self.train, config.train(), seed)?;
        if self.start == Start::Resumed {
            progress.restore(&self.run, &mut trainer)?;
        }
        let fitting = Fitting {
            run: &self.run,
            validation: &self.validation,
            sampler: config.sampler(),
            metadata: &identity,
        };
        let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
        let steps = trainer.steps_per_epoch();
        let done = u64::from(progress.epoch) * u64::from(steps) + u64::from(progress.step);
        let mut shown = progress::Progress::new(verbosity, config.epochs, steps, done)?;
        Ok(fit(&mut trainer, &fitting, progress, &mut shown)?)
    }

    /// The only place where a training reads the test images: once, with the weights that validation chose.
    fn finish(&self, args: &Train, report: &FitReport) -> Result<()> {
        let trained = Trained::open(self.run.path())?;
        let sampler = self.config.sampler();
        let test = evaluate(&trained.network, &*trained.objective, &self.test, &sampler)?;
        MetricsLog::open(&self.run.metrics(), u64::MAX)?.append(&Event::Test {
            best_epoch: report.best.epoch,
            sampler: sampler.kind.to_string(),
            accuracy: test.accuracy(),
            correct: test.correct as u64,
            total: test.total as u64,
            per_block: test.per_block.clone(),
            seconds: report.seconds,
            peak_memory_bytes: peak_memory_bytes(),
        })?;
        let card = model_card::text(&self.config, report, &test)?;
        self.run.write("README.md", card.as_bytes())?;
        plot::draw(&trained, &self.test, &test)?;
        self.print(args, report, &test);
        Ok(())
    }

    fn print(&self, args: &Train, report: &FitReport, test: &Evaluation) {
        if args.json {
            println!(
                "{}",
                serde_json::json!({
                    "run": self.run.path().to_string_lossy(),
                    "test_accuracy": test.accuracy(),
                    "validation_accuracy": report.best.accuracy(),
                    "best_epoch": report.best.epoch,
                    "seconds": report.seconds,
                    "peak_memory_bytes": peak_memory_bytes(),
                })
            );
        } else {
            println!(
                "test accuracy {:.2} % ({} of {}), weights of epoch {}, trained in {:.1} s\nrun {}, figures in its folder figures",
                100.0 * test.accuracy(),
                test.correct,
                test.total,
                report.best.epoch,
                report.seconds,
                self.run.path().display()
            );
        }
    }

    fn warn_of_a_label_in_the_noise(&self, network: &dyn Denoiser) -> Result<()> {
        let kl = self.objective.kl_to_prior(network)?;
        if kl > KL_WARNING {
            eprintln!(
                "warning: KL(q(z_0|y) || N(0, I)) is {kl:.2} nats with schedule {}: training starts from noise that still \
                 tells the label, classification does not; --schedule cosine has no such gap (docs/method.md)",
                self.config.schedule
            );
        }
        Ok(())
    }
}

/// The training images that class embeddings start from, if they start from images.
fn find_prototypes(config: &RunConfig, train: &Split) -> Result<Option<Vec<u32>>> {
    match config.embedding_start {
        Some(EmbeddingStart::Prototype) => {
            let classes = config.images()?.class_names.len();
            Ok(Some(prototypes(train, classes, config.seed)?))
        }
        Some(EmbeddingStart::Orthogonal | EmbeddingStart::Random) | None => Ok(None),
    }
}

/// The preset that was asked for, or the one of the data set.
fn preset(args: &Train) -> Preset {
    if let Some(preset) = args.preset {
        return preset;
    }
    // A config file that names its data set overrides this.
    let dataset = match &args.dataset {
        Some(Source::Known(name)) => *name,
        Some(Source::Folder(_)) => DatasetName::Mnist,
        None if args.config.is_some() => DatasetName::Mnist,
        None => find(&args.data_dir),
    };
    match dataset {
        DatasetName::MnistSample => Preset::MnistSample,
        // Other data sets share its settings until they have a preset of their own.
        _ => Preset::Mnist,
    }
}

/// MNIST if it is there, else the bundled sample, with a notice that nobody can miss.
fn find(data_dir: &Path) -> DatasetName {
    match DatasetName::Mnist.presence(data_dir) {
        Presence::Complete { .. } | Presence::Bundled => DatasetName::Mnist,
        Presence::Incomplete { folder, .. } => {
            eprintln!(
                "NOTICE: there is no MNIST in {}: this trains on the bundled sample of 5,000 images.\n\
                 NOTICE: for the real thing run `cargo xtask fetch-mnist` first.",
                folder.display()
            );
            DatasetName::MnistSample
        }
    }
}

/// The first free folder `runs/DATASET-METHOD-NUMBER`.
fn next_run(config: &RunConfig) -> PathBuf {
    let path = |number: u32| {
        let method = config.method.name();
        Path::new("runs").join(format!("{}-{method}-{number}", config.dataset.name()))
    };
    (1..).map(path).find(|path| !path.exists()).unwrap_or_else(|| path(0))
}

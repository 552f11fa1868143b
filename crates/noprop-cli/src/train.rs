//! `noprop train`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use noprop_data::hold_out;
use noprop_method::{ParameterBuilder, Seed};
use noprop_train::{
    Control, EpochReport, Event, Existing, Fitting, MetricsLog, Observer, Outcome, Progress,
    RunDirectory, StepReport, Trainer, evaluate, fit, peak_memory_bytes, read_weights,
};

use crate::args::{DatasetName, Output, Train};
use crate::config::{RunConfig, find, load};

/// Images that set a frozen encoder's statistics.
const CALIBRATION_IMAGES: usize = 1024;
/// KL(q(z_0|y) ‖ N(0, I)) in nats above which z_0 tells a good part of the label while training.
const KL_WARNING: f64 = 0.05;

pub fn run(args: &Train) -> Result<()> {
    if let Some(threads) = args.threads {
        noprop_kernels::threads::configure(threads)?;
    }
    let output = if args.json {
        Output::Json
    } else {
        Output::Text
    };
    let (config, run, resumed) = open(args)?;
    let data = load(config.dataset_name()?, &args.data_dir)?;
    let (train, validation) = hold_out(&data.train, config.validation, config.seed)?;
    let objective = config.objective()?;
    let network = config.network(&data, config.fresh())?;
    let kl = objective.kl_to_prior(noprop_method::Denoiser::class_embeddings(&network))?;
    if kl > KL_WARNING {
        eprintln!(
            "warning: with this schedule z_0 still tells {kl:.2} nats of the label in training but nothing at inference; \
             the cosine schedule has no such leak"
        );
    }
    let identity = config.to_json()?;
    let progress = if resumed {
        Progress::read(&run, &identity)?
    } else {
        let first = train
            .images
            .narrow(0, 0, CALIBRATION_IMAGES.min(train.len()))?;
        network.calibrate_frozen_encoder(&first)?;
        Progress::start(&identity)
    };
    let mut trainer = Trainer::new(
        &network,
        &objective,
        &train,
        config.train(),
        Seed(config.seed),
    )?;
    if resumed {
        progress.restore(&run, &mut trainer)?;
    }
    let fitting = Fitting {
        run: &run,
        validation: &validation,
        sampler: config.sampler(),
        metadata: &identity,
    };
    let mut watcher = Watcher::new(args.quiet, config.epochs)?;
    let report = match fit(&mut trainer, &fitting, progress, &mut watcher)? {
        Outcome::Finished(report) => report,
        Outcome::Stopped { epoch, step } => {
            let path = run.path().display();
            eprintln!(
                "stopped after {epoch} epochs and {step} steps; go on with: noprop train --resume {path}"
            );
            return Ok(());
        }
    };

    // The only place where a training reads the test images: once, with the weights that validation chose.
    let stored = read_weights(&run.model())?;
    let source = ParameterBuilder::stored(stored.tensors, &candle_core::Device::Cpu);
    let best = config.network(&data, source)?;
    let test = evaluate(&best, &objective, &data.test, &config.sampler())?;
    let event = Event::Test {
        best_epoch: report.best.epoch,
        sampler: config.sampler().kind.to_string(),
        accuracy: test.accuracy(),
        correct: test.correct as u64,
        total: test.total as u64,
        per_block: test.per_block.clone(),
        seconds: report.seconds,
        peak_memory_bytes: peak_memory_bytes(),
    };
    MetricsLog::open(&run.metrics(), u64::MAX)?.append(&event)?;
    match output {
        Output::Json => println!(
            "{}",
            serde_json::json!({
                "run": run.path(),
                "test_accuracy": test.accuracy(),
                "validation_accuracy": report.best.accuracy(),
                "best_epoch": report.best.epoch,
                "seconds": report.seconds,
                "peak_memory_bytes": peak_memory_bytes(),
            })
        ),
        Output::Text => println!(
            "test accuracy {:.2} % ({} of {}) with the weights of epoch {}, trained in {:.1} s; run: {}",
            100.0 * test.accuracy(),
            test.correct,
            test.total,
            report.best.epoch,
            report.seconds,
            run.path().display()
        ),
    }
    Ok(())
}

/// The settings and the run directory, and whether the run goes on from a saved state.
fn open(args: &Train) -> Result<(RunConfig, RunDirectory, bool)> {
    if let Some(path) = &args.resume {
        let run = RunDirectory::open_to_write(path)?;
        return Ok((RunConfig::read(&run.config())?, run, true));
    }
    let config = match &args.config {
        Some(path) => RunConfig::read(path)?,
        None => RunConfig::defaults(dataset(args)),
    }
    .with_flags(args);
    // Refuse bad settings before a directory is made.
    let data = load(config.dataset_name()?, &args.data_dir)?;
    let (train, _) = hold_out(&data.train, config.validation, config.seed)?;
    config.train().validate(train.len())?;
    config.objective()?;
    let existing = if args.force {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| next_run(&config.dataset));
    let text = toml::to_string_pretty(&config).context("cannot write the settings as TOML")?;
    Ok((config, RunDirectory::create(&out, existing, &text)?, false))
}

fn dataset(args: &Train) -> DatasetName {
    args.dataset.unwrap_or_else(|| {
        let found = find(&args.data_dir);
        if found == DatasetName::MnistSample {
            eprintln!(
                "NOTICE: no MNIST under {}: training on the bundled sample of 5,000 images.\n\
                 NOTICE: put the four MNIST files into {} for the real thing.",
                args.data_dir.display(),
                args.data_dir.join("mnist").display()
            );
        }
        found
    })
}

/// The first free folder `runs/DATASET-dt-NUMBER`.
fn next_run(dataset: &str) -> PathBuf {
    let path = |number| Path::new("runs").join(format!("{dataset}-dt-{number}"));
    (1..)
        .map(path)
        .find(|path| !path.exists())
        .unwrap_or_else(|| path(0))
}

/// Prints progress and listens for Ctrl-C.
struct Watcher {
    quiet: bool,
    epochs: u32,
    stop: Arc<AtomicBool>,
}

impl Watcher {
    fn new(quiet: bool, epochs: u32) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                // The second time: now. The last saved state is whole.
                std::process::exit(130);
            }
            eprintln!("finishing the step and saving; press Ctrl-C again to stop at once");
        })?;
        Ok(Self {
            quiet,
            epochs,
            stop,
        })
    }
}

impl Observer for Watcher {
    fn step(&mut self, _: &[StepReport]) -> Control {
        if self.stop.load(Ordering::SeqCst) {
            Control::Stop
        } else {
            Control::Continue
        }
    }

    fn epoch(&mut self, report: &EpochReport) {
        if self.quiet {
            return;
        }
        let blocks = report.losses.len().saturating_sub(1).max(1);
        let error: f64 = report
            .losses
            .iter()
            .take(blocks)
            .map(|loss| loss.error)
            .sum();
        eprintln!(
            "epoch {}/{}  block error {:.4}  validation {:.2} %  {:.0} images/s  {:.1} s",
            report.epoch,
            self.epochs,
            error / blocks as f64,
            100.0 * report.validation_accuracy,
            report.images_per_second,
            report.seconds
        );
    }
}

//! A training's settings and data, known to go together; and what stands at its end.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::Device;
use noprop_data::{BadPictures, Dataset, DatasetName, Presence, Split, hold_out, prototypes};
use noprop_method::{Denoiser, Objective};
use noprop_models::{EmbeddingStart, Network};
use noprop_train::{
    Evaluation, Event, FitReport, Hardware, MetricsLog, PeakMemory, RunDirectory, evaluate,
};

use crate::args::{Compute, Form, Train};
use crate::config::{Holdout, RunConfig};
use crate::images::{Images, bad_pictures};
use crate::output::{answer, note};
use crate::preset::Preset;
use crate::source::Source;
use crate::trained::Trained;
use crate::{model_card, plot};

/// Images that set a frozen encoder's statistics.
const CALIBRATION_IMAGES: usize = 1024;
/// KL(q(z_0|y) ‖ N(0, I)) in nats above which z_0 tells a good part of the label in training.
const KL_WARNING: f64 = 0.05;

/// Settings and data that are known to go together.
pub struct Task {
    pub config: RunConfig,
    pub train: Split,
    pub validation: Split,
    pub test: Split,
    pub objective: Box<dyn Objective>,
    /// Where images and network are.
    pub device: Device,
}

impl Task {
    /// What a command line asks for.
    pub fn asked(args: &Train) -> Result<Self> {
        let device = args.compute.device.open()?;
        let (mut config, holdout) = RunConfig::resolve(preset(args), args)?;
        let data = load(&config, &args.data_dir, bad_pictures(args.skip_bad))?;
        if holdout == Holdout::Usual && matches!(config.dataset, Source::Folder(_)) {
            // The presets' number is MNIST's; a folder may be much smaller.
            config.validation = config.validation.min(data.train.len().div_ceil(10));
        }
        config.with_images(Images::of(&data)?);
        Self::of(config, data, device)
    }

    /// What a run was started with.
    pub fn of_run(
        run: &RunDirectory,
        data_dir: &Path,
        bad: BadPictures,
        compute: Compute,
    ) -> Result<Self> {
        let device = compute.device.open()?;
        let config = RunConfig::of_run(&run.config())?;
        let data = load(&config, data_dir, bad)?;
        ensure!(
            config.images()?.same_data(&Images::of(&data)?),
            "the data under {} are not those that the run was started with",
            data_dir.display()
        );
        Self::of(config, data, device)
    }

    fn of(mut config: RunConfig, data: Dataset, device: Device) -> Result<Self> {
        let (train, validation) = hold_out(&data.train, config.validation, config.seed)?;
        config.measure(&train)?;
        let Dataset { test, .. } = data;
        let (train, validation, test) =
            (config.seen(&train)?, config.seen(&validation)?, config.seen(&test)?);
        let here = |split: Split| split.to_device(&device);
        let (train, validation, test) = (here(train)?, here(validation)?, here(test)?);
        config.train().validate(train.len())?;
        config.train().check_augmentation(&train, config.encoder)?;
        config.class_weights.of(&train, config.images()?.class_names.len())?;
        let objective = config.objective()?;
        Ok(Self { config, train, validation, test, objective, device })
    }

    /// The network as it is before training.
    pub fn network(&self) -> Result<Network> {
        let config = &self.config;
        let network = config.network(config.fresh(&self.device))?;
        if let Some(rows) = find_prototypes(config, &self.train)? {
            network.start_embeddings_from(&self.train.batch(&rows)?.0.flatten_from(1)?)?;
        }
        network.calibrate_frozen_encoder(&self.train.range(0..CALIBRATION_IMAGES)?)?;
        Ok(network)
    }

    /// The only place where a training reads the test images: once, with the weights that validation chose. `peak` is the most memory
    /// that training used, if this process trained.
    pub fn finish(
        &self,
        run: &RunDirectory,
        form: Form,
        report: &FitReport,
        peak: PeakMemory,
    ) -> Result<()> {
        let trained = Trained::open(run.path(), &self.device)?;
        let sampler = self.config.sampler();
        let test = evaluate(&trained.network, &*trained.objective, &self.test, &sampler)?;
        MetricsLog::open(&run.metrics(), u64::MAX)?.append(&Event::Test {
            best_epoch: report.best.epoch,
            sampler: sampler.kind.to_string(),
            accuracy: test.accuracy(),
            correct: test.correct as u64,
            total: test.total as u64,
            per_block: test.per_block.clone(),
            seconds: report.seconds,
            peak_memory_bytes: peak.process,
            peak_device_bytes: peak.device,
        })?;
        let card = model_card::text(&self.config, report, &test, &Hardware::with(&self.device))?;
        run.write("README.md", card.as_bytes())?;
        plot::draw(&trained, &self.test, &test)?;
        print(run, form, report, &test, peak)?;
        Ok(())
    }

    pub fn warn_of_a_label_in_the_noise(&self, network: &dyn Denoiser) -> Result<()> {
        let kl = self.objective.kl_to_prior(network)?;
        if kl > KL_WARNING {
            note!(
                "warning: KL(q(z_0|y) || N(0, I)) is {kl:.2} nats with schedule {}: training starts from noise that still \
                 tells the label, classification does not; --schedule cosine has no such gap (docs/method.md)",
                self.config.schedule
            );
        }
        Ok(())
    }
}

/// The answer of a training.
fn print(
    run: &RunDirectory,
    form: Form,
    report: &FitReport,
    test: &Evaluation,
    peak: PeakMemory,
) -> Result<()> {
    if form == Form::Json {
        let mut answer = serde_json::json!({
            "run": run.path().to_string_lossy(),
            "test_accuracy": test.accuracy(),
            "validation_accuracy": report.best.accuracy(),
            "best_epoch": report.best.epoch,
            "seconds": report.seconds,
            "peak_memory_bytes": peak.process,
        });
        if let Some(bytes) = peak.device {
            answer["peak_device_bytes"] = bytes.into();
        }
        answer!("{answer}")?;
    } else {
        answer!(
            "test accuracy {:.2} % ({} of {}), weights of epoch {}, trained in {:.1} s\nrun {}, figures in its folder figures",
            100.0 * test.accuracy(),
            test.correct,
            test.total,
            report.best.epoch,
            report.seconds,
            run.path().display()
        )?;
    }
    Ok(())
}

/// The data, where `bad` may be more lenient than the settings: it is checked that they are the same.
fn load(config: &RunConfig, data_dir: &Path, bad: BadPictures) -> Result<Dataset> {
    let mut options = config.folder_options()?;
    if bad == BadPictures::Skip {
        options.bad = bad;
    }
    config.dataset.load(data_dir, options)
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
            note!(
                "NOTICE: there is no MNIST in {}: this trains on the bundled sample of 5,000 images.\n\
                 NOTICE: for the real thing run `cargo xtask fetch-mnist` first.",
                folder.display()
            );
            DatasetName::MnistSample
        }
    }
}

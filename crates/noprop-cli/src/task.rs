//! A training's settings and data, known to go together; and what stands at its end.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use candle_core::{D, Device, Tensor};
use noprop_data::{
    BadPictures, Dataset, DatasetName, Duplicates, Half, Notice, Presence, Split, prototypes,
};
use noprop_method::Denoiser;
use noprop_models::{EmbeddingStart, Network};
use noprop_train::{
    Evaluation, Event, FitReport, Hardware, MetricsLog, PeakMemory, Progress, RunDirectory,
    evaluate,
};

use crate::args::{Compute, Form, Train};
use crate::config::{Method, RunConfig};
use crate::eval_images::absent_classes;
use crate::history::History;
use crate::images::{Images, bad_pictures};
use crate::init::Initial;
use crate::kept::{self, DATA_DIR, Kept, Place};
use crate::output::{answer, note};
use crate::part::Part;
use crate::preset::Preset;
use crate::progress::Verbosity;
use crate::shell::quoted;
use crate::source::{Source, announce};
use crate::trained::Trained;
use crate::{model_card, plot};

/// Images that set a frozen encoder's statistics.
const CALIBRATION_IMAGES: usize = 1024;
/// Remarks on the data that a model card holds.
const REMARKS: usize = 20;
/// KL(q(z_0|y) ‖ N(0, I)) in nats above which z_0 tells a good part of the label in training.
const KL_WARNING: f64 = 0.05;

/// Settings and data that are known to go together.
pub struct Task {
    pub config: RunConfig,
    pub train: Split,
    pub validation: Split,
    pub test: Split,
    pub objective: Box<dyn noprop_method::Method>,
    /// Where images and network are.
    pub device: Device,
    /// The record of the data that a run keeps: names of files and their content.
    pub record: Vec<(String, Vec<u8>)>,
    /// The settings that were fitted to the data, in words.
    chosen: Option<String>,
    notices: Vec<Notice>,
    /// Faults of the data that an accuracy must not be read without.
    faults: Vec<String>,
}

impl Task {
    /// The task that a command line asks for.
    pub fn asked(args: &Train) -> Result<Self> {
        let device = args.compute.device.open()?;
        let (mut config, asked) = RunConfig::resolve(preset(args)?, args)?;
        config.refuse_idle(args)?;
        let initial = config.init.as_ref().map(Initial::open).transpose()?;
        // The data of the run that the weights come from, unless others are named.
        let own = initial
            .as_ref()
            .filter(|initial| args.dataset.is_none() && initial.config.dataset == config.dataset);
        ensure!(
            own.is_none() || args.split.is_none(),
            "--split cannot be changed on the data of the run that the weights come from: other pictures would be tested on"
        );
        let place = match own {
            Some(initial) => Place::of_run(&config.dataset, &initial.kept, None, args.data_dir())?,
            None => Place::new(config.dataset.clone(), args.data_dir()),
        };
        let mut options =
            config.folder_options(own.and_then(|initial| initial.kept.listing.as_ref()))?;
        if let Some(initial) = &initial {
            initial.shape(&mut options)?;
        }
        options.bad = options.bad.max(bad_pictures(args.skip_bad));
        let data = place.load(&options)?;
        let chosen = config.fit_to(&data, &asked)?;
        let earlier = asked.earlier_format;
        let other = asked.sha256.filter(|sha256| *sha256 != data.sha256);
        config.with_images(Images::of(&data)?);
        let listing = data.listing.clone();
        let mut task = Self::of(config, data, device, &place)?;
        if let Some(initial) = &initial {
            task.faults.extend(initial.learned(&task, &listing)?);
        }
        task.chosen = chosen;
        task.faults.extend(earlier.map(|format| format!(
            "the config file has format {format}, in which its settings mean another network or another loss (docs/method.md): this does not repeat that run"
        )));
        task.faults.extend(other.map(|_| {
            "the data are not those that the config file was written for (another SHA-256): this does not repeat that run".into()
        }));
        Ok(task)
    }

    /// The task that a run was started with. `args` may name the place where its data are now, and a larger number of epochs.
    pub fn of_run(run: &RunDirectory, now: &Now<'_>) -> Result<Self> {
        let device = now.compute.device.open()?;
        let mut config = RunConfig::of_run(&run.config())?;
        if let Some(epochs) = now.epochs {
            config.epochs = epochs;
        }
        let kept = Kept::read(run)?;
        let place = Place::of_run(&config.dataset, &kept, now.dataset, now.data_dir)?;
        let mut options = config.folder_options(kept.listing.as_ref())?;
        options.bad = options.bad.max(now.bad);
        let data = place.load(&options)?;
        if let Some(difference) = kept.difference(&data) {
            bail!("the data in {place} are not those that the run was started with: {difference}");
        }
        ensure!(
            config.images()?.same_data(&Images::of(&data)?),
            "the data in {place} are not those that the run was started with (another SHA-256)"
        );
        Self::of(config, data, device, &place)
    }

    fn of(mut config: RunConfig, data: Dataset, device: Device, place: &Place) -> Result<Self> {
        let record = kept::files(&data, place)?;
        let train = Part::of_run(&config, &data, Half::Train)?.images;
        let validation = Part::of_run(&config, &data, Half::Validation)?.images;
        let mut faults = faults(&Duplicates::among(&train, &validation, &data.test)?, &data.test);
        for (images, half) in [(&data.test, Half::Test), (&train, Half::Train)] {
            faults.extend(absent_classes(&data.class_names, images, half)?);
        }
        config.measure(&train)?;
        let (train, validation, test) =
            (config.seen(&train)?, config.seen(&validation)?, config.seen(&data.test)?);
        let here = |split: Split| split.to_device(&device);
        let (train, validation, test) = (here(train)?, here(validation)?, here(test)?);
        config.train().validate(train.len())?;
        config.train().check_augmentation(&train, config.encoder)?;
        config.class_weights.of(&train, config.images()?.class_names.len())?;
        let objective = config.objective()?;
        config.validation_sampler()?;
        let (notices, chosen) = (data.notices, None);
        Ok(Self {
            config,
            train,
            validation,
            test,
            objective,
            device,
            record,
            chosen,
            notices,
            faults,
        })
    }

    /// Prints what must be known of the data before a training begins, and the settings that were fitted to them unless it is to be
    /// quiet.
    pub fn introduce(&self, verbosity: Verbosity) {
        if let (Verbosity::Normal, Some(chosen)) = (verbosity, &self.chosen) {
            note!("{chosen}");
        }
        announce(&self.notices);
        for fault in &self.faults {
            note!("warning: {fault}");
        }
    }

    /// The network as it is before training.
    pub fn network(&self) -> Result<Network> {
        let config = &self.config;
        let network = config.network(config.fresh(&self.device))?;
        if let Some(rows) = find_prototypes(config, &self.train)? {
            let images = self.train.batch(&rows)?.0.flatten_from(1)?;
            let start = match config.start_has_length_of_prototypes() {
                true => with_lengths_of(&network.class_embeddings().detach(), &images)?,
                false => images,
            };
            network.start_embeddings_from(&start)?;
        }
        network.calibrate_frozen_encoder(&self.train.range(0..CALIBRATION_IMAGES)?)?;
        if let Some(init) = &config.init {
            Initial::open(init)?.give_to(&network, self)?;
        }
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
        let of =
            |images, sampler| evaluate(&trained.network, &*trained.objective, images, &sampler);
        // First, so that nothing comes between the test and its record. The training images are many, so no more steps of a solver are
        // spent on them than choose the epoch.
        let started = Instant::now();
        let training = of(&self.train, self.config.validation_sampler()?)?;
        let test = of(&self.test, sampler)?;
        let logged = MetricsLog::open(&run.metrics(), u64::MAX)?.append(&Event::Test {
            best_epoch: report.best.epoch,
            sampler: sampler.kind.to_string(),
            accuracy: test.accuracy(),
            correct: test.correct as u64,
            total: test.total as u64,
            per_block: test.per_block.clone(),
            training_accuracy: Some(training.accuracy()),
            classification_seconds: Some(started.elapsed().as_secs_f64()),
            seconds: report.seconds,
            peak_memory_bytes: peak.process,
            peak_device_bytes: peak.device,
        })?;
        // A training that goes on from here must not forget that the test images were read.
        Progress::keep_log(run, logged)?;
        let history = History::of(&MetricsLog::read(&run.metrics())?);
        let told = self.notices.iter().filter(|notice| !matches!(notice, Notice::Litter { .. }));
        let told = told.take(REMARKS).map(ToString::to_string).chain(self.faults.iter().cloned());
        let card = model_card::text(&model_card::Card {
            config: &self.config,
            fit: report,
            training: &training,
            test: &test,
            hardware: &Hardware::with(&self.device),
            history: &history,
            warnings: &told.collect::<Vec<_>>(),
        })?;
        run.write("README.md", card.as_bytes())?;
        // The answer first: a figure that cannot be written must not cost it.
        print(run, form, report, (&training, &test), peak)?;
        match plot::draw(&trained, &self.test, &test) {
            Ok(_) => Ok(()),
            Err(reason) => Err(FiguresFailed { run: quoted(run.path()), reason }.into()),
        }
    }

    pub fn warn_of_a_label_in_the_noise(&self, network: &dyn Denoiser) -> Result<()> {
        // A schedule that is learned is trained to close the gap.
        if self.config.method != Method::Dt {
            return Ok(());
        }
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
    (training, test): (&Evaluation, &Evaluation),
    peak: PeakMemory,
) -> Result<()> {
    if form == Form::Json {
        let mut answer = serde_json::json!({
            "run": run.path().to_string_lossy(),
            "test_accuracy": test.accuracy(),
            "training_accuracy": training.accuracy(),
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
            "test accuracy {:.2} % ({} of {}), training accuracy {:.2} %, weights of epoch {}, trained in {:.1} s\nrun {}, figures in its folder figures",
            100.0 * test.accuracy(),
            test.correct,
            test.total,
            100.0 * training.accuracy(),
            report.best.epoch,
            report.seconds,
            run.path().display()
        )?;
    }
    Ok(())
}

/// A training that came to its end, but not to its figures.
#[derive(Debug, thiserror::Error)]
#[error(
    "the figures could not be drawn: {reason:#}; the training is done and saved, and noprop plot {run} draws them again"
)]
pub struct FiguresFailed {
    run: String,
    reason: anyhow::Error,
}

/// The part of a command line that concerns a run that is there.
pub struct Now<'a> {
    /// The place of its data now.
    pub dataset: Option<&'a Source>,
    pub data_dir: Option<&'a Path>,
    pub bad: BadPictures,
    pub epochs: Option<u32>,
    pub compute: Compute,
}

impl Train {
    /// The flags that may stand beside `--resume`.
    pub fn now(&self) -> Now<'_> {
        Now {
            dataset: self.dataset.as_ref(),
            data_dir: self.data_dir(),
            bad: bad_pictures(self.skip_bad),
            epochs: self.epochs,
            compute: self.compute,
        }
    }
}

/// The faults of data in which the same images are found more than once.
fn faults(duplicates: &Duplicates, test: &Split) -> Vec<String> {
    let Duplicates { test_in_train, held_out_in_train, contradictory } = duplicates;
    let mut faults = Vec::new();
    if *test_in_train > 0 {
        faults.push(format!(
            "{test_in_train} of {} test images are also training images: an accuracy on them is not one on new images",
            test.len()
        ));
    }
    if *held_out_in_train > 0 {
        faults.push(format!(
            "{held_out_in_train} held-out image(s) are also training images: the epoch is chosen on images that were learned"
        ));
    }
    if *contradictory > 0 {
        faults.push(format!("{contradictory} image(s) are there under more than one label"));
    }
    faults
}

/// The rows of `matrix` [N, d], each scaled to the length of its row of `others` [N, d].
fn with_lengths_of(matrix: &Tensor, others: &Tensor) -> Result<Tensor> {
    let length = |rows: &Tensor| rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt();
    Ok(matrix.broadcast_mul(&(length(others)? / length(matrix)?)?)?)
}

/// The training images that class embeddings start from, or have the lengths of.
fn find_prototypes(config: &RunConfig, train: &Split) -> Result<Option<Vec<u32>>> {
    let needed = config.embedding_start == Some(EmbeddingStart::Prototype)
        || config.start_has_length_of_prototypes();
    if !needed {
        return Ok(None);
    }
    let classes = config.images()?.class_names.len();
    Ok(Some(prototypes(train, classes, config.seed)?))
}

/// The preset that was asked for, or the one of the data set.
fn preset(args: &Train) -> Result<Preset> {
    if let Some(preset) = args.preset {
        return Ok(preset);
    }
    let of_init = |run: &Path| RunConfig::of_run(&RunDirectory::open(run)?.config());
    let dataset = match (&args.dataset, &args.config, &args.init) {
        (Some(source), ..) => source.clone(),
        // A config file that names its data set overrides this.
        (None, Some(_), _) => Source::Known(DatasetName::Mnist),
        (None, None, Some(run)) => of_init(run)?.dataset,
        (None, None, None) => Source::Known(find(args.data_dir().unwrap_or(Path::new(DATA_DIR)))),
    };
    Ok(match dataset {
        Source::Known(DatasetName::MnistSample) => Preset::MnistSample,
        // Other data sets share its settings until they have a preset of their own.
        Source::Known(_) | Source::Folder(_) => Preset::Mnist,
    })
}

/// MNIST if it is there, else the bundled sample, with a notice that nobody can miss.
fn find(data_dir: &Path) -> DatasetName {
    match DatasetName::Mnist.presence(data_dir) {
        Presence::Complete { .. } | Presence::Bundled => DatasetName::Mnist,
        Presence::Incomplete { folder, .. } => {
            let elsewhere = match data_dir == Path::new(DATA_DIR) {
                true => String::new(),
                false => format!(" --data-dir {}", quoted(data_dir)),
            };
            note!(
                "NOTICE: there is no MNIST in {}: this trains on the bundled sample of 5,000 images.\n\
                 NOTICE: for the real thing run `noprop fetch mnist{elsewhere}` first.",
                folder.display()
            );
            DatasetName::MnistSample
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    /// Starts of another length would be compared by their length: an image is six to ten times as long as a unit vector.
    #[test]
    fn all_starts_at_an_images_size_have_the_lengths_of_the_prototypes() {
        let lengths = |start: &str| {
            let line =
                "noprop train --dataset mnist-sample --embedding prototype --embedding-start";
            let line = line.split(' ').chain([start]);
            let Command::Train(train) = Args::try_parse_from(line).unwrap().command else {
                panic!("not a training");
            };
            let network = Task::asked(&train).unwrap().network().unwrap();
            let first = network.first_embeddings().unwrap();
            let squares = first.sqr().unwrap().sum(D::Minus1).unwrap();
            squares.sqrt().unwrap().to_vec1::<f32>().unwrap()
        };
        let images = lengths("prototype");
        assert!(images.iter().all(|length| (4.0..14.0).contains(length)), "{images:?}");
        for start in ["orthogonal", "random"] {
            for (length, image) in lengths(start).iter().zip(&images) {
                assert!((length / image - 1.0).abs() < 1e-5, "{start}: {length} {image}");
            }
        }
    }
}

//! A training in memory, whose steps its caller makes: for a page in a browser, which has no files and must not wait for long, and for a
//! program that has the images itself.

use std::path::Path;

use candle_core::Device;
use noprop_data::Split;
use noprop_kernels::threads::Workers;
use noprop_method::{Denoiser, Method, Seed};
use noprop_models::Network;
use noprop_train::{
    Best, EpochReport, Evaluation, LossSums, Observer, StepReport, Trainer, Validation,
    WeightsError, evaluate, weights_of, weights_to_bytes,
};
use web_time::Instant;

use crate::error::{Context, Error, Result, ensure};
use crate::experiment::Experiment;
use crate::in_memory::InMemory;
use crate::layers::Layers;
use crate::memory;
use crate::progress::{Length, Progress, Remark};
use crate::settings::Settings;
use crate::task::Task;

/// A training in memory. Nothing of it is written: [`Self::weights`] returns what a run would keep.
pub struct Stepwise {
    experiment: Experiment,
    /// The settings, as weights carry them.
    metadata: String,
    trainer: Trainer<Network, Box<dyn Method>>,
    /// The steps that are made.
    done: u64,
    validation: Split,
    test: Option<Split>,
    epoch: SoFar,
    best: Option<(Best, Vec<u8>)>,
    remarks: Vec<Remark>,
}

/// An epoch that is not over.
#[derive(Default)]
struct SoFar {
    sums: LossSums,
    /// Images that a unit saw.
    images: usize,
    seconds: f64,
}

/// The outcome of a step.
pub struct Stepped {
    /// The reports of the units.
    pub reports: Vec<StepReport>,
    /// The outcome of the epoch, if the step was its last.
    pub epoch: Option<EpochReport>,
}

impl Stepwise {
    /// Begins a training with `settings` over the preset of their data set. Without a data set it is the bundled sample.
    ///
    /// # Errors
    /// If the settings and the data do not go together, or if the training needs more memory than is free.
    pub fn new(settings: Settings) -> Result<Self> {
        let mut remarks = Remarks::default();
        let layers = Layers { settings, ..Layers::default() };
        let task = Task::new(&layers, None, &Device::Cpu, &mut remarks)?;
        Self::of_task(task, remarks)
    }

    /// Begins a training on `images`, whatever data set `settings` name. Those that are left open are fitted to the number of images.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn of_images(settings: Settings, images: InMemory) -> Result<Self> {
        Self::of_task(Task::of_images(settings, images)?, Remarks::default())
    }

    fn of_task(task: Task, mut remarks: Remarks) -> Result<Self> {
        memory::check(&task.experiment, &task.device, Workers::Auto, &mut remarks)?;
        for remark in &remarks.0 {
            if let &Remark::Memory { needed, free } = remark {
                return Err(Error::ShortOfMemory { needed, free });
            }
        }
        task.introduce(&mut remarks);
        let network = task.network(&mut remarks)?;
        task.warn_of_a_label_in_the_noise(&network, &mut remarks)?;
        let Task { experiment, train, validation, test, method, .. } = task;
        let (config, seed) = (experiment.setup.train(), Seed(experiment.setup.seed));
        let trainer = Trainer::new(network, method, &train, config, seed)?;
        Ok(Self {
            metadata: experiment.to_json()?,
            experiment,
            trainer,
            done: 0,
            validation,
            test,
            epoch: SoFar::default(),
            best: None,
            remarks: remarks.0,
        })
    }

    /// The settings, and the images that the network is built for.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// The facts of the settings and the data that must be known.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// The length, and the steps that are made.
    pub fn length(&self) -> Length {
        let (epochs, done) = (self.experiment.setup.epochs, self.done);
        Length { epochs, steps_per_epoch: self.trainer.steps_per_epoch(), done }
    }

    /// Returns whether all steps are made, or the training has ended early.
    pub fn is_done(&self) -> bool {
        let Length { epochs, steps_per_epoch, done } = self.length();
        let patience = self.experiment.setup.patience.zip(self.best.as_ref());
        let out_of_patience = patience.is_some_and(|(patience, (best, _))| {
            done / u64::from(steps_per_epoch) >= u64::from(best.epoch) + u64::from(patience.get())
        });
        out_of_patience || done >= u64::from(epochs) * u64::from(steps_per_epoch)
    }

    /// Makes the next step. The blocks `paused`, which count from 1, make no turn in it. The last step of an epoch is followed by the
    /// classification of the held-out images, which takes the time of some steps.
    ///
    /// # Errors
    /// [`Error::Refused`] if all steps are made; [`Error::Train`] if a loss is NaN or infinite.
    pub fn step(&mut self, paused: &[usize]) -> Result<Stepped> {
        ensure!(!self.is_done(), "this training is done");
        let began = Instant::now();
        let reports = self.trainer.step_without(paused)?;
        self.done += 1;
        self.epoch.seconds += began.elapsed().as_secs_f64();
        self.epoch.images += reports.first().map_or(0, |report| report.images);
        reports.iter().for_each(|report| self.epoch.sums.add(report));
        let ends = self.done.is_multiple_of(self.trainer.steps_per_epoch().into());
        let epoch = if ends { Some(self.end_epoch()?) } else { None };
        Ok(Stepped { reports, epoch })
    }

    /// Validates, and keeps the weights if they are the best so far.
    fn end_epoch(&mut self) -> Result<EpochReport> {
        let SoFar { sums, images, seconds } = std::mem::take(&mut self.epoch);
        let sampler = self.experiment.setup.validation_sampler()?;
        let epoch = self.done / u64::from(self.trainer.steps_per_epoch());
        let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        self.trainer.check_finite(epoch, self.trainer.steps_per_epoch())?;
        let Self { trainer, validation, best: kept, metadata, .. } = self;
        let (found, best) = trainer.averaged(|network, method| {
            let found = evaluate(network, method, validation, &sampler)?;
            let this = Best { epoch, correct: found.correct, total: found.total };
            let best = this.or_better(kept.as_ref().map(|(best, _)| *best));
            if best == this {
                *kept = Some((best, weights(network, metadata)?));
            }
            Ok((found, best))
        })?;
        let (accuracy, per_block) = (found.accuracy(), found.per_block);
        Ok(EpochReport {
            epoch,
            losses: sums.means(),
            validation: Some(Validation { accuracy, per_block, best }),
            images_per_second: images as f64 / seconds.max(f64::MIN_POSITIVE),
            seconds,
        })
    }

    /// The bytes of `model.safetensors`, as a run keeps it: the weights of the best epoch so far, with their settings. Before the end
    /// of the first epoch they are the present ones.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn weights(&self) -> Result<Vec<u8>> {
        match &self.best {
            Some((_, weights)) => Ok(weights.clone()),
            None => Ok(weights(self.trainer.network(), &self.metadata)?),
        }
    }

    /// Classifies the test images with the weights of the best epoch. Call it once, at the end: no step may follow.
    ///
    /// # Errors
    /// [`Error::Refused`] if the images were given without any to test on; if network and images do not match.
    pub fn test(&mut self) -> Result<Evaluation> {
        if let Some((_, weights)) = &self.best {
            let best = weights_of(Path::new(NAME), weights)?.tensors;
            self.trainer.network().parameters().set(best)?;
        }
        let images = self.test.as_ref().context("there are no images to test on")?;
        Ok(self.trainer.evaluate(images, &self.experiment.setup.sampler())?)
    }
}

fn weights(network: &Network, metadata: &str) -> std::result::Result<Vec<u8>, WeightsError> {
    weights_to_bytes(Path::new(NAME), &network.parameters().tensors(), metadata)
}

/// The name of the weights in errors.
const NAME: &str = "model.safetensors";

/// Keeps remarks.
#[derive(Default)]
struct Remarks(Vec<Remark>);

impl Observer for Remarks {}

impl Progress for Remarks {
    fn remark(&mut self, remark: Remark) {
        self.0.push(remark);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};
    use noprop_data::DatasetName;
    use noprop_train::Existing;

    use super::*;
    use crate::classifier::Classifier;
    use crate::source::Source;
    use crate::train::{Means, NewRun, train};

    fn settings() -> Settings {
        Settings {
            dataset: Some(Source::Known(DatasetName::MnistSample)),
            steps: Some(2),
            epochs: Some(2),
            ..Settings::default()
        }
    }

    /// Steps that a page makes must be those of a run: the same weights, byte for byte, and the same accuracy.
    #[test]
    fn a_training_in_memory_has_the_weights_of_a_run() {
        in_memory_and_in_a_run(settings());
        in_memory_and_in_a_run(Settings { ema: Some(0.9), ..settings() });
    }

    fn in_memory_and_in_a_run(settings: Settings) {
        let mut training = Stepwise::new(settings.clone()).unwrap();
        let mut epochs = 0;
        while !training.is_done() {
            epochs += u32::from(training.step(&[]).unwrap().epoch.is_some());
        }
        assert_eq!(epochs, 2);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let layers = Layers { settings, ..Layers::default() };
        let new =
            NewRun { layers, data_dir: None, out: Some(out.clone()), existing: Existing::Refuse };
        let ending = train(&new, Means::on(&Device::Cpu), &mut Remarks::default()).unwrap();
        let crate::train::Ending::Finished(run) = ending else { panic!("it was not stopped") };
        assert!(training.weights().unwrap() == std::fs::read(out.join(NAME)).unwrap());
        assert_eq!(training.test().unwrap(), run.test);
    }

    /// The 0s, 1s and 2s of the sample, as an array that a program has. `shades` makes the pixels of the bytes.
    fn three_digits(shades: impl Fn(Tensor) -> Tensor) -> InMemory {
        let data = noprop_data::Dataset::mnist_sample().unwrap().train;
        let labels = data.labels.to_vec1::<u32>().unwrap();
        let rows = (0u32..).zip(&labels).filter(|(_, label)| **label < 3).map(|(row, _)| row);
        let some = data.select(&rows.take(400).collect::<Vec<_>>()).unwrap();
        let train = Split::new(shades(some.images().unwrap()), some.labels, 3).unwrap();
        let class_names = ["zero", "one", "two"].map(String::from).to_vec();
        InMemory { train, validation: None, class_names, range: Some([0.0, 255.0]) }
    }

    /// Images of a program are learned, whether their pixels are bytes or numbers; the weights carry what the program needs to use them;
    /// and what was trained in memory alone is not looked for in a file.
    #[test]
    fn images_of_a_program_are_learned_and_their_weights_answer() {
        let bytes = |pixels: Tensor| (pixels * 255.).unwrap().round().unwrap().to_dtype(DType::U8);
        let settings = || Settings { steps: Some(2), epochs: Some(3), ..Settings::default() };
        let mut weights = Vec::new();
        for images in [three_digits(|p| p), three_digits(|p| bytes(p).unwrap())] {
            let pictures = images.train.clone();
            let mut training = Stepwise::of_images(settings(), images).unwrap();
            let mut accuracy = 0.0;
            while !training.is_done() {
                let epoch = training.step(&[]).unwrap().epoch;
                accuracy = epoch.and_then(|it| it.validation).map_or(accuracy, |it| it.accuracy);
            }
            assert!(accuracy > 0.9, "{accuracy}");
            assert!(matches!(training.test(), Err(Error::Refused(_))), "no test images");
            let bytes = training.weights().unwrap();
            let classifier = Classifier::of_weights(NAME, &bytes, &Device::Cpu).unwrap();
            assert_eq!(classifier.class_names(), ["zero", "one", "two"]);
            let known = &classifier.experiment().images;
            assert_eq!(
                (known.range, &known.sha256),
                (Some([0.0, 255.0]), &pictures.sha256().unwrap())
            );
            let source = classifier.experiment().setup.dataset.clone();
            assert!(source.load(Path::new(""), &noprop_data::FolderOptions::default()).is_err());
            let some = pictures.range(0..20).unwrap();
            let answers = classifier.classify(&some).unwrap();
            for (answer, path) in answers.iter().zip(classifier.along_chain(&some).unwrap()) {
                assert_eq!((path.guesses.len(), path.answers.len()), (2, 2));
                assert_eq!(path.answers[1], answer.probabilities);
            }
            weights.push(weights_of(Path::new(NAME), &bytes).unwrap().tensors);
        }
        let [numbers, bytes] = &weights[..] else { panic!("two trainings") };
        for (name, tensor) in numbers {
            let same = |it: &Tensor| it.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(same(tensor), same(&bytes[name]), "{name}: the same pixels");
        }
    }

    /// A setting that an array has no use for must not be ignored, nor images that no training can use.
    #[test]
    fn what_does_not_suit_an_array_is_refused() {
        for settings in [
            Settings { image_size: Some(32), ..Settings::default() },
            Settings { split: Some(0.2), ..Settings::default() },
            Settings { skip_bad: Some(true), ..Settings::default() },
        ] {
            let refused = Stepwise::of_images(settings, three_digits(|pixels| pixels));
            assert!(matches!(refused, Err(Error::Setting { .. })));
        }
        let few = InMemory {
            train: three_digits(|pixels| pixels).train.select(&[0, 1]).unwrap(),
            ..three_digits(|pixels| pixels)
        };
        assert!(Stepwise::of_images(Settings::default(), few).is_err());
    }
}

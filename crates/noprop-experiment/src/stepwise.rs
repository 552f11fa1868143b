//! A training in memory, whose steps its caller makes: for a page in a browser, which has no files and must not wait for long.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::Device;
use noprop_data::Split;
use noprop_kernels::threads::Workers;
use noprop_method::{Denoiser, Method, Seed};
use noprop_models::Network;
use noprop_train::{
    Best, EpochReport, Evaluation, LossSums, Observer, StepReport, Trainer, Unit, Validation,
    weights_of, weights_to_bytes,
};
use web_time::Instant;

use crate::error::{Error, Result, ensure};
use crate::experiment::Experiment;
use crate::layers::Layers;
use crate::memory;
use crate::progress::{Length, Progress, Remark};
use crate::settings::Settings;
use crate::task::Task;

/// A training in memory. Nothing of it is written: [`Self::weights`] returns what a run would keep.
///
/// Blocks that share nothing can be paused while the others go on.
pub struct Stepwise {
    experiment: Experiment,
    /// The settings, as weights carry them.
    metadata: String,
    trainer: Trainer<Network, Box<dyn Method>>,
    units: Vec<Unit>,
    /// The steps that each unit has made.
    made: Vec<u64>,
    /// Blocks that make no steps, counted from 1.
    paused: BTreeSet<usize>,
    validation: Split,
    test: Split,
    epoch: SoFar,
    best: Option<(Best, Vec<u8>)>,
    remarks: Vec<Remark>,
}

/// An epoch that is not over.
#[derive(Default)]
struct SoFar {
    sums: LossSums,
    /// Images that the unit in front saw.
    images: usize,
    seconds: f64,
}

/// The outcome of a step.
pub struct Stepped {
    /// The reports of the units that made it; none if all others are paused.
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
        memory::check(&task.experiment, &task.device, Workers::Auto, &mut remarks)?;
        if let Some(short) = remarks.0.iter().find(|it| matches!(it, Remark::Memory { .. })) {
            return Err(Error::Refused(short.to_string()));
        }
        task.introduce(&mut remarks);
        let network = task.network(&mut remarks)?;
        task.warn_of_a_label_in_the_noise(&network, &mut remarks)?;
        let Task { experiment, train, validation, test, method, .. } = task;
        let (config, seed) = (experiment.setup.train(), Seed(experiment.setup.seed));
        let trainer = Trainer::new(network, method, &train, config, seed)?;
        let units = trainer.units();
        Ok(Self {
            metadata: experiment.to_json()?,
            experiment,
            made: vec![0; units.len()],
            units,
            trainer,
            paused: BTreeSet::new(),
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

    /// What must be known of the settings and the data.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// The length, and the steps of the unit that is furthest.
    pub fn length(&self) -> Length {
        Length {
            epochs: self.experiment.setup.epochs,
            steps_per_epoch: self.trainer.steps_per_epoch(),
            done: self.made.iter().copied().max().unwrap_or_default(),
        }
    }

    /// Returns whether all steps are made.
    pub fn is_done(&self) -> bool {
        (0..self.units.len()).all(|unit| self.trainer.is_done(unit))
    }

    /// Returns whether blocks can be paused: each has to learn without the others.
    pub fn is_pausable(&self) -> bool {
        self.units.iter().any(|unit| matches!(unit, Unit::Block(_)))
    }

    /// Blocks that make no steps, counted from 1.
    pub fn paused(&self) -> impl Iterator<Item = usize> {
        self.paused.iter().copied()
    }

    /// Lets block `block`, counted from 1, make no steps from now on.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such block, or if it cannot be paused.
    pub fn pause(&mut self, block: usize) -> Result<()> {
        ensure!(
            self.units.contains(&Unit::Block(block)),
            "block {block} does not learn by itself: blocks can be paused where each has its own encoder, or where that is frozen"
        );
        self.paused.insert(block);
        Ok(())
    }

    /// Lets a paused block go on from where it was.
    pub fn go_on(&mut self, block: usize) {
        self.paused.remove(&block);
    }

    /// Makes the next step of every unit that is not paused. The last step of an epoch is followed by the classification of the
    /// held-out images, which takes the time of some steps.
    ///
    /// # Errors
    /// If a loss is NaN or infinite.
    pub fn step(&mut self) -> Result<Stepped> {
        let began = Instant::now();
        let next: Vec<usize> = (0..self.units.len()).filter(|&unit| self.is_next(unit)).collect();
        let front = self.length().done;
        let reports = match next.len() == self.units.len() {
            true => self.trainer.step()?,
            false => {
                let step = |&unit: &usize| self.trainer.step_unit(unit);
                next.iter().map(step).collect::<Result<_, _>>()?
            }
        };
        next.iter().for_each(|&unit| self.made[unit] += 1);
        reports.iter().for_each(|report| self.epoch.sums.add(report));
        self.epoch.seconds += began.elapsed().as_secs_f64();
        let Length { steps_per_epoch, done, .. } = self.length();
        if done > front {
            self.epoch.images += reports.first().map_or(0, |report| report.images);
        }
        let ends = done > front && done.is_multiple_of(steps_per_epoch.into());
        // Blocks that were paused make their last steps after those of the last epoch.
        let ends = ends || (self.is_done() && !reports.is_empty());
        let epoch = if ends { Some(self.end_epoch()?) } else { None };
        Ok(Stepped { reports, epoch })
    }

    fn is_next(&self, unit: usize) -> bool {
        let paused = matches!(self.units[unit], Unit::Block(block) if self.paused.contains(&block));
        !paused && !self.trainer.is_done(unit)
    }

    /// Validates, and keeps the weights if they are the best so far.
    fn end_epoch(&mut self) -> Result<EpochReport> {
        let SoFar { sums, images, seconds } = std::mem::take(&mut self.epoch);
        let sampler = self.experiment.setup.validation_sampler()?;
        let found = self.trainer.evaluate(&self.validation, &sampler)?;
        let Length { steps_per_epoch, done, .. } = self.length();
        let epoch = u32::try_from(done / u64::from(steps_per_epoch)).unwrap_or(u32::MAX);
        let this = Best { epoch, correct: found.correct, total: found.total };
        let best = this.or_better(self.best.as_ref().map(|(best, _)| *best));
        if best == this {
            self.best = Some((best, self.present_weights()?));
        }
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
            None => self.present_weights(),
        }
    }

    fn present_weights(&self) -> Result<Vec<u8>> {
        let tensors = self.trainer.network().parameters().tensors();
        Ok(weights_to_bytes(Path::new(NAME), &tensors, &self.metadata)?)
    }

    /// Classifies the test images with the weights of the best epoch. Call it once, at the end: no step may follow.
    ///
    /// # Errors
    /// If network and images do not match.
    pub fn test(&mut self) -> Result<Evaluation> {
        if let Some((_, weights)) = &self.best {
            let best = weights_of(Path::new(NAME), weights)?.tensors;
            self.trainer.network().parameters().set(best)?;
        }
        Ok(self.trainer.evaluate(&self.test, &self.experiment.setup.sampler())?)
    }
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
    use noprop_data::DatasetName;
    use noprop_method::EncoderKind;
    use noprop_train::Existing;

    use super::*;
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
        let mut training = Stepwise::new(settings()).unwrap();
        let mut epochs = 0;
        while !training.is_done() {
            epochs += u32::from(training.step().unwrap().epoch.is_some());
        }
        assert_eq!(epochs, 2);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let layers = Layers { settings: settings(), ..Layers::default() };
        let new =
            NewRun { layers, data_dir: None, out: Some(out.clone()), existing: Existing::Refuse };
        let ending = train(&new, Means::on(&Device::Cpu), &mut Remarks::default()).unwrap();
        let crate::train::Ending::Finished(run) = ending else { panic!("it was not stopped") };
        assert!(training.weights().unwrap() == std::fs::read(out.join(NAME)).unwrap());
        assert_eq!(training.test().unwrap(), run.test);
    }

    /// A paused block stays as it was, the others go on, and it catches up when it goes on.
    #[test]
    fn a_paused_block_makes_no_steps() {
        let own = Settings { encoder: Some(EncoderKind::PerBlock), epochs: Some(1), ..settings() };
        let mut training = Stepwise::new(own).unwrap();
        let first = |training: &Stepwise| -> Vec<Vec<f32>> {
            let tensors = training.trainer.network().parameters().tensors();
            let of_block = tensors.iter().filter(|(name, _)| name.starts_with("block.1."));
            of_block.map(|(_, it)| it.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        training.step().unwrap();
        training.pause(1).unwrap();
        let before = first(&training);
        assert!(!before.is_empty());
        let reports = training.step().unwrap().reports;
        let parts = reports.iter().flat_map(|report| &report.losses).map(|loss| loss.part);
        assert!(parts.clone().all(|part| part != noprop_method::Part::Block(1)));
        assert!(parts.clone().any(|part| part == noprop_method::Part::Block(2)));
        assert!(first(&training) == before);
        training.go_on(1);
        training.step().unwrap();
        assert!(first(&training) != before);
        assert!(Stepwise::new(settings()).unwrap().pause(1).is_err(), "they share an encoder");
    }
}

//! A training's settings and data, known to go together.

use std::path::Path;

use candle_core::{D, Device, Tensor};
use noprop_data::{
    Dataset, DatasetName, Duplicates, Half, Notice, Presence, Split, hold_out, prototypes,
};
use noprop_method::{Denoiser, ScheduleSource};
use noprop_models::{EmbeddingStart, Network};
use noprop_train::RunDirectory;

use crate::classes::absent_classes;
use crate::error::{Error, Result, bail, ensure};
use crate::experiment::{Experiment, folder_options, refuse_options_of_folders};
use crate::fitting::Sizes;
use crate::idle::refuse_idle;
use crate::images::Images;
use crate::in_memory::InMemory;
use crate::init::Initial;
use crate::kept::{self, DATA_DIR, Kept, Moved, Place};
use crate::layers::{Layers, Resolved};
use crate::part::Part;
use crate::preset::Preset;
use crate::progress::{Progress, Remark};
use crate::settings::Settings;
use crate::source::Source;

/// Images that set a frozen encoder's statistics.
const CALIBRATION_IMAGES: usize = 1024;
/// KL(q(z_0|y) ‖ N(0, I)) in nats above which z_0 holds a good part of the label in training.
const KL_WARNING: f64 = 0.05;

/// Settings and data that are known to go together.
pub(crate) struct Task {
    pub experiment: Experiment,
    pub train: Split,
    pub validation: Split,
    /// `None` for images that a program gave, which keeps its test images to itself.
    pub test: Option<Split>,
    pub method: Box<dyn noprop_method::Method>,
    /// The device of images and network.
    pub device: Device,
    /// The record of the data that a run keeps: names of files and their content.
    pub record: Vec<(String, Vec<u8>)>,
    /// The settings that were fitted to the data, in words.
    chosen: Option<String>,
    pub notices: Vec<Notice>,
    /// Faults of the data that an accuracy must not be read without.
    pub faults: Vec<String>,
}

impl Task {
    /// The task of a new training.
    pub fn new(
        layers: &Layers,
        data_dir: Option<&Path>,
        device: &Device,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let given = &layers.settings;
        let Resolved { mut setup, asked, sha256, earlier_format } =
            layers.resolve(|of_file| usual_preset(layers, of_file, data_dir, progress))?;
        refuse_idle(&setup, given)?;
        let initial = setup.init.as_ref().map(Initial::open).transpose()?;
        // The data of the run that the weights come from, unless others are named.
        let own = initial.as_ref().filter(|initial| {
            given.dataset.is_none() && initial.experiment.setup.dataset == setup.dataset
        });
        if own.is_some() && given.split.is_some() {
            let reason = "cannot be changed on the data of the run that the weights come from: other pictures would be tested on";
            return Err(Error::setting("split", reason));
        }
        let place = match own {
            Some(initial) => {
                let moved = Moved { data_dir: data_dir.map(Into::into), ..Moved::default() };
                Place::of_run(&setup.dataset, &initial.kept, &moved)?
            }
            None => Place::new(setup.dataset.clone(), data_dir),
        };
        let listing = own.and_then(|initial| initial.kept.listing.as_ref());
        let mut options = folder_options(&setup, listing)?;
        if let Some(initial) = &initial {
            initial.shape(&mut options);
        }
        let data = place.load(&options)?;
        let chosen = setup.fit_to(Sizes::of(&data), &asked)?;
        let other = sha256.filter(|sha256| *sha256 != data.sha256);
        let experiment = Experiment::new(setup, Images::of(&data)?)?;
        let listing = data.listing.clone();
        let mut task = Self::of(experiment, data, device, &place)?;
        if let Some(initial) = &initial {
            task.faults.extend(initial.learned(&task.experiment, &listing));
        }
        task.chosen = chosen;
        task.faults.extend(earlier_format.map(|format| format!(
            "the config file has format {format}, in which its settings mean another network or another loss (docs/method.md): this does not repeat that run"
        )));
        task.faults.extend(other.map(|_| {
            "the data are not those that the config file was written for (another SHA-256): this does not repeat that run".into()
        }));
        Ok(task)
    }

    /// The task that a run was started with. `epochs` is the number that it is trained to now, if it is another.
    pub fn of_run(
        run: &RunDirectory,
        moved: &Moved,
        epochs: Option<u32>,
        device: &Device,
    ) -> Result<Self> {
        let mut experiment = Experiment::read(&run.config())?;
        if let Some(epochs) = epochs {
            experiment.setup.epochs = epochs;
            if let Some(patience) = experiment.setup.patience.filter(|it| it.get() >= epochs) {
                let reason = format!("must be more than the patience of the run, {patience}");
                return Err(Error::setting("epochs", reason));
            }
        }
        let kept = Kept::read(run)?;
        let place = Place::of_run(&experiment.setup.dataset, &kept, moved)?;
        let mut options = experiment.folder_options(kept.listing.as_ref())?;
        options.bad = options.bad.max(moved.bad);
        let data = place.load(&options)?;
        if let Some(difference) = kept.difference(&data) {
            bail!("the data in {place} are not those that the run was started with: {difference}");
        }
        ensure!(
            experiment.images.same_data(&Images::of(&data)?),
            "the data in {place} are not those that the run was started with (another SHA-256)"
        );
        Self::of(experiment, data, device, &place)
    }

    /// The task of images that a program gave, on the CPU.
    pub fn of_images(settings: Settings, images: InMemory) -> Result<Self> {
        let settings = Settings { dataset: Some(Source::Memory), ..settings };
        let layers = Layers { settings, ..Layers::default() };
        let Resolved { mut setup, asked, .. } =
            layers.resolve(|_| Ok(Preset::suiting(&Source::Memory)))?;
        refuse_idle(&setup, &layers.settings)?;
        refuse_options_of_folders(&setup)?;
        let chosen = setup.fit_to(images.sizes(), &asked)?;
        let experiment = Experiment::new(setup, images.described()?)?;
        let setup = &experiment.setup;
        let (train, validation) = match images.validation {
            Some(validation) => (images.train, validation),
            None => hold_out(&images.train, setup.validation, setup.seed)?,
        };
        let faults = absent_classes(&experiment.images.class_names, &train, Half::Train)?;
        let task = Self::with(experiment, (train, validation, None), &Device::Cpu)?;
        Ok(Self { chosen, faults: faults.into_iter().collect(), ..task })
    }

    fn of(experiment: Experiment, data: Dataset, device: &Device, place: &Place) -> Result<Self> {
        let record = kept::files(&data, place)?;
        let train = Part::of_run(&experiment.setup, &data, Half::Train)?.images;
        let validation = Part::of_run(&experiment.setup, &data, Half::Validation)?.images;
        let mut faults = faults(&Duplicates::among(&train, &validation, &data.test)?, &data.test);
        // Held-out images that were drawn from the training images may lack rare classes.
        let own = data.validation.is_some().then_some((&validation, Half::Validation));
        for (images, half) in
            [(&data.test, Half::Test), (&train, Half::Train)].into_iter().chain(own)
        {
            faults.extend(absent_classes(&data.class_names, images, half)?);
        }
        let task = Self::with(experiment, (train, validation, Some(data.test)), device)?;
        Ok(Self { record, notices: data.notices, faults, ..task })
    }

    /// The task of images as they are in their files, to train on, to choose the epoch and to test.
    fn with(
        mut experiment: Experiment,
        (train, validation, test): (Split, Split, Option<Split>),
        device: &Device,
    ) -> Result<Self> {
        experiment.measure(&train)?;
        let here =
            |images: &Split| -> Result<Split> { Ok(experiment.seen(images)?.to_device(device)?) };
        let (train, validation) = (here(&train)?, here(&validation)?);
        let test = test.as_ref().map(here).transpose()?;
        let setup = &experiment.setup;
        setup.train().validate(train.len())?;
        // Known only now: the number of epochs may have been fitted to the images.
        if setup.patience.is_some_and(|patience| patience.get() >= setup.epochs) {
            let reason = format!("must be less than the {} epoch(s) of the training", setup.epochs);
            return Err(Error::setting("patience", reason));
        }
        setup.train().check_augmentation(&train, setup.encoder)?;
        setup.class_weights.of(&train, experiment.images.class_names.len())?;
        let method = setup.build_method()?;
        setup.validation_sampler()?;
        Ok(Self {
            experiment,
            train,
            validation,
            test,
            method,
            device: device.clone(),
            record: Vec::new(),
            chosen: None,
            notices: Vec::new(),
            faults: Vec::new(),
        })
    }

    /// Remarks on the settings that were fitted to the data, and on what must be known of the data before a training begins.
    pub fn introduce(&self, progress: &mut dyn Progress) {
        if let Some(chosen) = &self.chosen {
            progress.remark(Remark::Fitted(chosen.clone()));
        }
        progress.remark(Remark::Data(self.notices.clone()));
        for fault in &self.faults {
            progress.remark(Remark::Warning(fault.clone()));
        }
    }

    /// The network as it is before training.
    pub fn network(&self, progress: &mut dyn Progress) -> Result<Network> {
        let Experiment { setup, .. } = &self.experiment;
        let network = self.experiment.network(setup.fresh(&self.device))?;
        if let Some(rows) = self.prototypes()? {
            let images = self.train.batch(&rows)?.0.flatten_from(1)?;
            let start = match setup.start_has_length_of_prototypes() {
                true => with_lengths_of(&network.class_embeddings().detach(), &images)?,
                false => images,
            };
            network.start_embeddings_from(&start)?;
        }
        network.calibrate_frozen_encoder(&self.train.range(0..CALIBRATION_IMAGES)?)?;
        if let Some(init) = &setup.init {
            Initial::open(init)?.give_to(&network, &self.experiment, progress)?;
        }
        Ok(network)
    }

    /// The training images that class embeddings start from, or have the lengths of.
    fn prototypes(&self) -> Result<Option<Vec<u32>>> {
        let Experiment { setup, images } = &self.experiment;
        let needed = setup.embedding_start == Some(EmbeddingStart::Prototype)
            || setup.start_has_length_of_prototypes();
        if !needed {
            return Ok(None);
        }
        Ok(Some(prototypes(&self.train, images.class_names.len(), setup.seed)?))
    }

    /// Remarks on a schedule that leaves a part of the label in the noise that training starts from.
    pub fn warn_of_a_label_in_the_noise(
        &self,
        network: &dyn Denoiser,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        // A schedule that is learned is trained to close the gap.
        if self.method.needs().schedule == ScheduleSource::Network {
            return Ok(());
        }
        let kl = self.method.kl_to_prior(network)?;
        if kl > KL_WARNING {
            let schedule = self.experiment.setup.schedule;
            progress.remark(Remark::LabelInNoise { kl, schedule });
        }
        Ok(())
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

/// The preset of a training that names none: that of its data set. `of_file` is the data set that the config file names.
fn usual_preset(
    layers: &Layers,
    of_file: Option<&Source>,
    data_dir: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Preset> {
    let dataset = match (layers.settings.dataset.as_ref().or(of_file), &layers.init) {
        (Some(source), _) => source.clone(),
        (None, Some(run)) if layers.config.is_none() => {
            Experiment::read(&RunDirectory::open(run)?.config())?.setup.dataset
        }
        (None, _) => Source::Known(find(data_dir.unwrap_or(Path::new(DATA_DIR)), progress)),
    };
    Ok(Preset::suiting(&dataset))
}

/// MNIST if it is there, else the bundled sample, with a remark.
fn find(data_dir: &Path, progress: &mut dyn Progress) -> DatasetName {
    match DatasetName::Mnist.presence(data_dir) {
        Presence::Complete { .. } | Presence::Bundled => DatasetName::Mnist,
        Presence::Incomplete { folder, .. } => {
            progress.remark(Remark::SampleInstead { folder });
            DatasetName::MnistSample
        }
    }
}

#[cfg(test)]
mod tests {
    use noprop_models::Embedding;
    use noprop_train::Silent;

    use super::*;

    /// Starts of another length would be compared by their length: an image is six to ten times as long as a unit vector.
    #[test]
    fn all_starts_at_an_images_size_have_the_lengths_of_the_prototypes() {
        let lengths = |start, preset| {
            let settings = Settings {
                dataset: Some(Source::Known(DatasetName::MnistSample)),
                embedding: Some(Embedding::Prototype),
                embedding_start: Some(start),
                validation: Some(500),
                ..Settings::default()
            };
            let layers = Layers { settings, preset, ..Layers::default() };
            let task = Task::new(&layers, None, &Device::Cpu, &mut Silent).unwrap();
            let first = task.network(&mut Silent).unwrap().first_embeddings().unwrap();
            let squares = first.sqr().unwrap().sum(D::Minus1).unwrap();
            squares.sqrt().unwrap().to_vec1::<f32>().unwrap()
        };
        let images = lengths(EmbeddingStart::Prototype, None);
        assert!(images.iter().all(|length| (4.0..14.0).contains(length)), "{images:?}");
        let of_paper = "paper-mnist-fm-prototype".parse().ok();
        for (start, preset) in [
            (EmbeddingStart::Orthogonal, None),
            (EmbeddingStart::Random, None),
            (EmbeddingStart::Random, of_paper),
        ] {
            for (length, image) in lengths(start, preset).iter().zip(&images) {
                assert!((length / image - 1.0).abs() < 1e-5, "{start}: {length} {image}");
            }
        }
    }
}

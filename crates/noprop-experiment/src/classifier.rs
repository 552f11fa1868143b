//! A trained run that answers: which class a picture belongs to, and the answer of each block on the way.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::{Device, Tensor};
use noprop_data::picture::{self, Polarity};
use noprop_data::{DataError, DatasetName, Normalization};
use noprop_files::UNFINISHED;
use noprop_kernels::threads::{Workers, side_by_side};
use noprop_method::{Denoiser, Method, Sampler, classify, most_probable};
use noprop_models::Network;
use noprop_train::{Existing, RunDirectory, TrainError, weights_of, weights_to_bytes};

use crate::error::{Result, ensure};
use crate::evaluate::Sampling;
use crate::experiment::Experiment;
use crate::ink::Opposites;
use crate::kept::DataRecord;
use crate::new_folder::in_new_folder;
use crate::pictures::{Origin, Pictures};
use crate::progress::{Progress, Remark};
use crate::source::Source;
use crate::trained::{Trained, build};

/// Pictures that are held in memory at a time.
const AT_ONCE: usize = 32;

/// A trained run, ready to classify, whatever its method and normalisation.
///
/// Every image is classified by itself, as image number 0 of its noise, so that its answer does not depend on the images beside it. In a
/// batch it would, in its last bits: products of matrices of another size are summed in another order.
pub struct Classifier {
    experiment: Experiment,
    network: Network,
    method: Box<dyn Method>,
    /// The middle shade of the borders of the training images, if it is known.
    ground: Option<u8>,
    normalization: Option<Normalization>,
    sampler: Sampler,
    device: Device,
}

/// The answer to one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The label of the most probable class.
    pub label: u32,
    /// Its name.
    pub class: String,
    /// The probabilities of all classes, in the order of their labels.
    pub probabilities: Vec<f32>,
    /// The label that each block answers inside the chain; empty where blocks have no answer of their own.
    pub per_block: Vec<u32>,
}

impl Classifier {
    /// Opens a run with the weights of its best epoch, on `device`. It classifies with one chain without noise between its steps.
    ///
    /// # Errors
    /// If there is no run, if its units are not merged, or if its weights are damaged or do not fit its settings.
    pub fn open(run: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let Trained { run, experiment, network, method } = Trained::open(run, device)?;
        let ground = DataRecord::read(&run)?.map(|record| record.ground);
        Self::new(experiment, network, method, ground, device)
    }

    /// As [`Self::open`], from the bytes of a weights file alone, which carries its settings. Errors call it `name`.
    ///
    /// # Errors
    /// If the bytes are not weights of a run, or do not fit the settings in them; if their network is not built any more, or if they have a
    /// later format.
    pub fn of_weights(name: impl AsRef<Path>, bytes: &[u8], device: &Device) -> Result<Self> {
        let name = name.as_ref();
        let weights = weights_of(name, bytes)?;
        let metadata = weights.metadata.as_deref().unwrap_or_default();
        let experiment = Experiment::of_weights(name, metadata)?;
        let (network, method) = build(&experiment, weights.tensors, name, device)?;
        // A weights file does not carry the ground; these data sets are light ink on black.
        let ground = match experiment.setup.dataset {
            Source::Known(DatasetName::Mnist | DatasetName::MnistSample) => Some(0),
            _ => None,
        };
        Self::new(experiment, network, method, ground, device)
    }

    fn new(
        experiment: Experiment,
        network: Network,
        method: Box<dyn Method>,
        ground: Option<u8>,
        device: &Device,
    ) -> Result<Self> {
        let normalization = experiment.normalization()?;
        let sampler = Sampling::default().of(&experiment.setup)?;
        let device = device.clone();
        Ok(Self { experiment, network, method, ground, normalization, sampler, device })
    }

    /// The settings, and the images that the network is built for.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// The bytes of `model.safetensors`, as a run keeps it.
    ///
    /// # Errors
    /// If the weights cannot be read.
    pub fn weights(&self) -> Result<Vec<u8>> {
        let (name, metadata) = (Path::new("model.safetensors"), self.experiment.to_json()?);
        Ok(weights_to_bytes(name, &self.network.parameters().tensors(), &metadata)?)
    }

    /// Writes a run with these settings and weights to the folder `path`, with the files `beside` (names and content), whole or not at all.
    /// It can be opened, but not trained further. [`Existing::Replace`] replaces such a folder, and nothing else.
    ///
    /// # Errors
    /// [`crate::Error::Train`] if `path` exists and is not to be replaced, or is not a saved classifier; [`crate::Error::Refused`] if it holds
    /// more than that; if a file cannot be written.
    pub fn save(
        &self,
        path: &Path,
        existing: Existing,
        beside: &[(String, Vec<u8>)],
    ) -> Result<()> {
        let (config, weights) = (self.experiment.to_toml()?, self.weights()?);
        if !RunDirectory::is_free(path) {
            match existing {
                Existing::Refuse => return Err(TrainError::RunExists(path.into()).into()),
                Existing::Replace => check_replaceable(path, beside)?,
            }
        }
        in_new_folder(path, existing, |folder| {
            let run = RunDirectory::create(folder, Existing::Refuse, &config, beside)?;
            Ok(run.write("model.safetensors", &weights)?)
        })
    }

    /// Classifies in another way from now on.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] if a solver or its steps are given and the method has no solver.
    pub fn sampling(mut self, sampling: &Sampling) -> Result<Self> {
        self.sampler = sampling.of(&self.experiment.setup)?;
        Ok(self)
    }

    /// The network and the method.
    pub fn model(&self) -> (&Network, &dyn Method) {
        (&self.network, &*self.method)
    }

    /// The sampler of [`Self::classify`].
    pub(crate) fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    pub(crate) fn ground(&self) -> Option<u8> {
        self.ground
    }

    /// The classes in the order of their labels.
    pub fn class_names(&self) -> &[String] {
        &self.experiment.images.class_names
    }

    /// The shape (C, H, W) of the images that it takes.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.experiment.images.shape()
    }

    /// Classifies a PNG or JPEG picture of any size, grey or colour.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the file cannot be read or is not a picture that can be used.
    pub fn picture(&self, path: impl AsRef<Path>, polarity: Polarity) -> Result<Answer> {
        self.answer(&self.read(path.as_ref(), polarity)?.0)
    }

    /// Classifies `images` [N, C, H, W] f32 of pixels in 0..=1, before normalisation. Answers are in their order.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] if they have another shape.
    pub fn classify(&self, images: &Tensor) -> Result<Vec<Answer>> {
        self.one_by_one(images, |image| self.answer(image))
    }

    /// Calls `answer` with each of `images` [N, C, H, W] by itself, as the network is given it, on all threads. Answers are in their order.
    pub(crate) fn one_by_one<T: Send>(
        &self,
        images: &Tensor,
        answer: impl Fn(&Tensor) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let (channels, height, width) = self.shape();
        ensure!(
            matches!(images.dims(), &[_, c, h, w] if (c, h, w) == (channels, height, width)),
            "the network takes images of the shape [N, {channels}, {height}, {width}], and these have the shape {:?}",
            images.dims()
        );
        let each = (0..images.dim(0)?).map(|image| self.seen(&images.narrow(0, image, 1)?));
        let seen = each.collect::<Result<Vec<Tensor>, DataError>>()?;
        side_by_side(self.workers(), seen, |image| answer(&image)).into_iter().collect()
    }

    /// Classifies the pictures in `files`, and hands each answer to `answer` with the path, in their order. Returns the number of
    /// pictures that were left out: a bad picture in a folder is remarked on, and one that is named by its own path is an error before
    /// the first answer.
    ///
    /// # Errors
    /// As for [`Self::picture`], and those of `answer`.
    pub fn pictures<E: From<crate::Error>>(
        &self,
        pictures: &Pictures,
        polarity: Polarity,
        progress: &mut dyn Progress,
        mut answer: impl FnMut(&Path, Answer) -> Result<(), E>,
    ) -> Result<usize, E> {
        let files = &pictures.files;
        let open = |path: &Path| self.read(path, polarity);
        // The first pictures are opened before the first answer in any case.
        for file in files.iter().skip(AT_ONCE).filter(|file| file.origin == Origin::Named) {
            open(&file.path).map_err(crate::Error::from)?;
        }
        progress.remark(Remark::PassedOver(pictures.passed_over.clone()));
        let mut opposites = Opposites::to(self.ground);
        let mut left_out = 0;
        for some in files.chunks(AT_ONCE) {
            let mut opened = Vec::with_capacity(some.len());
            for file in some {
                match open(&file.path) {
                    Ok((picture, ground)) => {
                        opposites.look(&file.path, ground);
                        opened.push((&file.path, picture));
                    }
                    Err(fault @ (DataError::Picture { .. } | DataError::Read { .. }))
                        if file.origin == Origin::InFolder =>
                    {
                        progress.remark(Remark::LeftOut(fault.to_string()));
                        left_out += 1;
                    }
                    Err(fault) => return Err(crate::Error::from(fault).into()),
                }
            }
            let answers = side_by_side(self.workers(), opened, |(path, picture)| {
                (path, self.answer(&picture))
            });
            for (path, found) in answers {
                answer(path, found?)?;
            }
        }
        if let Some(opposite) = opposites.found(polarity) {
            progress.remark(Remark::Opposite(opposite));
        }
        Ok(left_out)
    }

    /// A picture as the network is given it, and the shade of its ground.
    fn read(&self, path: &Path, polarity: Polarity) -> Result<(Tensor, u8), DataError> {
        let picture = picture::open(path, self.shape(), polarity)?;
        let shades = picture.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = shades.iter().map(|shade| (255.0 * shade).round() as u8).collect();
        Ok((self.seen(&picture)?, picture::ground(&bytes, self.shape())))
    }

    /// Images of pixels in 0..=1 as the network is given them.
    pub(crate) fn seen(&self, images: &Tensor) -> Result<Tensor, DataError> {
        let seen = match &self.normalization {
            Some(normalization) => normalization.apply(images)?,
            None => images.clone(),
        };
        Ok(seen.to_device(&self.device)?)
    }

    /// Classifies one image [1, C, H, W].
    fn answer(&self, image: &Tensor) -> Result<Answer> {
        let answer = classify(&self.network, &*self.method, image, &[0], &self.sampler)?;
        let label = top(&answer.probabilities)?;
        Ok(Answer {
            label,
            class: self.class_names().get(label as usize).cloned().unwrap_or_default(),
            probabilities: answer.probabilities.squeeze(0)?.to_vec1()?,
            per_block: answer.per_block.iter().map(top).collect::<Result<_>>()?,
        })
    }

    /// On a GPU images are classified one after another.
    fn workers(&self) -> Workers {
        match self.device {
            Device::Cpu => Workers::Auto,
            Device::Cuda(_) | Device::Metal(_) => Workers::Exactly(NonZeroUsize::MIN),
        }
    }
}

/// The most probable class of one image, whose probabilities are [1, classes].
pub(crate) fn top(probabilities: &Tensor) -> Result<u32> {
    Ok(most_probable(probabilities)?[0])
}

/// Refuses a folder that holds anything else than a saved classifier with files of the names of `beside`.
fn check_replaceable(path: &Path, beside: &[(String, Vec<u8>)]) -> Result<()> {
    let config = path.join("config.toml");
    if !RunDirectory::is_run(path) || Experiment::read_any(&config).is_err() {
        return Err(TrainError::RunExists(path.into()).into());
    }
    let is_ours = |name: &str| {
        // The last two are those of file managers.
        ["config.toml", "model.safetensors", ".lock", ".DS_Store", "Thumbs.db"].contains(&name)
            || name.starts_with(UNFINISHED)
            || beside.iter().any(|(beside, _)| beside == name)
    };
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        ensure!(
            name.to_str().is_some_and(is_ours),
            "{} holds more than a saved classifier, such as {}, and is not replaced",
            path.display(),
            name.display()
        );
    }
    Ok(())
}

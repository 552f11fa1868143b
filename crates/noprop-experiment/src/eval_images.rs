//! The images that a trained network is evaluated on: those of its run, or others, matched by the names of their classes.

use std::path::{Path, PathBuf};

use candle_core::Device;
use noprop_data::{
    BadPictures, Dataset, DatasetName, Duplicates, FolderOptions, Half, Listing, Split,
    TestPictures, open_half,
};
use noprop_train::Silent;

use crate::classes::{absent_classes, by_name};
use crate::error::{Error, Result, bail, ensure};
use crate::kept::{Kept, Moved, Place};
use crate::part::Part;
use crate::progress::{Progress, Remark};
use crate::shell::shown;
use crate::source::Source;
use crate::trained::Trained;

/// The images of an evaluation.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The images of the data set.
    pub half: Half,
    /// Their data set, where it is not the run's own, or the place of the run's own now.
    pub place: Moved,
}

/// The test images of `run` as they are in their files, with the labels of its classes.
///
/// # Errors
/// If there is no run, if its data cannot be found, or if they differ from those of its training.
pub fn test_images(run: impl AsRef<Path>, place: &Moved) -> Result<Split> {
    let trained = Trained::open(run, &Device::Cpu)?;
    Ok(EvalImages::unchanged(&trained, place, &mut Silent)?.part.images)
}

/// The treatment of images that are not those that the run was started with.
#[derive(Clone, Copy)]
enum Changed {
    Refuse,
    Warn,
}

/// Images to evaluate a network on.
#[derive(Debug)]
pub(crate) struct EvalImages {
    /// A short name of their data set.
    pub name: String,
    /// The images as they are in the files.
    pub part: Part,
    /// The picture files of the half that they were taken from, if it is one of a folder.
    files: Option<Vec<PathBuf>>,
}

impl EvalImages {
    /// The images that are asked for.
    pub(crate) fn open(
        trained: &Trained,
        asked: &Asked,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let kept = Kept::read(&trained.run)?;
        let own = &trained.experiment.setup.dataset;
        let dataset = asked.place.dataset.as_ref();
        if asked.place.bad == BadPictures::Skip
            && !matches!(dataset.unwrap_or(own), Source::Folder(_))
        {
            let reason = "is for folder:PATH: the other data sets have no files to leave out";
            return Err(Error::setting("skip-bad", reason));
        }
        let others = dataset.filter(|source| !is_own(source, own, &kept));
        let images = match (others, own) {
            (Some(source @ Source::Folder(path)), _) => {
                Self::of_folder(trained, asked, (source, path), &kept, progress)?
            }
            (Some(Source::Known(name)), _) => Self::of_known(trained, asked, *name, progress)?,
            (Some(Source::Memory), _) => return Err(Source::gone()),
            // A file of a known data set was replaced on purpose.
            (None, Source::Known(_) | Source::Memory) => {
                Self::of_run(trained, asked, (&kept, Changed::Warn), progress)?
            }
            (None, Source::Folder(_)) => {
                Self::of_run(trained, asked, (&kept, Changed::Refuse), progress)?
            }
        };
        let names = &trained.experiment.images.class_names;
        if let Some(remark) = absent_classes(names, &images.part.images, asked.half)? {
            progress.remark(Remark::Warning(remark));
        }
        Ok(images)
    }

    /// The test images of the run, which must be those that it was started with.
    pub(crate) fn unchanged(
        trained: &Trained,
        moved: &Moved,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let asked = Asked { half: Half::Test, place: moved.clone() };
        Self::of_run(trained, &asked, (&Kept::read(&trained.run)?, Changed::Refuse), progress)
    }

    /// The file of image `index`, or its number in the data set where images have no files.
    pub fn picture(&self, index: usize) -> String {
        let number = self.part.numbers.get(index).map_or(index, |number| *number as usize);
        let file = self.files.as_ref().and_then(|files| files.get(number));
        file.map_or_else(|| number.to_string(), |file| file.to_string_lossy().into_owned())
    }

    /// The images of the run, at the place that is named if they were moved there.
    fn of_run(
        trained: &Trained,
        asked: &Asked,
        (kept, changed): (&Kept, Changed),
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let experiment = &trained.experiment;
        let place = Place::of_run(&experiment.setup.dataset, kept, &asked.place)?;
        let mut options = experiment.folder_options(kept.listing.as_ref())?;
        options.bad = options.bad.max(asked.place.bad);
        let data = place.load(&options)?;
        progress.remark(Remark::Data(data.notices.clone()));
        match (change(trained, kept, &data, (asked.half, &place), progress), changed) {
            (None, _) => {}
            (Some(change), Changed::Warn) => progress.remark(Remark::Warning(change)),
            (Some(change), Changed::Refuse) => bail!("{change}"),
        }
        let mut part = Part::of_run(&experiment.setup, &data, asked.half)?;
        // A class that came or went among the other images moves the numbers of the classes.
        part.images = by_name(&part.images, &data.class_names, &experiment.images.class_names)?;
        let files = files(&place.source, &data.listing, part.from);
        Ok(Self { name: place.source.name(), part, files })
    }

    fn of_folder(
        trained: &Trained,
        asked: &Asked,
        (source, path): (&Source, &Path),
        kept: &Kept,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let wanted = &trained.experiment.images;
        let size = Some((wanted.height, wanted.width));
        let (channels, bad) = (Some(wanted.channels), asked.place.bad);
        let options = FolderOptions { size, channels, bad, test: TestPictures::OwnFolder };
        let found = open_half(path, asked.half, &wanted.class_names, &options)?;
        progress.remark(Remark::Data(found.notices));
        let trained_on = |half| {
            let kept = kept.listing.as_ref();
            kept.map_or(0, |kept| found.listing.shared_with(asked.half, kept, half))
        };
        let seen = match learned(trained, kept, asked.place.data_dir.clone(), &found.images) {
            Some(images) => images,
            // Without the training images at hand, their files are known.
            None => trained_on(Half::Train) + trained_on(Half::Validation),
        };
        if seen > 0 {
            progress.remark(Remark::Warning(format!(
                "{seen} of these {} images are training images of the run: an accuracy on them is not one on new images",
                found.images.len()
            )));
        }
        let files = files(source, &found.listing, asked.half);
        Ok(Self { name: found.name, part: Part::whole(found.images, asked.half), files })
    }

    fn of_known(
        trained: &Trained,
        asked: &Asked,
        name: DatasetName,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let wanted = &trained.experiment.images;
        let place = Place::new(Source::Known(name), asked.place.data_dir.as_deref());
        let data = place.load(&FolderOptions::default())?;
        progress.remark(Remark::Data(data.notices.clone()));
        let shape = data.image_shape()?;
        ensure!(
            shape == wanted.shape(),
            "{name} has images of {} channel(s) and {} x {} pixels, the run was trained on {} channel(s) and {} x {}",
            shape.0,
            shape.1,
            shape.2,
            wanted.channels,
            wanted.height,
            wanted.width
        );
        if (name, &trained.experiment.setup.dataset)
            == (DatasetName::MnistSample, &Source::Known(DatasetName::Mnist))
        {
            progress.remark(Remark::Warning(format!(
                "{name} was drawn from the training images of mnist: an accuracy on it is not one on new images"
            )));
        }
        let none = || {
            let reason = format!(
                "validation is for the run's own data and for folder:PATH with PATH/val/CLASS: {name} brings no held-out images"
            );
            Error::setting("split", reason)
        };
        let images = match asked.half {
            Half::Train => data.train,
            Half::Validation => data.validation.ok_or_else(none)?,
            Half::Test => data.test,
        };
        let images = by_name(&images, &data.class_names, &wanted.class_names)?;
        let part = Part::whole(images, asked.half);
        Ok(Self { name: name.to_string(), part, files: None })
    }
}

/// A sentence on the change of a run's own images of one half since it was started, if there is one. A change of other images alone
/// is a remark.
fn change(
    trained: &Trained,
    kept: &Kept,
    data: &Dataset,
    (half, place): (Half, &Place),
    progress: &mut dyn Progress,
) -> Option<String> {
    let built_for = &trained.experiment.images;
    // Held-out images may be drawn from the training images, and then depend on all of them.
    let (halves, others): (&[Half], Half) = match half {
        Half::Test => (&[Half::Test], Half::Train),
        Half::Train | Half::Validation => (&[Half::Train, Half::Validation], Half::Test),
    };
    let change = match &kept.listing {
        Some(listing) => {
            let of = |half: &Half| listing.difference_of(*half, &data.listing);
            let change = halves.iter().find_map(of);
            if let (None, Some(change)) = (&change, listing.difference(&data.listing)) {
                progress.remark(Remark::Warning(format!(
                    "{} images in {place} have changed since the training: {}; the {} images are the same",
                    others.adjective(),
                    shown(&change),
                    half.adjective()
                )));
            }
            change
        }
        None if built_for.sha256 != data.sha256 => Some("another SHA-256".into()),
        None if built_for.class_names != data.class_names => Some("other classes".into()),
        None => None,
    };
    change.map(|change| {
        format!(
            "the {} images in {place} are not those that the run was started with: {change}",
            half.adjective()
        )
    })
}

/// The number of `images` that are training images of the run, pixel by pixel, if its data can be read.
fn learned(
    trained: &Trained,
    kept: &Kept,
    data_dir: Option<PathBuf>,
    images: &Split,
) -> Option<usize> {
    let experiment = &trained.experiment;
    let moved = Moved { data_dir, ..Moved::default() };
    let place = Place::of_run(&experiment.setup.dataset, kept, &moved).ok()?;
    let data = place.load(&experiment.folder_options(kept.listing.as_ref()).ok()?).ok()?;
    let held_out = data.validation.as_ref().unwrap_or(&data.train);
    Some(Duplicates::among(&data.train, held_out, images).ok()?.test_in_train)
}

/// Returns whether a data set that is asked for is the run's own: by its name, at its place, or with its test pictures after it was
/// moved.
fn is_own(asked: &Source, own: &Source, kept: &Kept) -> bool {
    match (asked, own) {
        (Source::Folder(path), Source::Folder(own)) => {
            let in_place = match &kept.record {
                Some(record) => std::path::absolute(path).is_ok_and(|path| path == record.folder),
                None => path == own,
            };
            let moved = kept.listing.as_ref().is_some_and(|kept| kept.is_in(path, Half::Test));
            in_place || moved
        }
        (asked, own) => asked == own,
    }
}

/// The picture files of one half, in the order of the images.
fn files(source: &Source, listing: &Listing, half: Half) -> Option<Vec<PathBuf>> {
    let Source::Folder(folder) = source else { return None };
    Some(listing.half(half).map(|file| folder.join(&file.path)).collect())
}

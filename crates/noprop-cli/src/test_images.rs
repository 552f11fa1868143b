//! The images that a trained network is tested on: those of its run, or others, matched by the names of their classes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use noprop_data::{
    BadPictures, DatasetName, Duplicates, FolderOptions, Half, Listing, Split, TestPictures,
    open_test_folder,
};

use crate::kept::{Kept, Place};
use crate::output::note;
use crate::shell::shown;
use crate::source::{Source, announce};
use crate::trained::Trained;

/// Classes without images that are named.
const NAMED: usize = 10;

/// Images to test on.
pub struct TestImages {
    /// A short name.
    pub name: String,
    /// The images as they are in the files.
    pub images: Split,
    /// The picture files, if they come from a folder.
    files: Option<Vec<PathBuf>>,
    /// The change of the run's own test images since it was trained, if there is one.
    change: Option<String>,
}

impl TestImages {
    /// The images that a command line asks for; without a data set those of the run.
    pub fn asked(
        trained: &Trained,
        dataset: Option<&Source>,
        data_dir: Option<&Path>,
        bad: BadPictures,
    ) -> Result<Self> {
        let kept = Kept::read(&trained.run)?;
        let own = &trained.config.dataset;
        ensure!(
            bad == BadPictures::Refuse || matches!(dataset.unwrap_or(own), Source::Folder(_)),
            "--skip-bad is for folder:PATH: the other data sets have no files to leave out"
        );
        let images = match dataset {
            Some(source) if !is_own(source, own, &kept) => {
                Self::others(trained, source, data_dir, bad, &kept)?
            }
            named => {
                let images = Self::of_run(trained, &kept, named, data_dir, bad)?;
                match (own, &images.change) {
                    // Files in the place of known ones can only be meant.
                    (Source::Known(_), Some(change)) => note!("warning: {}", shown(change)),
                    _ => images.refuse_change()?,
                }
                images
            }
        };
        if let Some(remark) =
            absent_classes(&trained.config.images()?.class_names, &images.images, "test")?
        {
            note!("warning: {remark}");
        }
        Ok(images)
    }

    /// The test images of the run, which must be those that it was started with; `dataset` may name the place where they are now.
    pub fn unchanged(
        trained: &Trained,
        dataset: Option<&Source>,
        data_dir: Option<&Path>,
    ) -> Result<Self> {
        let kept = Kept::read(&trained.run)?;
        let images = Self::of_run(trained, &kept, dataset, data_dir, BadPictures::Refuse)?;
        images.refuse_change()?;
        Ok(images)
    }

    /// The file of image `number`, or the number where images have no files.
    pub fn picture(&self, number: usize) -> String {
        let file = self.files.as_ref().and_then(|files| files.get(number));
        file.map_or_else(|| number.to_string(), |file| file.to_string_lossy().into_owned())
    }

    fn refuse_change(&self) -> Result<()> {
        match &self.change {
            Some(change) => bail!("{change}"),
            None => Ok(()),
        }
    }

    /// The run's own, at the place `moved` if they were moved there.
    fn of_run(
        trained: &Trained,
        kept: &Kept,
        moved: Option<&Source>,
        data_dir: Option<&Path>,
        bad: BadPictures,
    ) -> Result<Self> {
        let config = &trained.config;
        let place = Place::of_run(&config.dataset, kept, moved, data_dir)?;
        let mut options = config.folder_options(kept.listing.as_ref())?;
        options.bad = options.bad.max(bad);
        let data = place.load(&options)?;
        announce(&data.notices);
        let built_for = config.images()?;
        let change = match &kept.listing {
            Some(listing) => {
                let change = listing.difference_of(Half::Test, &data.listing);
                if let (None, Some(change)) = (&change, listing.difference(&data.listing)) {
                    note!(
                        "warning: training images in {place} have changed since the training: {}; the test images are the same",
                        shown(&change.to_string())
                    );
                }
                change.map(|change| change.to_string())
            }
            None if built_for.sha256 != data.sha256 => Some("another SHA-256".into()),
            None if built_for.class_names != data.class_names => Some("other classes".into()),
            None => None,
        };
        let change = change.map(|change| {
            format!(
                "the test images in {place} are not those that the run was started with: {change}"
            )
        });
        let files = files(&place.source, &data.listing);
        // A class that came or went among the training images moves the others' numbers.
        let images = match change {
            None => by_name(&data.test, &data.class_names, &built_for.class_names)?,
            Some(_) => data.test,
        };
        Ok(Self { name: place.source.name(), images, files, change })
    }

    fn others(
        trained: &Trained,
        source: &Source,
        data_dir: Option<&Path>,
        bad: BadPictures,
        kept: &Kept,
    ) -> Result<Self> {
        match source {
            Source::Folder(path) => Self::of_folder(trained, source, (path, data_dir), bad, kept),
            Source::Known(name) => Self::of_known(trained, *name, source, data_dir),
        }
    }

    fn of_folder(
        trained: &Trained,
        source: &Source,
        (path, data_dir): (&Path, Option<&Path>),
        bad: BadPictures,
        kept: &Kept,
    ) -> Result<Self> {
        let wanted = trained.config.images()?;
        let size = Some((wanted.height, wanted.width));
        let channels = Some(wanted.channels);
        let options = FolderOptions { size, channels, bad, test: TestPictures::OwnFolder };
        let found = open_test_folder(path, &wanted.class_names, &options)?;
        announce(&found.notices);
        let trained_on = |half| {
            let kept = kept.listing.as_ref();
            kept.map_or(0, |kept| found.listing.shared_with(Half::Test, kept, half))
        };
        let seen = match learned(trained, kept, data_dir, &found.images) {
            Some(images) => images,
            // Without the training images at hand, their files are known.
            None => trained_on(Half::Train) + trained_on(Half::Validation),
        };
        if seen > 0 {
            note!(
                "warning: {seen} of these {} images are training images of the run: an accuracy on them is not one on new images",
                found.images.len()
            );
        }
        let files = files(source, &found.listing);
        Ok(Self { name: found.name, images: found.images, files, change: None })
    }

    fn of_known(
        trained: &Trained,
        name: DatasetName,
        source: &Source,
        data_dir: Option<&Path>,
    ) -> Result<Self> {
        let wanted = trained.config.images()?;
        let data = Place::new(source.clone(), data_dir).load(&FolderOptions::default())?;
        announce(&data.notices);
        let shape = data.image_shape()?;
        ensure!(
            shape == (wanted.channels, wanted.height, wanted.width),
            "{name} has images of {} channel(s) and {} x {} pixels, the run was trained on {} channel(s) and {} x {}",
            shape.0,
            shape.1,
            shape.2,
            wanted.channels,
            wanted.height,
            wanted.width
        );
        if (name, &trained.config.dataset)
            == (DatasetName::MnistSample, &Source::Known(DatasetName::Mnist))
        {
            note!(
                "warning: {name} was drawn from the training images of mnist: an accuracy on it is not one on new images"
            );
        }
        let images = by_name(&data.test, &data.class_names, &wanted.class_names)?;
        Ok(Self { name: name.to_string(), images, files: None, change: None })
    }
}

/// The number of `images` that are training images of the run, pixel by pixel, if its data can be read.
fn learned(
    trained: &Trained,
    kept: &Kept,
    data_dir: Option<&Path>,
    images: &Split,
) -> Option<usize> {
    let config = &trained.config;
    let place = Place::of_run(&config.dataset, kept, None, data_dir).ok()?;
    let data = place.load(&config.folder_options(kept.listing.as_ref()).ok()?).ok()?;
    let held_out = data.validation.as_ref().unwrap_or(&data.train);
    Some(Duplicates::among(&data.train, held_out, images).ok()?.test_in_train)
}

/// The images with labels that count in the order of the classes `known`, where theirs count in the order of `names`.
fn by_name(images: &Split, names: &[String], known: &[String]) -> Result<Split> {
    if names == known {
        return Ok(images.clone());
    }
    let used: HashSet<u32> = images.labels.to_vec1::<u32>()?.into_iter().collect();
    let mut labels = Vec::with_capacity(names.len());
    for (label, name) in (0u32..).zip(names) {
        match known.iter().position(|known| known == name) {
            Some(place) => labels.push(u32::try_from(place)?),
            // No image has this label.
            None if !used.contains(&label) => labels.push(0),
            None => bail!(
                "the class {name} is not one that the run knows: it tells apart {}",
                some(&known.iter().map(String::as_str).collect::<Vec<_>>())
            ),
        }
    }
    Ok(images.relabelled(&labels)?)
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

/// The picture files to test on, in the order of the images.
fn files(source: &Source, listing: &Listing) -> Option<Vec<PathBuf>> {
    let Source::Folder(folder) = source else { return None };
    Some(listing.half(Half::Test).map(|file| folder.join(&file.path)).collect())
}

/// A remark on the classes among `names` that none of the `kind` of `images` belongs to, if there are any.
pub fn absent_classes(names: &[String], images: &Split, kind: &str) -> Result<Option<String>> {
    let labels: HashSet<u32> = images.labels.to_vec1::<u32>()?.into_iter().collect();
    let absent = (0u32..).zip(names).filter(|(label, _)| !labels.contains(label));
    let absent: Vec<&str> = absent.map(|(_, name)| name.as_str()).collect();
    Ok((!absent.is_empty()).then(|| format!("there are no {kind} images of {}", some(&absent))))
}

/// The first few names, and the number of the others.
fn some(names: &[&str]) -> String {
    let named: Vec<String> =
        names.iter().take(NAMED).map(|name| shown(name).into_owned()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

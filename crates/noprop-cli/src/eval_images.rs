//! The images that a trained network is evaluated on: those of its run, or others, matched by the names of their classes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use noprop_data::{
    BadPictures, Dataset, DatasetName, Duplicates, FolderOptions, Half, Listing, Split,
    TestPictures, open_half,
};

use crate::kept::{Kept, Place};
use crate::output::note;
use crate::part::Part;
use crate::shell::shown;
use crate::source::{Source, announce};
use crate::trained::Trained;

/// Classes without images that are named.
const NAMED: usize = 10;

/// The images that a command line asks for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub half: Half,
    /// Their data set; without one the run's own.
    pub dataset: Option<&'a Source>,
    pub data_dir: Option<&'a Path>,
    pub bad: BadPictures,
}

/// The treatment of images that are not those that the run was started with.
#[derive(Clone, Copy)]
enum Changed {
    Refuse,
    Warn,
}

/// Images to evaluate a network on.
pub struct EvalImages {
    /// A short name of their data set.
    pub name: String,
    /// The images as they are in the files.
    pub part: Part,
    /// The picture files of the half that they were taken from, if it is one of a folder.
    files: Option<Vec<PathBuf>>,
}

impl EvalImages {
    /// The images that are asked for.
    pub fn open(trained: &Trained, asked: Asked<'_>) -> Result<Self> {
        let kept = Kept::read(&trained.run)?;
        let own = &trained.config.dataset;
        ensure!(
            asked.bad == BadPictures::Refuse
                || matches!(asked.dataset.unwrap_or(own), Source::Folder(_)),
            "--skip-bad is for folder:PATH: the other data sets have no files to leave out"
        );
        let others = asked.dataset.filter(|source| !is_own(source, own, &kept));
        let images = match (others, own) {
            (Some(source @ Source::Folder(path)), _) => {
                Self::of_folder(trained, asked, (source, path), &kept)?
            }
            (Some(Source::Known(name)), _) => Self::of_known(trained, asked, *name)?,
            // Files in the place of known ones can only be meant.
            (None, Source::Known(_)) => Self::of_run(trained, asked, &kept, Changed::Warn)?,
            (None, Source::Folder(_)) => Self::of_run(trained, asked, &kept, Changed::Refuse)?,
        };
        let names = &trained.config.images()?.class_names;
        if let Some(remark) = absent_classes(names, &images.part.images, asked.half)? {
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
        let asked = Asked { half: Half::Test, dataset, data_dir, bad: BadPictures::Refuse };
        Self::of_run(trained, asked, &Kept::read(&trained.run)?, Changed::Refuse)
    }

    /// The file of image `index`, or its number in the data set where images have no files.
    pub fn picture(&self, index: usize) -> String {
        let number = self.part.numbers.get(index).map_or(index, |number| *number as usize);
        let file = self.files.as_ref().and_then(|files| files.get(number));
        file.map_or_else(|| number.to_string(), |file| file.to_string_lossy().into_owned())
    }

    /// The run's own, at the place that is named if they were moved there.
    fn of_run(trained: &Trained, asked: Asked<'_>, kept: &Kept, changed: Changed) -> Result<Self> {
        let config = &trained.config;
        let place = Place::of_run(&config.dataset, kept, asked.dataset, asked.data_dir)?;
        let mut options = config.folder_options(kept.listing.as_ref())?;
        options.bad = options.bad.max(asked.bad);
        let data = place.load(&options)?;
        announce(&data.notices);
        match (change(trained, kept, &data, (asked.half, &place))?, changed) {
            (None, _) => {}
            (Some(change), Changed::Warn) => note!("warning: {}", shown(&change)),
            (Some(change), Changed::Refuse) => bail!("{change}"),
        }
        let mut part = Part::of_run(config, &data, asked.half)?;
        // A class that came or went among images that are not asked for moves the others' numbers.
        part.images = by_name(&part.images, &data.class_names, &config.images()?.class_names)?;
        let files = files(&place.source, &data.listing, part.from);
        Ok(Self { name: place.source.name(), part, files })
    }

    fn of_folder(
        trained: &Trained,
        asked: Asked<'_>,
        (source, path): (&Source, &Path),
        kept: &Kept,
    ) -> Result<Self> {
        let wanted = trained.config.images()?;
        let size = Some((wanted.height, wanted.width));
        let (channels, bad) = (Some(wanted.channels), asked.bad);
        let options = FolderOptions { size, channels, bad, test: TestPictures::OwnFolder };
        let found = open_half(path, asked.half, &wanted.class_names, &options)?;
        announce(&found.notices);
        let trained_on = |half| {
            let kept = kept.listing.as_ref();
            kept.map_or(0, |kept| found.listing.shared_with(asked.half, kept, half))
        };
        let seen = match learned(trained, kept, asked.data_dir, &found.images) {
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
        let files = files(source, &found.listing, asked.half);
        Ok(Self { name: found.name, part: Part::whole(found.images, asked.half), files })
    }

    fn of_known(trained: &Trained, asked: Asked<'_>, name: DatasetName) -> Result<Self> {
        let wanted = trained.config.images()?;
        let place = Place::new(Source::Known(name), asked.data_dir);
        let data = place.load(&FolderOptions::default())?;
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
        let images = match asked.half {
            Half::Train => data.train,
            Half::Validation => data.validation.with_context(|| {
                format!("{name} brings no held-out images: --split validation is for the run's own data and for folder:PATH with PATH/val/CLASS")
            })?,
            Half::Test => data.test,
        };
        let images = by_name(&images, &data.class_names, &wanted.class_names)?;
        let part = Part::whole(images, asked.half);
        Ok(Self { name: name.to_string(), part, files: None })
    }
}

/// A sentence on the change of a run's own images of one half since it was started, if there is one. A change of other images alone
/// is printed as a warning.
fn change(
    trained: &Trained,
    kept: &Kept,
    data: &Dataset,
    (half, place): (Half, &Place),
) -> Result<Option<String>> {
    let built_for = trained.config.images()?;
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
                note!(
                    "warning: {} images in {place} have changed since the training: {}; the {} images are the same",
                    others.adjective(),
                    shown(&change.to_string()),
                    half.adjective()
                );
            }
            change.map(|change| change.to_string())
        }
        None if built_for.sha256 != data.sha256 => Some("another SHA-256".into()),
        None if built_for.class_names != data.class_names => Some("other classes".into()),
        None => None,
    };
    Ok(change.map(|change| {
        format!(
            "the {} images in {place} are not those that the run was started with: {change}",
            half.adjective()
        )
    }))
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

/// The picture files of one half, in the order of the images.
fn files(source: &Source, listing: &Listing, half: Half) -> Option<Vec<PathBuf>> {
    let Source::Folder(folder) = source else { return None };
    Some(listing.half(half).map(|file| folder.join(&file.path)).collect())
}

/// A remark on the classes among `names` that none of the `images`, which are of one `half`, belongs to, if there are any.
pub fn absent_classes(names: &[String], images: &Split, half: Half) -> Result<Option<String>> {
    let labels: HashSet<u32> = images.labels.to_vec1::<u32>()?.into_iter().collect();
    let absent = (0u32..).zip(names).filter(|(label, _)| !labels.contains(label));
    let absent: Vec<&str> = absent.map(|(_, name)| name.as_str()).collect();
    let kind = half.adjective();
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

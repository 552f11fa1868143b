//! Data sets, and the reading of those that are known by name.

use std::path::{Path, PathBuf};
use std::thread;

use noprop_files::{DatasetName, Entry, Hasher, Presence, RawFile, sha256};

use crate::error::DataError;
use crate::listing::{Half, Listing};
use crate::notice::Notice;
use crate::order::{Purpose, permutation};
use crate::split::Split;
use crate::{cifar, idx};

/// The seed of the bundled sample's split into training and test images.
const SAMPLE_SEED: u64 = 0;
/// The number of test images of each class of the sample.
const SAMPLE_TEST_PER_CLASS: usize = 100;

/// A data set with its fixed split into training and test images.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// A short name, such as `mnist`.
    pub name: String,
    /// For training and validation.
    pub train: Split,
    /// Images that the data set itself holds out to choose the epoch.
    pub validation: Option<Split>,
    /// For the test, once, at the end.
    pub test: Split,
    /// The number of classes.
    pub classes: usize,
    /// The names of the classes, in the order of the labels.
    pub class_names: Vec<String>,
    /// The SHA-256 over the bytes of its unpacked files, one after another, by which a run identifies its data.
    pub sha256: String,
    /// The files of the data set. The bundled sample has none.
    pub listing: Listing,
    /// Remarks on the files.
    pub notices: Vec<Notice>,
}

/// Loads a data set from `data_dir/<name>/`, where its files may be unpacked or, for MNIST and Fashion-MNIST, gzipped.
/// The bundled sample needs no directory.
///
/// # Errors
/// [`DataError::Missing`] if a file is missing; [`DataError::Read`] or [`DataError::Malformed`] with the name of a file that
/// cannot be used; [`DataError::Mismatch`] if images and labels do not fit each other.
pub fn load(name: DatasetName, data_dir: &Path) -> Result<Dataset, DataError> {
    match name.presence(data_dir) {
        Presence::Bundled => Dataset::mnist_sample(),
        Presence::Complete { folder } => Dataset::open(name, &folder),
        Presence::Incomplete { folder, missing } => {
            Err(DataError::Missing { name: name.as_str(), folder, missing })
        }
    }
}

impl Dataset {
    /// The bundled 5,000 MNIST images, 500 of each class, split by a seeded rule: within each class the first 100 images of a
    /// permutation with seed 0 are for testing, and the other 400 for training.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn mnist_sample() -> Result<Self, DataError> {
        let name = DatasetName::MnistSample;
        let classes = name.class_names().len();
        let path = Path::new("the bundled MNIST sample");
        let packed: &[u8] = include_bytes!("../assets/mnist-sample/images-idx3-ubyte.gz");
        let image_bytes = idx::unpack(path, packed)?;
        let packed: &[u8] = include_bytes!("../assets/mnist-sample/labels-idx1-ubyte.gz");
        let label_bytes = idx::unpack(path, packed)?;
        let mut hasher = Hasher::default();
        hasher.update(&image_bytes);
        hasher.update(&label_bytes);

        let images = idx::images(path, &image_bytes)?;
        let labels = idx::labels(path, &label_bytes, classes)?;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for class in 0..classes {
            let rows: Vec<u32> = (0..)
                .zip(labels)
                .filter(|&(_, &label)| usize::from(label) == class)
                .map(|(row, _)| row)
                .collect();
            let order = permutation(Purpose::Sample, SAMPLE_SEED, class as u64, rows.len());
            for (place, &pick) in order.iter().enumerate() {
                let half = if place < SAMPLE_TEST_PER_CLASS { &mut test } else { &mut train };
                half.extend(rows.get(pick as usize));
            }
        }
        let shape = (1, images.height, images.width);
        let all = Split::of_bytes(images.pixels.to_vec(), labels, shape, classes)?;
        let files = Files { combined: hasher, ..Files::default() };
        Ok(Self::of(name, all.select(&train)?, all.select(&test)?, files))
    }

    /// Opens a data set in the folder that holds its files. The bundled sample needs no folder.
    ///
    /// # Errors
    /// As [`load`], but a file that is missing is a [`DataError::Read`].
    pub fn open(name: DatasetName, folder: &Path) -> Result<Self, DataError> {
        let Some(entry) = name.entry() else {
            return Self::mnist_sample();
        };
        match name {
            DatasetName::Cifar10 => cifar_like(name, entry, folder, cifar::Labels::One),
            DatasetName::Cifar100 => cifar_like(name, entry, folder, cifar::Labels::CoarseAndFine),
            _ => mnist_like(name, entry, folder),
        }
    }

    /// Opens the full MNIST in a folder that holds its four files, gzipped or not.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn mnist(folder: &Path) -> Result<Self, DataError> {
        Self::open(DatasetName::Mnist, folder)
    }

    /// The (C, H, W) of every image.
    ///
    /// # Errors
    /// candle's, but never for a split that was checked.
    pub fn image_shape(&self) -> Result<(usize, usize, usize), DataError> {
        self.train.image_shape()
    }

    fn of(name: DatasetName, train: Split, test: Split, files: Files) -> Self {
        let class_names: Vec<_> = name.class_names().iter().map(|&class| class.into()).collect();
        let Files { combined, listing, unpublished, .. } = files;
        let (name, files) = (name.as_str(), unpublished);
        let changed = (!files.is_empty()).then_some(Notice::Unpublished { name, files });
        Self {
            name: name.into(),
            train,
            validation: None,
            test,
            classes: class_names.len(),
            class_names,
            sha256: combined.finish(),
            listing,
            notices: changed.into_iter().collect(),
        }
    }
}

/// Reads four IDX files: training images and labels, test images and labels.
///
/// The reader of candle-datasets believes the headers of the files, and turns every pixel into two f32 on the way, 440 MB for
/// the 47 MB of MNIST. `candle_datasets_reads_the_same_bits` compares the two.
fn mnist_like(name: DatasetName, entry: &Entry, folder: &Path) -> Result<Dataset, DataError> {
    let classes = name.class_names().len();
    let mut files = Files { known: entry.sha256.is_some(), ..Files::default() };
    let train = Images::read(entry, folder, Half::Train, classes, &mut files)?;
    let test = Images::read(entry, folder, Half::Test, classes, &mut files)?;
    if train.shape != test.shape {
        let ((_, h, w), (_, test_h, test_w)) = (train.shape, test.shape);
        let reason = format!(
            "{}: training images are {h} x {w} but test images {test_h} x {test_w}",
            folder.display(),
        );
        return Err(DataError::Mismatch { reason });
    }
    let data = Dataset::of(name, train.split(classes)?, test.split(classes)?, files);
    match entry.sha256 {
        // At least one file is not the published one: they are hashed one by one.
        Some(known) if known != data.sha256 => {
            mnist_like(name, &Entry { sha256: None, ..*entry }, folder)
        }
        _ => Ok(data),
    }
}

/// The files of a data set, as they are read.
#[derive(Default)]
struct Files {
    /// Over the bytes of all files, one after another.
    combined: Hasher,
    listing: Listing,
    /// The names of the files that are not the published ones.
    unpublished: Vec<&'static str>,
    /// True if the hash over all files is known. If it is right, each file is the published one.
    known: bool,
}

impl Files {
    /// Notes a file of a known data set and its unpacked bytes.
    fn note(&mut self, file: &RawFile, half: Half, bytes: &[u8]) {
        let own = match self.listing.files() {
            _ if self.known => {
                self.combined.update(bytes);
                file.sha256.to_owned()
            }
            // So far the hash of all files is that of the first.
            [] => {
                self.combined.update(bytes);
                self.combined.clone().finish()
            }
            // On two cores two hashes take no longer than one.
            _ => thread::scope(|scope| {
                let own = scope.spawn(|| sha256(bytes));
                self.combined.update(bytes);
                own.join().unwrap_or_else(|_| sha256(bytes))
            }),
        };
        if own != file.sha256 {
            self.unpublished.push(file.name);
        }
        self.listing.push(half, file.name.into(), own);
    }
}

/// The checked bytes of one half of an MNIST-like data set.
struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    shape: (usize, usize, usize),
}

impl Images {
    fn read(
        entry: &Entry,
        folder: &Path,
        half: Half,
        classes: usize,
        files: &mut Files,
    ) -> Result<Self, DataError> {
        let prefix = if half == Half::Test { "t10k" } else { "train" };
        let mut raw = |kind: &str| raw(entry, folder, &format!("{prefix}-{kind}"), half, files);
        let ((mut image_bytes, image_path), (label_bytes, label_path)) =
            (raw("images")?, raw("labels")?);
        let images = idx::images(&image_path, &image_bytes)?;
        let labels = idx::labels(&label_path, &label_bytes, classes)?;
        if images.count != labels.len() {
            let reason = format!(
                "{} holds {} images but {} holds {} labels",
                image_path.display(),
                images.count,
                label_path.display(),
                labels.len()
            );
            return Err(DataError::Mismatch { reason });
        }
        let shape = (1, images.height, images.width);
        let header = image_bytes.len() - images.pixels.len();
        image_bytes.drain(..header);
        Ok(Self { shape, pixels: image_bytes, labels: labels.to_vec() })
    }

    fn split(self, classes: usize) -> Result<Split, DataError> {
        Split::of_bytes(self.pixels, &self.labels, self.shape, classes)
    }
}

/// The unpacked bytes of the first file of the data set whose name begins with `start`, and its path.
fn raw(
    entry: &Entry,
    folder: &Path,
    start: &str,
    half: Half,
    files: &mut Files,
) -> Result<(Vec<u8>, PathBuf), DataError> {
    let file = entry.files.iter().find(|file| file.name.starts_with(start));
    let name = file.map_or(start, |file| file.name);
    // A missing file is reported by its plain name.
    let path = entry.find(folder, name).unwrap_or_else(|| folder.join(name));
    let bytes = idx::read(&path)?;
    if let Some(file) = file {
        files.note(file, half, &bytes);
    }
    Ok((bytes, path))
}

/// Reads files of records: all but those whose names begin with `test` are for training.
fn cifar_like(
    name: DatasetName,
    entry: &Entry,
    folder: &Path,
    layout: cifar::Labels,
) -> Result<Dataset, DataError> {
    let classes = name.class_names().len();
    let mut files = Files::default();
    let mut read = |half: Half| {
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
        let all = entry.files.iter();
        for file in all.filter(|file| file.name.starts_with("test") == (half == Half::Test)) {
            let path = folder.join(file.name);
            let bytes = idx::read(&path)?;
            files.note(file, half, &bytes);
            cifar::append(&path, &bytes, layout, classes, &mut labels, &mut pixels)?;
        }
        Split::of_bytes(pixels, &labels, cifar::SHAPE, classes)
    };
    let (train, test) = (read(Half::Train)?, read(Half::Test)?);
    Ok(Dataset::of(name, train, test, files))
}

#[cfg(test)]
mod tests;

//! Data sets, and the reading of those that are known by name.

use std::path::{Path, PathBuf};
use std::thread;

use noprop_files::{DatasetName, Entry, Hasher, Presence, RawFile, sha256};

use crate::error::DataError;
use crate::listing::{Half, Listing};
use crate::notice::Notice;
use crate::order::{Purpose, of_class};
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
        let path = Path::new("the bundled MNIST sample");
        let images = include_bytes!("../assets/mnist-sample/images-idx3-ubyte.gz");
        let labels = include_bytes!("../assets/mnist-sample/labels-idx1-ubyte.gz");
        let (images, labels) = (idx::unpack(path, images)?, idx::unpack(path, labels)?);
        let mut files = Files::default();
        files.combined.update(&images);
        files.combined.update(&labels);
        let classes = name.class_names().len();
        let all = of_idx((path.into(), images), (path.into(), labels), classes)?;
        let labels = all.labels.to_vec1::<u32>()?;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for class in 0..classes {
            let rows = of_class(Purpose::Sample, SAMPLE_SEED, &labels, class);
            let (tested, trained) = rows.split_at(SAMPLE_TEST_PER_CLASS.min(rows.len()));
            test.extend(tested);
            train.extend(trained);
        }
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

    /// The (C, H, W) of every image.
    ///
    /// # Errors
    /// candle's, but never for a split that was checked.
    pub fn image_shape(&self) -> Result<(usize, usize, usize), DataError> {
        self.train.image_shape()
    }

    fn of(name: DatasetName, train: Split, test: Split, files: Files) -> Self {
        let class_names: Vec<_> = name.class_names().iter().map(|&class| class.into()).collect();
        let Files { combined, listing, unpublished } = files;
        let notice = Notice::Unpublished { name: name.as_str(), files: unpublished.clone() };
        Self {
            name: name.to_string(),
            train,
            validation: None,
            test,
            classes: class_names.len(),
            class_names,
            sha256: combined.finish(),
            listing,
            notices: if unpublished.is_empty() { Vec::new() } else { vec![notice] },
        }
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
}

impl Files {
    /// Reads and notes `file`, which may be packed. Returns its path and its unpacked bytes.
    fn read(
        &mut self,
        entry: &Entry,
        folder: &Path,
        file: &RawFile,
        half: Half,
    ) -> Result<(PathBuf, Vec<u8>), DataError> {
        // A missing file is reported by its plain name.
        let path = entry.find(folder, file.name).unwrap_or_else(|| folder.join(file.name));
        let bytes = idx::read(&path)?;
        // On two cores two hashes take no longer than one.
        let own = thread::scope(|scope| {
            let own = scope.spawn(|| sha256(&bytes));
            self.combined.update(&bytes);
            own.join().unwrap_or_else(|_| sha256(&bytes))
        });
        if own != file.sha256 {
            self.unpublished.push(file.name);
        }
        self.listing.push(half, file.name.into(), own);
        Ok((path, bytes))
    }
}

/// The files of one half of a data set: those whose names begin with `test` or `t10k` are for testing.
fn files_of(entry: &'static Entry, half: Half) -> impl Iterator<Item = &'static RawFile> {
    let is_test =
        |file: &RawFile| ["test", "t10k"].iter().any(|start| file.name.starts_with(start));
    entry.files.iter().filter(move |file| is_test(file) == (half == Half::Test))
}

/// Reads four IDX files: training images and labels, test images and labels.
///
/// The reader of candle-datasets believes the headers of the files, and turns every pixel into two f32 on the way, 440 MB for
/// the 47 MB of MNIST. `candle_datasets_reads_the_same_bits` compares the two.
fn mnist_like(
    name: DatasetName,
    entry: &'static Entry,
    folder: &Path,
) -> Result<Dataset, DataError> {
    let classes = name.class_names().len();
    let mut files = Files::default();
    let mut read = |half: Half| {
        let raw = files_of(entry, half).map(|file| files.read(entry, folder, file, half));
        let [images, labels] = <[_; 2]>::try_from(raw.collect::<Result<Vec<_>, _>>()?)
            .map_err(|_| DataError::malformed(folder, "it needs images and labels"))?;
        of_idx(images, labels, classes)
    };
    let (train, test) = (read(Half::Train)?, read(Half::Test)?);
    let ((_, h, w), (_, test_h, test_w)) = (train.image_shape()?, test.image_shape()?);
    if (h, w) != (test_h, test_w) {
        let reason = format!(
            "{}: training images are {h} x {w} but test images {test_h} x {test_w}",
            folder.display(),
        );
        return Err(DataError::Mismatch(reason));
    }
    Ok(Dataset::of(name, train, test, files))
}

/// Checks the unpacked bytes of an image file and of a label file. Each comes with its path, for errors.
fn of_idx(
    (image_path, mut image_bytes): (PathBuf, Vec<u8>),
    (label_path, label_bytes): (PathBuf, Vec<u8>),
    classes: usize,
) -> Result<Split, DataError> {
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
        return Err(DataError::Mismatch(reason));
    }
    let shape = (1, images.height, images.width);
    let header = image_bytes.len() - images.pixels.len();
    image_bytes.drain(..header);
    Split::of_bytes(image_bytes, labels, shape, classes)
}

/// Reads files of records.
fn cifar_like(
    name: DatasetName,
    entry: &'static Entry,
    folder: &Path,
    layout: cifar::Labels,
) -> Result<Dataset, DataError> {
    let classes = name.class_names().len();
    let mut files = Files::default();
    let mut read = |half: Half| {
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
        for file in files_of(entry, half) {
            let (path, bytes) = files.read(entry, folder, file, half)?;
            cifar::append(&path, &bytes, layout, classes, &mut labels, &mut pixels)?;
        }
        Split::of_bytes(pixels, &labels, cifar::SHAPE, classes)
    };
    let (train, test) = (read(Half::Train)?, read(Half::Test)?);
    Ok(Dataset::of(name, train, test, files))
}

#[cfg(test)]
mod tests;

//! The data sets that can be loaded.

use std::path::{Path, PathBuf};
use std::thread;

use candle_core::{Device, Tensor};

use crate::catalogue::{Entry, Packing, RawFile, find};
use crate::digest::{Hasher, sha256};
use crate::listing::{Half, Listing};
use crate::order::{Purpose, permutation};
use crate::{DataError, DatasetName, Notice, Presence, Split, cifar, idx};

/// The seed of the bundled sample's split into training and test images.
const SAMPLE_SEED: u64 = 0;
/// Images of each class of the sample that are for testing.
const SAMPLE_TEST_PER_CLASS: usize = 100;

/// A data set with its fixed split into training and test images.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// As in `--dataset`.
    pub name: String,
    /// For training and validation.
    pub train: Split,
    /// Held out to choose the epoch, where the data set brings such images.
    pub validation: Option<Split>,
    /// Read once, at the end.
    pub test: Split,
    /// Number of classes.
    pub classes: usize,
    /// What they are called, in the order of the labels.
    pub class_names: Vec<String>,
    /// SHA-256 over the bytes of its unpacked files, one after another: what a run records to say what it saw.
    pub sha256: String,
    /// Its files, one by one.
    pub listing: Listing,
    /// Remarks on what was found.
    pub notices: Vec<Notice>,
}

/// Loads a data set from `data_dir/<name>/`, where its files may lie unpacked or, for MNIST and Fashion-MNIST, gzipped.
/// The bundled sample needs no directory.
///
/// # Errors
/// [`DataError::Missing`] if a file is not there; [`DataError::Read`] or [`DataError::Malformed`] naming the one that is
/// no good; [`DataError::Mismatch`] if images and labels do not fit each other.
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
    /// The bundled 5,000 MNIST images, 500 a class, split by a seeded rule: within each class a permutation with seed 0
    /// decides, its first 100 images are for testing and the other 400 for training.
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
        let all = split(images.pixels.to_vec(), labels, shape, classes)?;
        let files = Files { combined: hasher, ..Files::default() };
        Ok(Self::of(name, all.select(&train)?, all.select(&test)?, files))
    }

    /// A data set from the folder that holds its files, wherever that is. The bundled sample needs none.
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

    /// The full MNIST from a folder that holds its four files, gzipped or not.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn mnist(folder: &Path) -> Result<Self, DataError> {
        Self::open(DatasetName::Mnist, folder)
    }

    /// (C, H, W) of every image.
    ///
    /// # Errors
    /// candle's, never for a split made by [`Split::new`].
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

/// Four IDX files: training images and labels, test images and labels.
///
/// Not through candle-datasets, which believes the headers of the files and makes every pixel two f32 before it hands them
/// out: 440 MB for MNIST's 47. `candle_datasets_reads_the_same_bits` compares the two.
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
        // Some file is another than was assumed: they are hashed one by one.
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
    /// The names of those that are not the published ones.
    unpublished: Vec<&'static str>,
    /// Whether the hash over all files is known, so that each is the published one if it is right.
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
            // The hash of the first file is on the way to that of all.
            [] => {
                self.combined.update(bytes);
                self.combined.clone().finish()
            }
            // Two hashes take no longer than one where there are two cores.
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
        split(self.pixels, &self.labels, self.shape, classes)
    }
}

/// The unpacked bytes of the first of the data set's files whose name starts so, and where they came from.
fn raw(
    entry: &Entry,
    folder: &Path,
    start: &str,
    half: Half,
    files: &mut Files,
) -> Result<(Vec<u8>, PathBuf), DataError> {
    let file = entry.files.iter().find(|file| file.name.starts_with(start));
    let name = file.map_or(start, |file| file.name);
    // A file that is not there is reported by its plain name.
    let path = find(folder, name, Packing::Gzip).unwrap_or_else(|| folder.join(name));
    let bytes = idx::read(&path)?;
    if let Some(file) = file {
        files.note(file, half, &bytes);
    }
    Ok((bytes, path))
}

/// Files of records: all but those whose name starts with `test` are for training.
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
        split(pixels, &labels, cifar::SHAPE, classes)
    };
    let (train, test) = (read(Half::Train)?, read(Half::Test)?);
    Ok(Dataset::of(name, train, test, files))
}

fn split(
    pixels: Vec<u8>,
    labels: &[u8],
    (channels, height, width): (usize, usize, usize),
    classes: usize,
) -> Result<Split, DataError> {
    let count = labels.len();
    let images = Tensor::from_vec(pixels, (count, channels, height, width), &Device::Cpu)?;
    let labels: Vec<u32> = labels.iter().copied().map(u32::from).collect();
    Split::new(images, Tensor::from_vec(labels, count, &Device::Cpu)?, classes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use super::*;

    #[test]
    fn the_sample_is_balanced_and_its_halves_share_no_image() {
        let sample = Dataset::mnist_sample().unwrap();
        for (split, each) in [(&sample.train, 400), (&sample.test, 100)] {
            let labels = split.labels.to_vec1::<u32>().unwrap();
            for class in 0..10 {
                assert_eq!(labels.iter().filter(|&&label| label == class).count(), each);
            }
        }
        let bits = |split: &Split| -> Vec<Vec<u32>> {
            let rows = split.images().unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
            rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
        };
        let train: HashSet<_> = bits(&sample.train).into_iter().collect();
        assert!(bits(&sample.test).iter().all(|image| !train.contains(image)));
    }

    /// Every published accuracy on the sample is on this split: neither the images nor the rule may change unnoticed.
    /// Both hashes come from a separate program (Python, with a ChaCha8 of its own) that read the package's CSV file.
    #[test]
    fn the_sample_and_its_split_are_what_they_were() {
        let sample = Dataset::mnist_sample().unwrap();
        assert_eq!(
            sample.sha256,
            "aebc9a702d4a983e3e20b8963cd7de446d95b3a9dc06ef22b3d2dfa80b303230"
        );
        let mut hasher = Hasher::default();
        for split in [&sample.train, &sample.test] {
            let rows = split.images().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for pixel in rows {
                // The hash is of exact quotients; candle multiplies by 1/255, which may differ in the last bit.
                let exact = (pixel * 255.0).round() / 255.0;
                assert!((pixel - exact).abs() <= f32::EPSILON, "{pixel} is no multiple of 1/255");
                hasher.update(&exact.to_le_bytes());
            }
        }
        assert_eq!(
            hasher.finish(),
            "57ed8440ddb8dc70cfb71dbea4049bf195bc9212d5fa6f224c7fabfeaff9ff8f"
        );
    }

    fn idx_file(words: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(data);
        bytes
    }

    /// Three training images and two test images of 1 x 2 pixels.
    fn tiny(data_dir: &Path, name: &str) {
        let folder = data_dir.join(name);
        fs::create_dir_all(&folder).unwrap();
        let write = |file: &str, bytes: Vec<u8>| fs::write(folder.join(file), bytes).unwrap();
        write("train-images-idx3-ubyte", idx_file(&[2051, 3, 1, 2], &[0, 51, 102, 153, 204, 255]));
        write("train-labels-idx1-ubyte", idx_file(&[2049, 3], &[5, 0, 9]));
        write("t10k-images-idx3-ubyte", idx_file(&[2051, 2, 1, 2], &[1, 2, 3, 4]));
        write("t10k-labels-idx1-ubyte", idx_file(&[2049, 2], &[1, 2]));
    }

    #[test]
    fn pixels_and_labels_come_out_as_they_went_in() {
        let dir = tempfile::tempdir().unwrap();
        for name in [DatasetName::Mnist, DatasetName::FashionMnist] {
            tiny(dir.path(), name.as_str());
            let data = load(name, dir.path()).unwrap();
            assert_eq!(data.name, name.as_str());
            assert_eq!(data.image_shape().unwrap(), (1, 1, 2));
            let pixels =
                data.train.images().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (pixel, expected) in pixels.into_iter().zip([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]) {
                assert!((pixel - expected).abs() <= f32::EPSILON, "{pixel} {expected}");
            }
            assert_eq!(data.train.labels.to_vec1::<u32>().unwrap(), [5, 0, 9]);
            assert_eq!(data.test.len(), 2);
        }
    }

    /// Files that are not the published ones are used, but each is named, and hashed as it is.
    #[test]
    fn files_that_are_not_the_published_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in [DatasetName::Mnist, DatasetName::FashionMnist] {
            tiny(dir.path(), name.as_str());
            let data = load(name, dir.path()).unwrap();
            let said = data.notices[0].to_string();
            for file in name.entry().unwrap().files {
                assert!(said.contains(file.name), "{said}");
                let bytes = fs::read(dir.path().join(name.as_str()).join(file.name)).unwrap();
                let listed = data.listing.files().iter().find(|l| l.path == Path::new(file.name));
                assert_eq!(listed.unwrap().sha256, sha256(&bytes), "{}", file.name);
            }
        }
    }

    #[test]
    fn gzipped_files_are_the_same_data() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path(), "mnist");
        let plain = load(DatasetName::Mnist, dir.path()).unwrap();
        let path = dir.path().join("mnist/train-images-idx3-ubyte");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, &fs::read(&path).unwrap()).unwrap();
        fs::write(path.with_extension("gz"), encoder.finish().unwrap()).unwrap();
        fs::remove_file(&path).unwrap();
        let packed = load(DatasetName::Mnist, dir.path()).unwrap();
        assert_eq!(plain.sha256, packed.sha256);
        // Two readers, the same bits: a run must not depend on whether somebody unpacked a file.
        let bits = |data: &Dataset| -> Vec<u32> {
            let pixels =
                data.train.images().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            pixels.into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&plain), bits(&packed));
    }

    /// The reader that candle's users know, on files that it can be trusted with.
    #[test]
    fn candle_datasets_reads_the_same_bits() {
        let dir = tempfile::tempdir().unwrap();
        tiny(dir.path(), "mnist");
        let ours = load(DatasetName::Mnist, dir.path()).unwrap();
        let theirs = candle_datasets::vision::mnist::load_dir(dir.path().join("mnist")).unwrap();
        let bits = |images: &Tensor| -> Vec<u32> {
            let pixels = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            pixels.into_iter().map(f32::to_bits).collect()
        };
        for (ours, images, labels) in [
            (&ours.train, theirs.train_images, theirs.train_labels),
            (&ours.test, theirs.test_images, theirs.test_labels),
        ] {
            assert_eq!(bits(&ours.images().unwrap()), bits(&images));
            let labels: Vec<u32> =
                labels.to_vec1::<u8>().unwrap().into_iter().map(u32::from).collect();
            assert_eq!(ours.labels.to_vec1::<u32>().unwrap(), labels);
        }
    }

    #[test]
    fn each_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let refused = || load(DatasetName::Mnist, dir.path()).unwrap_err().to_string();
        assert!(refused().contains("noprop fetch mnist"), "{}", refused());
        tiny(dir.path(), "mnist");
        let labels = dir.path().join("mnist/train-labels-idx1-ubyte");
        fs::write(&labels, idx_file(&[2049, 4], &[5, 0, 9, 1])).unwrap();
        assert!(refused().contains("holds 3 images but"), "{}", refused());
        fs::write(&labels, idx_file(&[2049, 3], &[5, 0, 10])).unwrap();
        assert!(refused().contains("train-labels-idx1-ubyte"), "{}", refused());
        assert!(refused().contains("label 10 of image 2"), "{}", refused());
        fs::remove_file(&labels).unwrap();
        assert!(refused().contains("train-labels-idx1-ubyte missing"), "{}", refused());
    }

    #[test]
    fn cifar_files_join_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cifar10");
        fs::create_dir_all(&folder).unwrap();
        for (label, file) in (0..).zip(DatasetName::Cifar10.entry().unwrap().files) {
            let mut record = vec![label];
            record.resize(1 + 3072, label * 51);
            fs::write(folder.join(file.name), record).unwrap();
        }
        let data = load(DatasetName::Cifar10, dir.path()).unwrap();
        assert_eq!(data.image_shape().unwrap(), (3, 32, 32));
        assert_eq!(data.train.labels.to_vec1::<u32>().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(data.test.labels.to_vec1::<u32>().unwrap(), [5]);
        let last = data.test.images().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(last.iter().all(|&p| p == 1.0));
        assert_eq!(data.class_names.last().unwrap(), "truck");
    }
}

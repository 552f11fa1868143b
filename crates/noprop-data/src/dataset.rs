//! The data sets that can be loaded.

use std::path::Path;

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use crate::idx;
use crate::order::{Purpose, permutation};
use crate::{DataError, Split};

const CLASSES: usize = 10;
/// The seed of the bundled sample's split into training and test images.
const SAMPLE_SEED: u64 = 0;
/// Images of each class of the sample that are for testing.
const SAMPLE_TEST_PER_CLASS: usize = 100;

/// A data set with its fixed split into training and test images.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// As in `--dataset`.
    pub name: &'static str,
    /// For training and validation.
    pub train: Split,
    /// Read once, at the end.
    pub test: Split,
    /// Number of classes.
    pub classes: usize,
    /// What a person calls each class.
    pub class_names: Vec<String>,
    /// SHA-256 over the uncompressed files, in hexadecimal: training images, training labels, test images, test labels;
    /// for the sample its images and labels.
    pub sha256: String,
}

impl Dataset {
    /// The bundled 5,000 MNIST images, 500 a class, split by a seeded rule: within each class a permutation with seed 0
    /// decides, its first 100 images are for testing and the other 400 for training.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn mnist_sample() -> Result<Self, DataError> {
        let path = Path::new("the bundled MNIST sample");
        let packed: &[u8] = include_bytes!("../assets/mnist-sample/images-idx3-ubyte.gz");
        let image_bytes = idx::decompress(path, packed)?;
        let images = idx::images(path, &image_bytes)?;
        let packed: &[u8] = include_bytes!("../assets/mnist-sample/labels-idx1-ubyte.gz");
        let label_bytes = idx::decompress(path, packed)?;
        let labels = idx::labels(path, &label_bytes, CLASSES)?;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for class in 0..CLASSES {
            let rows: Vec<u32> = (0..)
                .zip(&labels)
                .filter(|&(_, &label)| usize::from(label) == class)
                .map(|(row, _)| row)
                .collect();
            let order = permutation(Purpose::Sample, SAMPLE_SEED, class as u64, rows.len());
            for (place, &pick) in order.iter().enumerate() {
                let half = if place < SAMPLE_TEST_PER_CLASS {
                    &mut test
                } else {
                    &mut train
                };
                half.extend(rows.get(pick as usize));
            }
        }
        let all = split(images, labels)?;
        Ok(Self {
            name: "mnist-sample",
            train: all.select(&train)?,
            test: all.select(&test)?,
            classes: CLASSES,
            class_names: digits(),
            sha256: digest(&[&image_bytes, &label_bytes]),
        })
    }

    /// The full MNIST from a folder that holds its four files, compressed (`.gz`) or not.
    ///
    /// # Errors
    /// [`DataError::Read`] or [`DataError::Malformed`] naming the file.
    pub fn mnist(folder: &Path) -> Result<Self, DataError> {
        let mut hash = Sha256::new();
        let mut half = |prefix: &str| {
            let file = |kind: &str| {
                let plain = folder.join(format!("{prefix}-{kind}-ubyte"));
                let packed = folder.join(format!("{prefix}-{kind}-ubyte.gz"));
                if !plain.exists() && packed.exists() {
                    packed
                } else {
                    plain
                }
            };
            let (path, labels) = (file("images-idx3"), file("labels-idx1"));
            let (image_bytes, label_bytes) = (idx::read(&path)?, idx::read(&labels)?);
            hash.update(&image_bytes);
            hash.update(&label_bytes);
            let images = idx::images(&path, &image_bytes)?;
            split(images, idx::labels(&labels, &label_bytes, CLASSES)?)
        };
        let (train, test) = (half("train")?, half("t10k")?);
        Ok(Self {
            name: "mnist",
            train,
            test,
            classes: CLASSES,
            class_names: digits(),
            sha256: hex(&hash.finalize()),
        })
    }
}

fn digits() -> Vec<String> {
    (0..CLASSES).map(|class| class.to_string()).collect()
}

fn digest(files: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file);
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn split(images: idx::Images, labels: Vec<u8>) -> Result<Split, DataError> {
    let pixels: Vec<f32> = images
        .pixels
        .iter()
        .map(|&p| f32::from(p) / 255.0)
        .collect();
    let shape = (images.count, 1, images.height, images.width);
    let images = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
    let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
    let count = labels.len();
    Split::new(
        images,
        Tensor::from_vec(labels, count, &Device::Cpu)?,
        CLASSES,
    )
}

#[cfg(test)]
mod tests {
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
            let rows = split
                .images
                .flatten_from(1)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap();
            rows.into_iter()
                .map(|row| row.into_iter().map(f32::to_bits).collect())
                .collect()
        };
        let train: std::collections::HashSet<_> = bits(&sample.train).into_iter().collect();
        assert!(
            bits(&sample.test)
                .iter()
                .all(|image| !train.contains(image))
        );
    }
}

//! The bundled sample, and files on a disk as the readers find them.

use std::collections::HashSet;
use std::fs;

use super::*;
use crate::error::Remedy;
use crate::fixtures::{gzip, idx_file, labels, pixels};

/// A test image that is also trained on would make every accuracy on the sample worthless.
#[test]
fn the_sample_is_balanced_and_its_halves_share_no_image() {
    let sample = Dataset::mnist_sample().unwrap();
    for (split, each) in [(&sample.train, 400), (&sample.test, 100)] {
        let labels = labels(split);
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
    assert_eq!(sample.sha256, "aebc9a702d4a983e3e20b8963cd7de446d95b3a9dc06ef22b3d2dfa80b303230");
    let mut hasher = Hasher::default();
    for split in [&sample.train, &sample.test] {
        for pixel in pixels(split) {
            // The hash is of exact quotients; candle multiplies by 1/255, which may differ in the last bit.
            let exact = (pixel * 255.0).round() / 255.0;
            assert!((pixel - exact).abs() <= f32::EPSILON, "{pixel} is not a multiple of 1/255");
            hasher.update(&exact.to_le_bytes());
        }
    }
    assert_eq!(hasher.finish(), "57ed8440ddb8dc70cfb71dbea4049bf195bc9212d5fa6f224c7fabfeaff9ff8f");
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

/// Files that are not the published ones arrive as they are, but each is named, and hashed.
#[test]
fn files_that_are_not_the_published_ones_are_read_and_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in [DatasetName::Mnist, DatasetName::FashionMnist] {
        tiny(dir.path(), name.as_str());
        let data = load(name, dir.path()).unwrap();
        assert_eq!(data.name, name.as_str());
        assert_eq!(data.image_shape().unwrap(), (1, 1, 2));
        for (pixel, expected) in pixels(&data.train).into_iter().zip([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
        {
            assert!((pixel - expected).abs() <= f32::EPSILON, "{pixel} {expected}");
        }
        assert_eq!(labels(&data.train), [5, 0, 9]);
        assert_eq!(data.test.len(), 2);
        let text = data.notices[0].to_string();
        for file in name.entry().unwrap().files {
            assert!(text.contains(file.name), "{text}");
            let bytes = fs::read(dir.path().join(name.as_str()).join(file.name)).unwrap();
            let listed = data.listing.files().iter().find(|l| l.path == Path::new(file.name));
            assert_eq!(listed.unwrap().sha256, sha256(&bytes), "{}", file.name);
        }
    }
}

/// A run must not depend on whether its files were unpacked.
#[test]
fn gzipped_files_are_the_same_data() {
    let dir = tempfile::tempdir().unwrap();
    tiny(dir.path(), "mnist");
    let plain = load(DatasetName::Mnist, dir.path()).unwrap();
    let path = dir.path().join("mnist/train-images-idx3-ubyte");
    fs::write(path.with_extension("gz"), gzip(&fs::read(&path).unwrap())).unwrap();
    fs::remove_file(&path).unwrap();
    let packed = load(DatasetName::Mnist, dir.path()).unwrap();
    assert_eq!(plain.sha256, packed.sha256);
    assert_eq!(pixels(&plain.train), pixels(&packed.train));
}

/// Of four files a user must learn which one to replace.
#[test]
fn each_bad_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = || load(DatasetName::Mnist, dir.path()).unwrap_err().to_string();
    let missing = load(DatasetName::Mnist, dir.path()).unwrap_err();
    assert_eq!(missing.remedy(), Some(Remedy::Fetch("mnist")));
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

/// A file read as the wrong half would train on test images.
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
    assert_eq!(labels(&data.train), [0, 1, 2, 3, 4]);
    assert_eq!(labels(&data.test), [5]);
    assert!(pixels(&data.test).iter().all(|&p| p == 1.0));
    assert_eq!(data.class_names.last().unwrap(), "truck");
}

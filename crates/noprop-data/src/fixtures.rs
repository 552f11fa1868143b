//! Files and values that the tests of several modules share.

use std::io::{Cursor, Write};

use candle_core::Tensor;
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, ImageFormat};

use crate::split::Split;

/// A file in the IDX format: big-endian `words`, then `data`.
pub fn idx_file(words: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(data);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// All values of a tensor, in f32.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(candle_core::DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// All pixels of a split as a network gets them.
pub fn pixels(split: &Split) -> Vec<f32> {
    values(&split.images().unwrap())
}

pub fn labels(split: &Split) -> Vec<u32> {
    split.labels.to_vec1().unwrap()
}

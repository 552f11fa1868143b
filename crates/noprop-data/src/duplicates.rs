//! Equal images where they do harm: in training and in testing, or under two labels.

use std::cmp::Ordering;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use crate::error::DataError;
use crate::split::Split;

/// Counts of equal images, pixel by pixel, as the network sees them before normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Duplicates {
    /// Test images that are also among the training images, held-out ones included.
    pub test_in_train: usize,
    /// Held-out images that are also among the other training images.
    pub held_out_in_train: usize,
    /// Images that have more than one label, each counted once.
    pub contradictory: usize,
}

/// The part of a data set that an image belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Train,
    HeldOut,
    Test,
}

/// An image of any part.
#[derive(Clone, Copy)]
struct Image<'a> {
    hash: u64,
    pixels: &'a [u8],
    label: u32,
    of: Of,
}

impl Duplicates {
    /// Compares all images of a data set.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn among(train: &Split, held_out: &Split, test: &Split) -> Result<Self, DataError> {
        let halves = [(train, Of::Train), (held_out, Of::HeldOut), (test, Of::Test)];
        let tensors = halves.map(|(split, _)| bytes(split.stored()));
        let tensors: Vec<Tensor> = tensors.into_iter().collect::<Result<_, _>>()?;
        let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
        let mut images = Vec::with_capacity(train.len() + held_out.len() + test.len());
        for ((split, of), (storage, layout)) in halves.into_iter().zip(&guards) {
            let Storage::Cpu(CpuStorage::U8(pixels)) = &**storage else { continue };
            let pixels = pixels.get(layout.start_offset()..).unwrap_or_default();
            let (channels, height, width) = split.image_shape()?;
            let size = channels * height * width;
            let labels = split.labels.to_vec1::<u32>()?;
            for (&row, label) in split.rows().iter().zip(labels) {
                let start = row as usize * size;
                let pixels = pixels.get(start..start + size).unwrap_or_default();
                images.push(Image { hash: hash(pixels), pixels, label, of });
            }
        }
        Ok(Self::of(&mut images))
    }

    fn of(images: &mut [Image<'_>]) -> Self {
        images.sort_unstable_by(order);
        let mut found = Self::default();
        for equal in images.chunk_by(|a, b| order(a, b) == Ordering::Equal) {
            if equal.len() == 1 {
                continue;
            }
            let count = |of: Of| equal.iter().filter(|image| image.of == of).count();
            let (train, held_out, test) = (count(Of::Train), count(Of::HeldOut), count(Of::Test));
            if train + held_out > 0 {
                found.test_in_train += test;
            }
            if train > 0 {
                found.held_out_in_train += held_out;
            }
            if equal.iter().any(|image| Some(image.label) != equal.first().map(|i| i.label)) {
                found.contradictory += 1;
            }
        }
        found
    }
}

fn order(a: &Image<'_>, b: &Image<'_>) -> Ordering {
    // Few images share a hash, so few are compared byte by byte.
    a.hash.cmp(&b.hash).then_with(|| a.pixels.cmp(b.pixels))
}

/// The pixels as bytes in the memory of the processor.
fn bytes(pixels: &Tensor) -> Result<Tensor, DataError> {
    let pixels = match pixels.dtype() {
        DType::U8 => pixels.clone(),
        _ => (pixels * 255.)?.round()?.to_dtype(DType::U8)?,
    };
    Ok(pixels.to_device(&Device::Cpu)?.contiguous()?)
}

/// A fast hash that spreads well: a data set has a billion bytes. Images of equal hashes are compared byte by byte.
fn hash(pixels: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    // Four independent hashes, since each multiplication waits for the one before it.
    let (groups, rest) = pixels.as_chunks::<32>();
    let mut hashes = [1, 2, 3, 4];
    for group in groups {
        for (hash, word) in hashes.iter_mut().zip(group.as_chunks::<8>().0) {
            *hash = mix(*hash, u64::from_le_bytes(*word));
        }
    }
    let hash = hashes.into_iter().fold(0, mix);
    rest.iter().fold(hash, |hash, &byte| mix(hash, byte.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(images: &[(u8, u32)]) -> Split {
        let pixels: Vec<u8> = images.iter().flat_map(|(shade, _)| [*shade, 0, 7]).collect();
        let labels: Vec<u32> = images.iter().map(|(_, label)| *label).collect();
        let count = images.len();
        let pixels = Tensor::from_vec(pixels, (count, 1, 1, 3), &Device::Cpu).unwrap();
        Split::new(pixels, Tensor::from_vec(labels, count, &Device::Cpu).unwrap(), 3).unwrap()
    }

    /// A test picture that was trained on makes an accuracy worthless, so each is counted.
    #[test]
    fn equal_images_are_counted_where_they_do_harm() {
        let train = split(&[(1, 0), (1, 0), (2, 1), (3, 1), (9, 0)]);
        let held_out = split(&[(2, 1), (4, 2)]);
        let test = split(&[(1, 0), (4, 2), (4, 2), (5, 2), (9, 1)]);
        let found = Duplicates::among(&train, &held_out, &test).unwrap();
        let expected = Duplicates { test_in_train: 4, held_out_in_train: 1, contradictory: 1 };
        assert_eq!(found, expected);
        // The same images, reached through a selection and as fractions.
        let all = train.select(&[4, 2, 3, 1, 0]).unwrap();
        assert_eq!(Duplicates::among(&all, &held_out, &test).unwrap(), expected);
        let fractions = |split: &Split| {
            let labels = split.labels.clone();
            Split::new(split.images().unwrap(), labels, 3).unwrap()
        };
        let halves = [&train, &held_out, &test].map(fractions);
        assert_eq!(Duplicates::among(&halves[0], &halves[1], &halves[2]).unwrap(), expected);
    }

    /// A warning about leaks that are none would make people distrust their data.
    #[test]
    fn different_images_are_not_duplicates() {
        let [a, b, c] = [[(1, 0), (2, 0)], [(3, 0), (4, 1)], [(5, 1), (6, 1)]].map(|i| split(&i));
        assert_eq!(Duplicates::among(&a, &b, &c).unwrap(), Duplicates::default());
    }

    /// Images of one hash are told apart by their bytes.
    #[test]
    fn a_hash_is_not_believed() {
        let image = |pixels, label| Image { hash: 7, pixels, label, of: Of::Train };
        let mut images = [image(&[1], 0), image(&[2], 1), image(&[1], 0), image(&[2], 1)];
        images[3].of = Of::Test;
        let found = Duplicates::of(&mut images);
        assert_eq!((found.test_in_train, found.contradictory), (1, 0));
    }
}

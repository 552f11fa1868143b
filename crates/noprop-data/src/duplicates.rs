//! Equal images where they do harm: in training and in testing, or under two labels.

use std::collections::{HashMap, HashSet};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use crate::error::DataError;
use crate::split::Split;

/// Counts of equal images, pixel by pixel, before normalisation. Pixels of f32 are compared as the nearest bytes, in steps of
/// 1/255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Duplicates {
    /// Test images that are also among the training images, held-out ones included.
    pub test_in_train: usize,
    /// Held-out images that are also among the other training images.
    pub held_out_in_train: usize,
    /// Images that have more than one label, each counted once.
    pub contradictory: usize,
}

/// The occurrences of one image.
#[derive(Default)]
struct Occurrences {
    /// In training, among held-out images, and in testing.
    halves: [usize; 3],
    /// Their labels, each once.
    labels: HashSet<u32>,
}

impl Duplicates {
    /// Compares all images of a data set.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn among(train: &Split, held_out: &Split, test: &Split) -> Result<Self, DataError> {
        let splits = [train, held_out, test];
        let tensors: Vec<Tensor> =
            splits.iter().map(|split| bytes(split.stored())).collect::<Result<_, _>>()?;
        let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
        let mut images: HashMap<&[u8], Occurrences> =
            HashMap::with_capacity(train.len() + held_out.len() + test.len());
        for (half, (split, (storage, layout))) in splits.into_iter().zip(&guards).enumerate() {
            let Storage::Cpu(CpuStorage::U8(pixels)) = &**storage else { continue };
            let pixels = pixels.get(layout.start_offset()..).unwrap_or_default();
            let (channels, height, width) = split.image_shape()?;
            let size = channels * height * width;
            let labels = split.labels.to_vec1::<u32>()?;
            for (&row, label) in split.rows().iter().zip(labels) {
                let start = row as usize * size;
                let pixels = pixels.get(start..start + size).unwrap_or_default();
                let occurrences = images.entry(pixels).or_default();
                occurrences.halves[half] += 1;
                occurrences.labels.insert(label);
            }
        }
        let mut found = Self::default();
        for Occurrences { halves: [train, held_out, test], labels } in images.into_values() {
            found.test_in_train += if train + held_out > 0 { test } else { 0 };
            found.held_out_in_train += if train > 0 { held_out } else { 0 };
            found.contradictory += usize::from(labels.len() > 1);
        }
        Ok(found)
    }
}

/// The pixels as bytes in the memory of the processor.
fn bytes(pixels: &Tensor) -> Result<Tensor, DataError> {
    let pixels = match pixels.dtype() {
        DType::U8 => pixels.clone(),
        _ => (pixels * 255.)?.round()?.to_dtype(DType::U8)?,
    };
    Ok(pixels.to_device(&Device::Cpu)?.contiguous()?)
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
}

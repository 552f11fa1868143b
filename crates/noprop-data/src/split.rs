//! Images with their labels, and the seeded split into training and validation.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::augmentation::{self, Change, PlacedChanges};
use crate::order::{Purpose, permutation};
use crate::{DataError, Normalization};

/// Images with their labels.
///
/// Pixels stay bytes, as in the files, until they are asked for, and splits of the same data share them: the 60,000 training
/// images of MNIST take 47 MB however they are divided.
#[derive(Debug, Clone)]
pub struct Split {
    /// `[M, C, H, W]`, u8, or f32 in 0..=1. Other splits may hold the same tensor.
    pixels: Tensor,
    /// The images of this split, as rows of `pixels`.
    rows: Vec<u32>,
    /// What is done to pixels when they are gathered.
    normalization: Option<Arc<Normalization>>,
    /// `[N]`, u32, each below the number of classes.
    pub labels: Tensor,
}

/// Names of images of a [`Split`], on its device.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Rows of the pixels.
    pixels: Tensor,
    /// Rows of the labels: the images' numbers.
    numbers: Tensor,
    /// What is changed in each.
    changes: Option<PlacedChanges>,
}

impl Placed {
    /// The numbers of the images `range` of those that were placed, `[n]`, u32.
    ///
    /// # Errors
    /// candle's, for a range that is not there.
    pub fn numbers(&self, range: Range<usize>) -> Result<Tensor, DataError> {
        Ok(self.numbers.narrow(0, range.start, range.len())?)
    }
}

impl Split {
    /// All `images` `[N, C, H, W]`, either u8 or f32 in 0..=1, with `labels` `[N]`, u32.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] for different counts, no images, other element types, or a label that is no class.
    pub fn new(images: Tensor, labels: Tensor, classes: usize) -> Result<Self, DataError> {
        let mismatch = |reason: String| Err(DataError::Mismatch { reason });
        let (n, ..) = images.dims4()?;
        let m = labels.dims1()?;
        if n != m || n == 0 {
            return mismatch(format!("{n} images do not go with {m} labels"));
        }
        if !matches!(images.dtype(), DType::F32 | DType::U8) || labels.dtype() != DType::U32 {
            return mismatch("images must be u8 or f32, and labels u32".into());
        }
        let highest = labels.max_all()?.to_scalar::<u32>()?;
        if highest as usize >= classes {
            return mismatch(format!("label {highest} is not below {classes} classes"));
        }
        let rows = (0..).zip(0..n).map(|(row, _)| row).collect();
        Ok(Self { pixels: images, rows, normalization: None, labels })
    }

    /// The same images, which from now on are normalised when they are asked for. The pixels are shared.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if it was measured on images with another number of channels.
    pub fn normalised(&self, normalization: &Normalization) -> Result<Self, DataError> {
        let (channels, ..) = self.image_shape()?;
        normalization.check(channels)?;
        Ok(Self { normalization: Some(Arc::new(normalization.clone())), ..self.clone() })
    }

    /// N, the number of images.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never: a split holds at least one image.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// (C, H, W) of every image.
    ///
    /// # Errors
    /// candle's, never for a split made by [`Split::new`].
    pub fn image_shape(&self) -> Result<(usize, usize, usize), DataError> {
        let (_, channels, height, width) = self.pixels.dims4()?;
        Ok((channels, height, width))
    }

    /// All images, `[N, C, H, W]`, f32 in 0..=1 unless normalised: four bytes a pixel, where the split itself may hold one.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn images(&self) -> Result<Tensor, DataError> {
        self.gather(&self.rows)
    }

    /// Images number `range`, `[n, C, H, W]`, f32 in 0..=1 unless normalised. What lies beyond the last is left out.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn range(&self, range: Range<usize>) -> Result<Tensor, DataError> {
        self.gather(self.rows_of(range))
    }

    /// The pixels as they are stored, `[M, C, H, W]`, which other splits may share.
    pub(crate) fn stored(&self) -> &Tensor {
        &self.pixels
    }

    /// The rows of [`Self::stored`] that are this split's images.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The same images without normalisation.
    pub(crate) fn raw_range(&self, range: Range<usize>) -> Result<Tensor, DataError> {
        fractions(self.pixels_of(self.rows_of(range))?)
    }

    /// An image for a person's eye: C · H · W bytes, channel by channel, never normalised.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for an image that is not there.
    pub fn picture(&self, image: u32) -> Result<Vec<u8>, DataError> {
        let pixels = fractions(self.pixels_of(&self.chosen(&[image])?)?)?.flatten_all()?;
        let byte = |value: f32| (255.0 * value).round().clamp(0.0, 255.0) as u8;
        Ok(pixels.to_vec1::<f32>()?.into_iter().map(byte).collect())
    }

    /// The images `chosen`, each below N, and their labels, in that order: `[n, C, H, W]`, f32 in 0..=1
    /// unless normalised, and `[n]`.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for an image that is not there.
    pub fn batch(&self, chosen: &[u32]) -> Result<(Tensor, Tensor), DataError> {
        let labels = Tensor::new(chosen, self.labels.device())?;
        let images = self.gather(&self.chosen(chosen)?)?;
        Ok((images, self.labels.index_select(&labels, 0)?))
    }

    /// As [`Self::batch`], each image with its own of the `changes`. What a shift brings in is black, before normalisation.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for an image that is not there, [`DataError::Mismatch`] if there are not as many changes.
    pub fn changed_batch(
        &self,
        chosen: &[u32],
        changes: &[Change],
    ) -> Result<(Tensor, Tensor), DataError> {
        one_each(chosen, changes)?;
        let pixels = self.pixels_of(&self.chosen(chosen)?)?;
        let indices = Tensor::new(chosen, self.labels.device())?;
        let labels = self.labels.index_select(&indices, 0)?;
        Ok((self.finished(augmentation::changed(&pixels, changes)?)?, labels))
    }

    /// A split of the images `chosen`, each below N, in that order. It shares their pixels with this one.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for an image that is not there.
    pub fn select(&self, chosen: &[u32]) -> Result<Self, DataError> {
        let rows = self.chosen(chosen)?;
        let indices = Tensor::new(chosen, self.labels.device())?;
        let labels = self.labels.index_select(&indices, 0)?;
        let normalization = self.normalization.clone();
        Ok(Self { pixels: self.pixels.clone(), rows, normalization, labels })
    }

    /// The same images with label `new[label]` in the place of each `label`, for a network that counts classes in another order.
    ///
    /// # Errors
    /// candle's, for a label that `new` has no place for.
    pub fn relabelled(&self, new: &[u32]) -> Result<Self, DataError> {
        let new = Tensor::new(new, self.labels.device())?;
        Ok(Self { labels: new.index_select(&self.labels, 0)?, ..self.clone() })
    }

    /// The same images on `device`, where everything that is asked of them is then made.
    ///
    /// # Errors
    /// candle's, if they do not fit there.
    pub fn to_device(&self, device: &Device) -> Result<Self, DataError> {
        let (pixels, labels) = (self.pixels.to_device(device)?, self.labels.to_device(device)?);
        Ok(Self { pixels, labels, ..self.clone() })
    }

    /// The images `chosen`, each below N, named where they are, so that [`Self::placed_batch`] copies nothing from the host.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for an image that is not there.
    pub fn place(&self, chosen: &[u32]) -> Result<Placed, DataError> {
        let device = self.pixels.device();
        let pixels = Tensor::new(self.chosen(chosen)?, device)?;
        Ok(Placed { pixels, numbers: Tensor::new(chosen, device)?, changes: None })
    }

    /// The same, and [`Self::placed_batch`] is then what [`Self::changed_batch`] is with these `changes`.
    ///
    /// # Errors
    /// As for [`Self::changed_batch`].
    pub fn place_changed(&self, chosen: &[u32], changes: &[Change]) -> Result<Placed, DataError> {
        one_each(chosen, changes)?;
        let (.., width) = self.image_shape()?;
        let changes = PlacedChanges::new(changes, width, self.pixels.device())?;
        Ok(Placed { changes: Some(changes), ..self.place(chosen)? })
    }

    /// [`Self::batch`] of the images `range` of those that were placed.
    ///
    /// # Errors
    /// candle's, for a range that is not there.
    pub fn placed_batch(
        &self,
        placed: &Placed,
        range: Range<usize>,
    ) -> Result<(Tensor, Tensor), DataError> {
        let (start, count) = (range.start, range.len());
        let pixels = self.pixels.index_select(&placed.pixels.narrow(0, start, count)?, 0)?;
        let pixels = match &placed.changes {
            Some(changes) => changes.apply(&pixels, start)?,
            None => pixels,
        };
        let labels = self.labels.index_select(&placed.numbers(range)?, 0)?;
        Ok((self.finished(pixels)?, labels))
    }

    fn chosen(&self, chosen: &[u32]) -> Result<Vec<u32>, DataError> {
        let row = |&image: &u32| {
            let row = self.rows.get(image as usize).copied();
            row.ok_or(DataError::NoImage { image, count: self.len() })
        };
        chosen.iter().map(row).collect()
    }

    fn rows_of(&self, range: Range<usize>) -> &[u32] {
        let end = range.end.min(self.len());
        self.rows.get(range.start.min(end)..end).unwrap_or_default()
    }

    fn gather(&self, rows: &[u32]) -> Result<Tensor, DataError> {
        self.finished(self.pixels_of(rows)?)
    }

    /// Pixels as they are stored.
    fn pixels_of(&self, rows: &[u32]) -> Result<Tensor, DataError> {
        Ok(self.pixels.index_select(&Tensor::new(rows, self.pixels.device())?, 0)?)
    }

    /// Stored pixels as a network gets them.
    fn finished(&self, pixels: Tensor) -> Result<Tensor, DataError> {
        let images = fractions(pixels)?;
        match &self.normalization {
            Some(normalization) => normalization.apply(&images),
            None => Ok(images),
        }
    }
}

/// Refuses another number of changes than images.
fn one_each(chosen: &[u32], changes: &[Change]) -> Result<(), DataError> {
    if chosen.len() == changes.len() {
        return Ok(());
    }
    let reason = format!("{} changes do not go with {} images", changes.len(), chosen.len());
    Err(DataError::Mismatch { reason })
}

/// f32 in 0..=1.
fn fractions(pixels: Tensor) -> Result<Tensor, DataError> {
    Ok(match pixels.dtype() {
        // The operations of candle-datasets, so that its users see the same bits.
        DType::U8 => (pixels.to_dtype(DType::F32)? / 255.)?,
        _ => pixels,
    })
}

/// Splits training images into (training, validation): a permutation seeded by `seed` is cut, its first `validation` images
/// are held out.
///
/// # Errors
/// [`DataError::Holdout`] unless 1 ≤ `validation` < N.
pub fn hold_out(split: &Split, validation: usize, seed: u64) -> Result<(Split, Split), DataError> {
    let (kept, held) = hold_out_numbers(split.len(), validation, seed)?;
    Ok((split.select(&kept)?, split.select(&held)?))
}

/// The numbers of the images that [`hold_out`] puts into (training, validation), of `count` images and in its order.
///
/// # Errors
/// As for [`hold_out`].
pub fn hold_out_numbers(
    count: usize,
    validation: usize,
    seed: u64,
) -> Result<(Vec<u32>, Vec<u32>), DataError> {
    let order = permutation(Purpose::Holdout, seed, 0, count);
    match order.split_at_checked(validation) {
        Some((held, kept)) if !held.is_empty() && !kept.is_empty() => {
            Ok((kept.to_vec(), held.to_vec()))
        }
        _ => Err(DataError::Holdout { asked: validation, max: count.saturating_sub(1) }),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn numbered(n: u32) -> Split {
        let images = Tensor::arange(0u32, n, &Device::Cpu).unwrap();
        let labels = images.clone();
        let images = images.to_dtype(DType::F32).unwrap();
        let images = images.reshape((n as usize, 1, 1, 1)).unwrap();
        Split::new(images, labels, n as usize).unwrap()
    }

    /// An image in both parts would let the chosen epoch be one that learned the validation set by heart.
    #[test]
    fn the_two_parts_share_no_image_and_lose_none() {
        let split = numbered(50);
        let (train, validation) = hold_out(&split, 12, 3).unwrap();
        assert_eq!((train.len(), validation.len()), (38, 12));
        let mut all = train.labels.to_vec1::<u32>().unwrap();
        all.extend(validation.labels.to_vec1::<u32>().unwrap());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..50));
        let (_, other) = hold_out(&split, 12, 4).unwrap();
        assert_ne!(
            other.labels.to_vec1::<u32>().unwrap(),
            validation.labels.to_vec1::<u32>().unwrap()
        );
    }

    #[test]
    fn nothing_to_train_on_or_to_validate_with_is_an_error() {
        for n in [0, 50, 51] {
            let error = hold_out(&numbered(50), n, 0).unwrap_err().to_string();
            assert_eq!(error, format!("validation must be between 1 and 49, got {n}"));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let images = |n: usize| Tensor::zeros((n, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let labels = |l: &[u32]| Tensor::new(l, &Device::Cpu).unwrap();
        assert!(Split::new(images(2), labels(&[0, 9]), 10).is_ok());
        assert!(Split::new(images(3), labels(&[0, 9]), 10).is_err(), "count");
        assert!(Split::new(images(2), labels(&[0, 10]), 10).is_err(), "label");
        assert!(Split::new(images(0), labels(&[]), 10).is_err(), "empty");
        let integers = images(2).to_dtype(DType::U32).unwrap();
        assert!(Split::new(integers, labels(&[0, 9]), 10).is_err(), "type");
        let split = Split::new(images(2), labels(&[0, 9]), 10).unwrap();
        assert!(split.batch(&[2]).is_err(), "image");
    }
}

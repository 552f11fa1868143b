//! Images with their labels, and the seeded split into training and validation.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::augmentation::{Change, Sources, changed};
use crate::error::DataError;
use crate::normalization::Normalization;
use crate::order::{Purpose, permutation};

/// Images with their labels.
///
/// Pixels stay bytes, as in the files, until a batch is gathered, and splits of the same data share them: the 60,000 training
/// images of MNIST take 47 MB however they are divided.
#[derive(Debug, Clone)]
pub struct Split {
    /// `[M, C, H, W]`, u8, or f32 in 0..=1. Other splits may hold the same tensor.
    pixels: Tensor,
    /// The images of this split, as rows of `pixels`.
    rows: Vec<u32>,
    /// Applied to pixels when they are gathered.
    normalization: Option<Arc<Normalization>>,
    /// `[N]`, u32, each below the number of classes.
    pub labels: Tensor,
}

/// The numbers of some images of a [`Split`], on its device.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Rows of the pixels.
    pixels: Tensor,
    /// Rows of the labels: the numbers of the images.
    numbers: Tensor,
    /// The change of each image.
    changes: Option<Sources>,
}

impl Placed {
    /// The numbers of the images `range` of those that were placed, `[n]`, u32.
    ///
    /// # Errors
    /// candle's, for a range beyond the last image.
    pub fn numbers(&self, range: Range<usize>) -> Result<Tensor, DataError> {
        Ok(self.numbers.narrow(0, range.start, range.len())?)
    }
}

impl Split {
    /// All `images`, `[N, C, H, W]`, either u8 or f32 in 0..=1, with `labels`, `[N]`, u32 or u8.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] for different counts, no images, other element types, pixels that are NaN or infinite, or a label
    /// that is not below `classes`.
    pub fn new(images: Tensor, labels: Tensor, classes: usize) -> Result<Self, DataError> {
        let mismatch = |reason: String| Err(DataError::Mismatch(reason));
        let (n, ..) = images.dims4()?;
        let m = labels.dims1()?;
        if n != m || n == 0 {
            return mismatch(format!("{n} images do not go with {m} labels"));
        }
        let is_one_of = |tensor: &Tensor, kinds: [DType; 2]| kinds.contains(&tensor.dtype());
        if !is_one_of(&images, [DType::F32, DType::U8])
            || !is_one_of(&labels, [DType::U32, DType::U8])
        {
            return mismatch("images must be u8 or f32, and labels u32 or u8".into());
        }
        if images.dtype() == DType::F32 {
            // The sum is finite only if every pixel is.
            let sum = images.sum_all()?.to_scalar::<f32>()?;
            if !sum.is_finite() {
                return mismatch(format!("the sum of all pixels is {sum}: each must be finite"));
            }
        }
        let labels = labels.to_dtype(DType::U32)?;
        let highest = labels.max_all()?.to_scalar::<u32>()?;
        if highest as usize >= classes {
            return mismatch(format!("label {highest} is not below {classes} classes"));
        }
        let rows = (0..).zip(0..n).map(|(row, _)| row).collect();
        Ok(Self { pixels: images, rows, normalization: None, labels })
    }

    /// All `images`, `[N, C · H · W]`, channel by channel and row by row, either u8 or f32 in 0..=1, with `labels`, `[N]`,
    /// u32 or u8: the form in which `candle_datasets` and NumPy have MNIST.
    ///
    /// # Errors
    /// As [`Split::new`], and [`DataError::Mismatch`] for images that do not have `shape` (C, H, W).
    pub fn flat(
        images: Tensor,
        labels: Tensor,
        shape: (usize, usize, usize),
        classes: usize,
    ) -> Result<Self, DataError> {
        let (count, values) = images.dims2()?;
        let (channels, height, width) = shape;
        check_values(values, 1, shape)?;
        Self::new(images.reshape((count, channels, height, width))?, labels, classes)
    }

    /// The images whose `pixels` are bytes, image by image, channel by channel and row by row, with one of `labels` each.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] unless there are labels, and C · H · W bytes of `shape` (C, H, W) for each; or for a label
    /// that is not below `classes`.
    pub fn of_bytes(
        pixels: Vec<u8>,
        labels: &[u8],
        shape: (usize, usize, usize),
        classes: usize,
    ) -> Result<Self, DataError> {
        let (count, (channels, height, width)) = (labels.len(), shape);
        check_values(pixels.len(), count, shape)?;
        let images = Tensor::from_vec(pixels, (count, channels, height, width), &Device::Cpu)?;
        Self::new(images, Tensor::new(labels, &Device::Cpu)?, classes)
    }

    /// The same images, normalised from now on when they are gathered. The pixels are shared.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if `normalization` is of images with another number of channels.
    pub fn normalised(&self, normalization: &Normalization) -> Result<Self, DataError> {
        let (channels, ..) = self.image_shape()?;
        normalization.check(channels)?;
        Ok(Self { normalization: Some(Arc::new(normalization.clone())), ..self.clone() })
    }

    /// The number of images, N.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns false: a split holds at least one image.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The (C, H, W) of every image.
    ///
    /// # Errors
    /// candle's, but never for a split that was checked.
    pub fn image_shape(&self) -> Result<(usize, usize, usize), DataError> {
        let (_, channels, height, width) = self.pixels.dims4()?;
        Ok((channels, height, width))
    }

    /// All images, `[N, C, H, W]`, f32 in 0..=1 unless normalised. They take four bytes for each pixel, where the split
    /// itself may hold one.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn images(&self) -> Result<Tensor, DataError> {
        self.gather(&self.rows)
    }

    /// The images whose numbers are in `range`, `[n, C, H, W]`, f32 in 0..=1 unless normalised. Numbers beyond the last image
    /// are left out.
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

    /// The pixels of some images as they are stored.
    pub(crate) fn stored_range(&self, range: Range<usize>) -> Result<Tensor, DataError> {
        self.pixels_of(self.rows_of(range))
    }

    /// The same images without normalisation.
    pub(crate) fn raw_range(&self, range: Range<usize>) -> Result<Tensor, DataError> {
        fractions(self.pixels_of(self.rows_of(range))?)
    }

    /// An image to show to a person: C · H · W bytes, channel by channel, never normalised.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for a number beyond the last image.
    pub fn picture(&self, image: u32) -> Result<Vec<u8>, DataError> {
        let pixels = fractions(self.pixels_of(&self.chosen(&[image])?)?)?.flatten_all()?;
        let byte = |value: f32| (255.0 * value).round().clamp(0.0, 255.0) as u8;
        Ok(pixels.to_vec1::<f32>()?.into_iter().map(byte).collect())
    }

    /// The images whose numbers are `chosen` and their labels, in that order: `[n, C, H, W]`, f32 in 0..=1 unless normalised,
    /// and `[n]`, u32.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for a number beyond the last image.
    pub fn batch(&self, chosen: &[u32]) -> Result<(Tensor, Tensor), DataError> {
        self.placed_batch(&self.place(chosen)?, 0..chosen.len())
    }

    /// As [`Self::batch`], with one of the `changes` applied to each image. The pixels that a shift brings in are black before
    /// normalisation.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for a number beyond the last image, [`DataError::Mismatch`] unless there is one change for each
    /// image.
    pub fn changed_batch(
        &self,
        chosen: &[u32],
        changes: &[Change],
    ) -> Result<(Tensor, Tensor), DataError> {
        check_changes(chosen, changes)?;
        let pixels = changed(&self.pixels_of(&self.chosen(chosen)?)?, changes)?;
        let numbers = Tensor::new(chosen, self.labels.device())?;
        Ok((self.finished(pixels)?, self.labels.index_select(&numbers, 0)?))
    }

    /// A split of the images whose numbers are `chosen`, in that order. It shares their pixels with this one.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for a number beyond the last image.
    pub fn select(&self, chosen: &[u32]) -> Result<Self, DataError> {
        let rows = self.chosen(chosen)?;
        let indices = Tensor::new(chosen, self.labels.device())?;
        let labels = self.labels.index_select(&indices, 0)?;
        let normalization = self.normalization.clone();
        Ok(Self { pixels: self.pixels.clone(), rows, normalization, labels })
    }

    /// The same images with label `new[label]` in the place of each `label`, for a network that has the classes in another
    /// order.
    ///
    /// # Errors
    /// candle's, for a label that is not an index of `new`.
    pub fn relabelled(&self, new: &[u32]) -> Result<Self, DataError> {
        let new = Tensor::new(new, self.labels.device())?;
        Ok(Self { labels: new.index_select(&self.labels, 0)?, ..self.clone() })
    }

    /// The same images on `device`, where batches are then gathered.
    ///
    /// # Errors
    /// candle's, if they do not fit there.
    pub fn to_device(&self, device: &Device) -> Result<Self, DataError> {
        let (pixels, labels) = (self.pixels.to_device(device)?, self.labels.to_device(device)?);
        Ok(Self { pixels, labels, ..self.clone() })
    }

    /// Puts the numbers `chosen` of images on the device of the split, so that [`Self::placed_batch`] copies nothing from the
    /// host.
    ///
    /// # Errors
    /// [`DataError::NoImage`] for a number beyond the last image.
    pub fn place(&self, chosen: &[u32]) -> Result<Placed, DataError> {
        let device = self.pixels.device();
        let pixels = Tensor::new(self.chosen(chosen)?, device)?;
        Ok(Placed { pixels, numbers: Tensor::new(chosen, device)?, changes: None })
    }

    /// As [`Self::place`], with one of the `changes` for each image, which [`Self::placed_batch`] applies.
    ///
    /// # Errors
    /// As [`Self::changed_batch`], and [`DataError::Mismatch`] for a rotation, which only [`Self::changed_batch`] makes. On Metal, for which candle has no gather of bytes, [`Self::placed_batch`] fails with candle's.
    pub fn place_changed(&self, chosen: &[u32], changes: &[Change]) -> Result<Placed, DataError> {
        check_changes(chosen, changes)?;
        if changes.iter().any(|change| change.turned != 0.0) {
            return Err(DataError::Mismatch("placed images cannot be rotated".into()));
        }
        let (_, height, width) = self.image_shape()?;
        let changes = Sources::new(changes, (height, width), self.pixels.device())?;
        Ok(Placed { changes: Some(changes), ..self.place(chosen)? })
    }

    /// The batch of the images `range` of those that were placed, as [`Self::batch`] returns it.
    ///
    /// # Errors
    /// candle's, for a range beyond the last image.
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

    /// Pixels as they are stored, `[n, C, H, W]`, u8 or f32.
    fn pixels_of(&self, rows: &[u32]) -> Result<Tensor, DataError> {
        Ok(self.pixels.index_select(&Tensor::new(rows, self.pixels.device())?, 0)?)
    }

    /// Converts stored pixels to those that a network gets.
    fn finished(&self, pixels: Tensor) -> Result<Tensor, DataError> {
        let images = fractions(pixels)?;
        match &self.normalization {
            Some(normalization) => normalization.apply(&images),
            None => Ok(images),
        }
    }
}

/// Refuses another number of changes than of images.
fn check_changes(chosen: &[u32], changes: &[Change]) -> Result<(), DataError> {
    let (images, changes) = (chosen.len(), changes.len());
    if images == changes {
        return Ok(());
    }
    Err(DataError::Mismatch(format!("{changes} changes do not go with {images} images")))
}

/// Refuses `values` that are not those of `count` images of (C, H, W).
fn check_values(
    values: usize,
    count: usize,
    (channels, height, width): (usize, usize, usize),
) -> Result<(), DataError> {
    let sides = [channels, height, width];
    let wanted = sides.iter().try_fold(count, |product, &side| product.checked_mul(side));
    if wanted == Some(values) && values > 0 {
        return Ok(());
    }
    let reason =
        format!("{values} values do not make {count} image(s) of {channels} x {height} x {width}");
    Err(DataError::Mismatch(reason))
}

/// Converts pixels to f32 in 0..=1.
pub(crate) fn fractions(pixels: Tensor) -> Result<Tensor, DataError> {
    Ok(match pixels.dtype() {
        // The operations of candle-datasets, so that its users get the same bits.
        DType::U8 => (pixels.to_dtype(DType::F32)? / 255.)?,
        _ => pixels,
    })
}

/// Splits training images into (training, validation): the first `validation` images of a permutation seeded by `seed` are held
/// out.
///
/// # Errors
/// [`DataError::Holdout`] unless 1 ≤ `validation` < N.
pub fn hold_out(split: &Split, validation: usize, seed: u64) -> Result<(Split, Split), DataError> {
    let (kept, held) = hold_out_numbers(split.len(), validation, seed)?;
    Ok((split.select(&kept)?, split.select(&held)?))
}

/// The numbers of the images that [`hold_out`] puts into (training, validation), of `count` images, in its order.
///
/// # Errors
/// As [`hold_out`].
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
    use crate::fixtures::{labels, values};

    fn numbered(n: u32) -> Split {
        let images = Tensor::arange(0u32, n, &Device::Cpu).unwrap();
        let labels = images.clone();
        let images = images.to_dtype(DType::F32).unwrap();
        let images = images.reshape((n as usize, 1, 1, 1)).unwrap();
        Split::new(images, labels, n as usize).unwrap()
    }

    /// An image in both parts would favour an epoch that has learned the validation set by heart.
    #[test]
    fn the_two_parts_share_no_image_and_lose_none() {
        let split = numbered(50);
        let (train, validation) = hold_out(&split, 12, 3).unwrap();
        assert_eq!((train.len(), validation.len()), (38, 12));
        let mut all = [labels(&train), labels(&validation)].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..50));
        let (_, other) = hold_out(&split, 12, 4).unwrap();
        assert_ne!(labels(&other), labels(&validation));
    }

    /// A run without validation images could not choose an epoch.
    #[test]
    fn nothing_to_train_on_or_to_validate_with_is_an_error() {
        for n in [0, 50, 51] {
            let error = hold_out(&numbered(50), n, 0).unwrap_err().to_string();
            assert_eq!(error, format!("validation must be between 1 and 49, got {n}"));
        }
    }

    /// Images and labels gathered in different orders would train on wrong labels.
    #[test]
    fn batches_follow_the_order_with_images_and_labels_together() {
        let split = numbered(5);
        let placed = split.place(&[3, 0, 4, 1, 2]).unwrap();
        let batches = [
            (split.batch(&[3, 0]).unwrap(), vec![3, 0]),
            (split.changed_batch(&[4, 1], &[Change::default(); 2]).unwrap(), vec![4, 1]),
            (split.placed_batch(&placed, 1..4).unwrap(), vec![0, 4, 1]),
        ];
        for ((images, labels), expected) in batches {
            let labels = labels.to_vec1::<u32>().unwrap();
            assert_eq!(labels, expected);
            assert!(
                values(&images).iter().zip(&labels).all(|(&image, &label)| image == label as f32)
            );
        }
    }

    /// Arrays of other programs come flat, with labels of a byte: they must be the images that they were.
    #[test]
    fn flat_images_and_bytes_are_the_same_images() {
        let pixels: Vec<u8> = (0..24).map(|i| 10 * i).collect();
        let (shape, classes) = ((2, 2, 3), [1u8, 0]);
        let of_bytes = Split::of_bytes(pixels.clone(), &classes, shape, 2).unwrap();
        assert_eq!(of_bytes.image_shape().unwrap(), shape);
        assert_eq!(labels(&of_bytes), [1, 0]);
        assert_eq!(of_bytes.picture(1).unwrap(), pixels[12..]);
        let flat = Tensor::from_vec(pixels.clone(), (2, 12), &Device::Cpu).unwrap();
        let labels = Tensor::new(&classes, &Device::Cpu).unwrap();
        for images in [flat.clone(), (flat.to_dtype(DType::F32).unwrap() / 255.).unwrap()] {
            let split = Split::flat(images, labels.clone(), shape, 2).unwrap();
            assert_eq!(split.labels.dtype(), DType::U32);
            assert_eq!(split.picture(0).unwrap(), pixels[..12]);
        }
        assert!(Split::flat(flat.clone(), labels.clone(), (1, 2, 3), 2).is_err(), "shape");
        assert!(Split::flat(flat, labels, (0, 2, 3), 2).is_err(), "no channel");
        assert!(Split::of_bytes(pixels.clone(), &[0; 3], shape, 2).is_err(), "count");
        assert!(Split::of_bytes(pixels, &[0, 2], shape, 2).is_err(), "label");
        assert!(Split::of_bytes(Vec::new(), &[], shape, 2).is_err(), "empty");
        assert!(Split::of_bytes(vec![0; 4], &[0; 2], (usize::MAX, 2, 2), 2).is_err(), "overflow");
    }

    /// Images and labels that do not belong together must not be trained on.
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
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let images = Tensor::new(&[[[[0.5, bad]]], [[[0.5, 1.0]]]], &Device::Cpu).unwrap();
            assert!(Split::new(images, labels(&[0, 9]), 10).is_err(), "{bad}");
        }
        let split = Split::new(images(2), labels(&[0, 9]), 10).unwrap();
        assert!(split.batch(&[2]).is_err(), "image");
    }
}

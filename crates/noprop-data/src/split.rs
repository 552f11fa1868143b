//! Images with their labels, and the seeded split into training and validation.

use candle_core::{DType, Tensor};

use crate::DataError;
use crate::order::{Purpose, permutation};

/// Images with their labels.
#[derive(Debug, Clone)]
pub struct Split {
    /// `[N, C, H, W]`, f32 in 0..=1.
    pub images: Tensor,
    /// `[N]`, u32, each below the number of classes.
    pub labels: Tensor,
}

impl Split {
    /// Checks that images and labels fit each other.
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
        if (images.dtype(), labels.dtype()) != (DType::F32, DType::U32) {
            return mismatch("images must be f32 and labels u32".into());
        }
        let highest = labels.max_all()?.to_scalar::<u32>()?;
        if highest as usize >= classes {
            return mismatch(format!("label {highest} is not below {classes} classes"));
        }
        Ok(Self { images, labels })
    }

    /// N, the number of images.
    pub fn len(&self) -> usize {
        self.labels.elem_count()
    }

    /// Never: a split holds at least one image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The images at `rows`, in that order.
    ///
    /// # Errors
    /// candle's, for a row that is not there.
    pub fn select(&self, rows: &[u32]) -> Result<Self, DataError> {
        let rows = Tensor::new(rows, self.labels.device())?;
        Ok(Self {
            images: self.images.index_select(&rows, 0)?,
            labels: self.labels.index_select(&rows, 0)?,
        })
    }
}

/// Splits training images into (training, validation): a permutation seeded by `seed` is cut, its first `validation` images
/// are held out.
///
/// # Errors
/// [`DataError::Holdout`] unless 1 ≤ `validation` < N.
pub fn hold_out(split: &Split, validation: usize, seed: u64) -> Result<(Split, Split), DataError> {
    let order = permutation(Purpose::Holdout, seed, 0, split.len());
    match order.split_at_checked(validation) {
        Some((held, kept)) if !held.is_empty() && !kept.is_empty() => {
            Ok((split.select(kept)?, split.select(held)?))
        }
        _ => Err(DataError::Holdout {
            asked: validation,
            max: split.len() - 1,
        }),
    }
}

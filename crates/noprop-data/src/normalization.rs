//! Normalisation of channels: the images that a network gets have mean 0 and deviation 1 in every channel.

use candle_core::Tensor;

use crate::error::DataError;

/// The smallest deviation, one step of a byte: a smaller variation is not worth enlarging, and 0 would divide by zero.
pub(crate) const LEAST_STD: f64 = 1.0 / 255.0;

/// The mean and the standard deviation of every channel, of pixels in 0..=1: y = (x − mean) / std.
///
/// [`Normalization::of`] measures them.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Normalization {
    /// A normalization that was measured before: one `mean` and one `std` for each channel.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] for lists of different lengths, a mean or a reciprocal of a deviation that f32 cannot hold, or a
    /// deviation below 1/255.
    pub fn new(mean: Vec<f64>, std: Vec<f64>) -> Result<Self, DataError> {
        // Images are multiplied by the reciprocal, and a subnormal number has lost digits.
        let usable = |std: f64| std >= LEAST_STD && (std.recip() as f32).is_normal();
        if mean.len() == std.len()
            && !mean.is_empty()
            && mean.iter().all(|&mean| (mean as f32).is_finite())
            && std.iter().copied().all(usable)
        {
            return Ok(Self { mean, std });
        }
        let reason = format!(
            "mean {mean:?} and std {std:?} cannot normalise images: one of each is needed for every channel, within the range of f32, and no std below 1/255"
        );
        Err(DataError::Mismatch(reason))
    }

    /// The mean of every channel.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviation of every channel.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// Normalises images `[N, C, H, W]` with pixels in 0..=1.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] for another number of channels.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor, DataError> {
        self.check(images.dim(1)?)?;
        let channel = |values: &[f64], what: fn(f64) -> f64| {
            let values: Vec<f32> = values.iter().map(|&value| what(value) as f32).collect();
            let count = values.len();
            Tensor::from_vec(values, (1, count, 1, 1), images.device())
        };
        let centred = images.broadcast_sub(&channel(&self.mean, |mean| mean)?)?;
        Ok(centred.broadcast_mul(&channel(&self.std, f64::recip)?)?)
    }

    /// Refuses another number of channels than was measured.
    pub(crate) fn check(&self, channels: usize) -> Result<(), DataError> {
        let measured = self.mean.len();
        if measured == channels {
            return Ok(());
        }
        let reason =
            format!("a mean and std of {measured} channels cannot normalise images of {channels}");
        Err(DataError::Mismatch(reason))
    }
}

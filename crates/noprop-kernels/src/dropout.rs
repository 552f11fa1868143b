//! Seeded dropout. Its mask is computed where it is needed and never stored.

use candle_core::{DType, Device, Tensor, WithDType};

use crate::error::{KernelError, Result};
use crate::random::key::StreamKey;
use crate::random::{Kind, philox};

/// The number of values that one round of [`philox::LANES`] counters decides: eight 16-bit draws for each counter.
const GROUP: usize = philox::LANES * DRAWS;
const DRAWS: usize = 8;

/// Zeroes each value with probability `rate` and divides the rest by `1 - rate`, so that the mean stays.
///
/// The decision for an element depends on the block's [`StreamKey`], on the image's number (`first_image` + its row in the
/// batch) and on the element's place within the image, and on nothing else. A batch that is cut into pieces, each with its
/// `first_image`, therefore gets the masks of the whole.
///
/// A decision takes 16 random bits, so the rate is rounded to a multiple of 2⁻¹⁶; the divisor uses the rounded rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// The value that a 16-bit draw is compared with.
    pub(crate) threshold: u16,
    /// One stream for each block.
    pub(crate) keys: Vec<StreamKey>,
    /// The number of the batch's first row.
    pub(crate) first_image: u64,
}

impl Dropout {
    /// Dropout with one stream for each block of the weights' leading dimension.
    ///
    /// # Errors
    /// [`KernelError::DropoutRate`] unless `0 <= rate < 1`.
    pub fn new(rate: f64, keys: Vec<StreamKey>) -> Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(KernelError::DropoutRate { rate });
        }
        let threshold = (rate * 65_536.0).round().min(f64::from(u16::MAX)) as u16;
        Ok(Self { threshold, keys, first_image: 0 })
    }

    /// The same dropout for a batch whose first row is image number `first_image` (0 by default).
    #[must_use]
    pub fn with_first_image(mut self, first_image: u64) -> Self {
        self.first_image = first_image;
        self
    }

    /// The share of values that become zero: the rate, rounded.
    #[must_use]
    pub fn rate(&self) -> f64 {
        f64::from(self.threshold) / 65_536.0
    }

    /// The factor of the values that are kept: `1 / (1 - rate)`.
    pub(crate) fn scale(&self) -> f64 {
        1.0 / (1.0 - self.rate())
    }

    /// Refuses any number of streams but `blocks`.
    pub(crate) fn check(&self, blocks: usize) -> Result<()> {
        if self.keys.len() == blocks {
            Ok(())
        } else {
            Err(KernelError::DropoutKeys { keys: self.keys.len(), blocks })
        }
    }

    /// The stream of one block; call [`Dropout::check`] first.
    pub(crate) fn stream(&self, block: usize) -> MaskStream {
        MaskStream {
            key: self.keys.get(block).map_or([0; 2], |key| key.words()),
            threshold: self.threshold,
            first_image: self.first_image,
        }
    }

    /// The mask as a tensor `[T, N, positions, channels]`, zeros and [`Dropout::scale`]s, for plain candle ops.
    pub(crate) fn mask(&self, sizes: [usize; 4], dtype: DType, device: &Device) -> Result<Tensor> {
        let mask = match dtype {
            DType::F64 => self.mask_of::<f64>(sizes, device),
            _ => self.mask_of::<f32>(sizes, device),
        };
        Ok(mask?.to_dtype(dtype)?)
    }

    fn mask_of<F: WithDType>(&self, sizes: [usize; 4], device: &Device) -> Result<Tensor> {
        let [blocks, images, positions, channels] = sizes;
        let per_image = positions * channels;
        let scale = F::from_f64(self.scale());
        let mut values = Vec::with_capacity(blocks * images * per_image);
        let mut mask = vec![F::zero(); padded(per_image)];
        for block in 0..blocks {
            let stream = self.stream(block);
            for image in 0..images {
                stream.fill(image, scale, &mut mask);
                values.extend_from_slice(&mask[..per_image]);
            }
        }
        Ok(Tensor::from_vec(values, (blocks, images, positions, channels), device)?)
    }
}

/// The number of mask values that [`MaskStream::fill`] writes for an image of `per_image` elements.
pub(crate) const fn padded(per_image: usize) -> usize {
    per_image.div_ceil(GROUP) * GROUP
}

/// The masks of one block's images.
#[derive(Clone, Copy)]
pub(crate) struct MaskStream {
    key: [u32; 2],
    threshold: u16,
    first_image: u64,
}

impl MaskStream {
    /// Writes the factors of image `image` of the batch: zero for a dropped element, `scale` for a kept one.
    ///
    /// Elements are numbered position by position, channel within position. `mask` has a length from [`padded`].
    /// The draw `(e mod 128) / 16` of counter `16 (e / 128) + e mod 16` decides element `e`: in this order sixteen counters
    /// go through the rounds side by side and leave their draws where they belong.
    #[inline(always)]
    pub(crate) fn fill<F: Copy + WithDType>(&self, image: usize, scale: F, mask: &mut [F]) {
        let number = self.first_image.wrapping_add(image as u64);
        let rest = [number as u32, (number >> 32) as u32, Kind::Dropout as u32];
        let zero = F::zero();
        let threshold = u32::from(self.threshold);
        for (index, group) in mask.chunks_exact_mut(GROUP).enumerate() {
            let words = philox::lanes((index * philox::LANES) as u32, rest, self.key);
            let (low, high) = group.split_at_mut(GROUP / 2);
            for ((low, high), word) in low
                .chunks_exact_mut(philox::LANES)
                .zip(high.chunks_exact_mut(philox::LANES))
                .zip(&words)
            {
                for ((low, high), bits) in low.iter_mut().zip(high).zip(word) {
                    *low = if bits & 0xFFFF < threshold { zero } else { scale };
                    *high = if bits >> 16 < threshold { zero } else { scale };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(dropout: &Dropout, block: usize, image: usize, n: usize) -> Vec<f32> {
        let mut mask = vec![0_f32; padded(n)];
        dropout.stream(block).fill(image, dropout.scale() as f32, &mut mask);
        mask.truncate(n);
        mask
    }

    /// Protects the share of zeros, which is the rate, and the mean, which stays 1, within five standard errors.
    #[test]
    fn drops_at_the_rate_and_keeps_the_mean() -> Result<()> {
        for rate in [0.0, 0.2, 0.5, 0.9] {
            let dropout = Dropout::new(rate, vec![StreamKey(11)])?;
            let n = 400_000;
            let mask = factors(&dropout, 0, 3, n);
            let dropped = mask.iter().filter(|&&v| v == 0.0).count() as f64 / n as f64;
            let error = 5.0 * (rate * (1.0 - rate) / n as f64).sqrt() + 1e-4;
            assert!((dropped - rate).abs() < error, "rate {rate}: {dropped}");
            let mean = mask.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
            assert!((mean - 1.0).abs() < error / (1.0 - rate), "rate {rate}: mean {mean}");
        }
        Ok(())
    }

    /// Protects the rate of each of a counter's eight draws, and the independence of neighbours.
    #[test]
    fn no_place_is_favoured() -> Result<()> {
        let dropout = Dropout::new(0.2, vec![StreamKey(5)])?;
        let mask = factors(&dropout, 0, 0, 128 * 2000);
        for place in 0..8 {
            let dropped = mask
                .chunks(128)
                .flat_map(|group| &group[place * 16..(place + 1) * 16])
                .filter(|&&v| v == 0.0)
                .count() as f64
                / 32_000.0;
            assert!((dropped - 0.2).abs() < 0.012, "place {place}: {dropped}");
        }
        for lag in [1, 16, 64, 128] {
            let both =
                mask.iter().zip(&mask[lag..]).filter(|(a, b)| **a == 0.0 && **b == 0.0).count()
                    as f64
                    / (mask.len() - lag) as f64;
            assert!((both - 0.04).abs() < 0.003, "lag {lag}: {both}");
        }
        Ok(())
    }

    /// Protects the masks of a batch that is cut in two, which are those of the whole. Other blocks and images get others.
    #[test]
    fn depends_on_block_and_image_number_alone() -> Result<()> {
        let keys = vec![StreamKey(1), StreamKey(2)];
        let whole = Dropout::new(0.5, keys.clone())?;
        let second_half = Dropout::new(0.5, keys)?.with_first_image(64);
        assert_eq!(factors(&whole, 1, 70, 500), factors(&second_half, 1, 6, 500));
        assert_ne!(factors(&whole, 0, 70, 500), factors(&whole, 1, 70, 500));
        assert_ne!(factors(&whole, 0, 70, 500), factors(&whole, 0, 71, 500));
        Ok(())
    }

    /// Protects against rates that drop everything or are not a share at all.
    #[test]
    fn refuses_rates_that_drop_everything_or_make_no_sense() {
        for rate in [1.0, -0.1, f64::NAN, 2.0] {
            assert!(Dropout::new(rate, vec![]).is_err(), "{rate}");
        }
    }
}

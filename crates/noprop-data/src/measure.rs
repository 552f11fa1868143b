//! Measuring the normalisation of a data set.

use crate::error::DataError;
use crate::normalization::{LEAST_STD, Normalization};
use crate::split::Split;

/// The number of images that are measured at a time.
const CHUNK: usize = 512;
/// Values are rounded to six decimals, so that the short numbers in the settings of a run are exactly those that are used.
const DECIMALS: f64 = 1e6;

impl Normalization {
    /// Measures all images of `split`, as they are before any normalisation. A channel that hardly varies gets a deviation of
    /// one step of a byte, 1/255. Both numbers are rounded to six decimals.
    ///
    /// # Errors
    /// candle's, if memory is short.
    pub fn of(split: &Split) -> Result<Self, DataError> {
        let (channels, height, width) = split.image_shape()?;
        let (plane, mut sums) = (height * width, vec![(0.0, 0.0); channels]);
        for start in (0..split.len()).step_by(CHUNK) {
            let chunk = split.raw_range(start..start + CHUNK)?;
            let pixels = chunk.flatten_all()?.to_vec1::<f32>()?;
            for image in pixels.chunks_exact(channels * plane) {
                for ((sum, squares), pixels) in sums.iter_mut().zip(image.chunks_exact(plane)) {
                    for &pixel in pixels {
                        let pixel = f64::from(pixel);
                        *sum += pixel;
                        *squares += pixel * pixel;
                    }
                }
            }
        }
        let count = (split.len() * plane) as f64;
        let short = |value: f64| (value * DECIMALS).round() / DECIMALS;
        let (mean, std) = sums
            .into_iter()
            .map(|(sum, squares): (f64, f64)| {
                let mean = sum / count;
                let variance = (squares / count - mean * mean).max(0.0);
                (short(mean), short(variance.sqrt().max(LEAST_STD)))
            })
            .unzip();
        Self::new(mean, std)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::fixtures::{pixels, values};

    /// Two images of two channels: the first 0, 51, 204, 255, the second always 100.
    fn split() -> Split {
        let pixels: Vec<u8> = vec![0, 51, 100, 100, 204, 255, 100, 100];
        let images = Tensor::from_vec(pixels, (2, 2, 1, 2), &Device::Cpu).unwrap();
        Split::new(images, Tensor::new(&[0u32, 1], &Device::Cpu).unwrap(), 2).unwrap()
    }

    /// A mean of the wrong axis would go unnoticed on square grey images.
    #[test]
    fn equals_its_definition_and_a_constant_channel_divides_by_nothing() {
        let split = split();
        let measured = Normalization::of(&split).unwrap();
        // 0, 0.2, 0.8, 1: mean 0.5, variance (0.25 + 0.09 + 0.09 + 0.25) / 4 = 0.17.
        assert_eq!(measured.mean(), [0.5, 0.392157]);
        assert_eq!(measured.std(), [0.412311, 0.003922]);
        let normalised = split.normalised(&measured).unwrap();
        let pixels = pixels(&normalised);
        for (pixel, expected) in pixels.iter().zip([-0.5, -0.3, 0.0, 0.0, 0.3, 0.5, 0.0, 0.0]) {
            assert!((pixel - expected / 0.412311).abs() < 1e-3, "{pixels:?}");
        }
    }

    /// A batch, a range and the whole must be the same images; the pixels that are shown to a person must not change.
    #[test]
    fn applies_alike_however_images_are_asked_for() {
        let plain = split();
        let normalised = plain.normalised(&Normalization::of(&plain).unwrap()).unwrap();
        let whole = pixels(&normalised);
        assert_eq!(whole, values(&normalised.range(0..2).unwrap()));
        assert_eq!(whole, values(&normalised.batch(&[0, 1]).unwrap().0));
        assert_eq!(whole[4..], pixels(&normalised.select(&[1]).unwrap()));
        assert_ne!(whole, pixels(&plain));
        assert_eq!(pixels(&plain), values(&normalised.raw_range(0..2).unwrap()));
        assert_eq!(normalised.picture(1).unwrap(), [204, 255, 100, 100]);
        // Measured twice, it would otherwise be 0 and 1.
        let again = Normalization::of(&normalised).unwrap();
        assert_eq!(again, Normalization::of(&plain).unwrap());
    }

    /// Settings of a run can be edited by hand.
    #[test]
    fn what_cannot_normalise_is_refused() {
        assert!(Normalization::new(vec![0.5], vec![0.2]).is_ok());
        for (mean, std) in [
            (vec![], vec![]),
            (vec![0.5], vec![0.2, 0.2]),
            (vec![0.5], vec![0.0]),
            (vec![0.5], vec![-0.2]),
            (vec![f64::NAN], vec![0.2]),
            (vec![0.5], vec![f64::INFINITY]),
            (vec![1e39], vec![0.2]),
            (vec![0.5], vec![1e39]),
        ] {
            assert!(Normalization::new(mean.clone(), std.clone()).is_err(), "{mean:?} {std:?}");
        }
        let one = Normalization::new(vec![0.5], vec![0.2]).unwrap();
        assert!(split().normalised(&one).is_err(), "two channels, one mean");
    }
}

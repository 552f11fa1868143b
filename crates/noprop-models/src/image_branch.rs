//! The image branch of Fig. 6: three convolutions and a linear layer, image → 256 features.
//!
//! Both sides of the figure have the same layers up to the linear one. The left side ends with a batch norm, the right side with ReLU.

use std::ops::RangeInclusive;

use candle_core::{Result, Tensor};
use noprop_kernels::{Activation, Padding, Pool};
use noprop_method::{Norm, ParameterError};
use serde::{Deserialize, Serialize};

use crate::layers::{Conv, ConvSettings, Dense, Passes, Place};

/// The number of features of an image, of a label, and of both.
pub(crate) const WIDTH: usize = 256;
const CHANNELS: [usize; 3] = [32, 64, 128];

/// The size of a network's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// C: 1 for grey, 3 for colour.
    pub channels: usize,
    /// H in pixels.
    pub height: usize,
    /// W in pixels.
    pub width: usize,
}

impl ImageShape {
    /// The heights and widths that convolutions can be built for: smaller ones leave nothing behind the convolutions and poolings, and
    /// larger ones are a mistake or an attack. [`Backbone::sides`](crate::Backbone::sides) has those of other encoders.
    pub const SIDES: RangeInclusive<usize> = 16..=1024;

    /// C·H·W.
    pub fn pixels(self) -> usize {
        self.channels * self.height * self.width
    }
}

/// The settings of an [`ImageBranch`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageInput {
    /// The shape of its images.
    pub shape: ImageShape,
    /// The padding of all three convolutions.
    pub padding: Padding,
    /// The share of activations that training drops behind each convolution, 0 ≤ rate < 1.
    pub dropout: f64,
}

impl ImageInput {
    /// The number of values that the three convolutions leave of an image.
    pub(crate) fn flat(self) -> usize {
        let [.., channels] = CHANNELS;
        let side = |size: usize| match self.padding {
            Padding::Valid => ((size - 2) / 2 - 4) / 2,
            Padding::Same => size / 2 / 2,
        };
        channels * side(self.shape.height) * side(self.shape.width)
    }
}

/// A built image encoder.
pub trait ImageEncoder: Send + Sync {
    /// [T or 1, N, C, H, W] → [T, N, 256].
    ///
    /// # Errors
    /// candle's, for images of the wrong shape.
    fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor>;

    /// Sets the running statistics of every layer to those of `images` [1, N, C, H, W], for an encoder that is never trained.
    ///
    /// # Errors
    /// As for [`Self::forward`].
    fn calibrate(&self, images: &Tensor) -> Result<()>;
}

/// conv 3×3 → 32, ReLU, max pool 2, dropout; conv 3×3 → 64, ReLU, dropout; conv 3×3 → 128, ReLU, max pool 2 (floor),
/// dropout; flatten; linear → 256; batch norm (Fig. 6, left) or ReLU (right).
pub struct ImageBranch {
    convs: [Conv; 3],
    dense: Dense,
}

impl ImageBranch {
    /// The branch with its parameters at `place`: `conv1`, `conv2`, `conv3`, `fc` and, with batch norm, `norm`.
    ///
    /// # Errors
    /// [`ParameterError`] if the parameters cannot be made.
    pub fn new(
        place: &Place<'_>,
        input: ImageInput,
        norm: Norm,
    ) -> std::result::Result<Self, ParameterError> {
        let [c1, c2, c3] = CHANNELS;
        let ImageInput { shape, padding, dropout } = input;
        let conv = |name: &str, channels, pool, layer| {
            let settings = ConvSettings { padding, pool, dropout, layer };
            Conv::new(&place.at(name), channels, settings)
        };
        Ok(Self {
            convs: [
                conv("conv1", (shape.channels, c1), Pool::Max2, 0)?,
                conv("conv2", (c1, c2), Pool::None, 1)?,
                conv("conv3", (c2, c3), Pool::Max2, 2)?,
            ],
            dense: Dense::new(place, "", (input.flat(), WIDTH), norm, Activation::None)?,
        })
    }

    /// [T or 1, N, C, H, W] → the values that the convolutions leave of each image, [T, N, flat].
    fn flat(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        Conv::forward_all(&self.convs, images, passes)?.flatten_from(2)
    }
}

impl ImageEncoder for ImageBranch {
    fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        self.dense.forward(&self.flat(images, passes)?, passes)
    }

    fn calibrate(&self, images: &Tensor) -> Result<()> {
        self.dense.calibrate(&self.flat(images, Passes::Eval)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use noprop_method::{ParameterBuilder, Part, Seed};

    use super::*;

    /// The linear layer would refuse a flat size that forgets the padding or is rounded differently from the pools.
    #[test]
    fn every_size_goes_through_with_and_without_padding() {
        let device = Device::Cpu;
        for (padding, positions) in [
            (Padding::Valid, [(16, 17, 1), (28, 31, 4 * 5), (32, 32, 5 * 5)]),
            (Padding::Same, [(16, 17, 4 * 4), (28, 31, 7 * 7), (32, 32, 8 * 8)]),
        ] {
            for (height, width, positions) in positions {
                let shape = ImageShape { channels: 3, height, width };
                let input = ImageInput { shape, padding, dropout: 0.0 };
                assert_eq!(input.flat(), 128 * positions, "{input:?}");
                let builder = ParameterBuilder::seeded(Seed(1), &device);
                let place = Place::new(&builder, Part::Encoder);
                let branch = ImageBranch::new(&place, input, Norm::Batch).unwrap();
                let images = Tensor::ones((1, 2, 3, height, width), DType::F32, &device).unwrap();
                assert_eq!(branch.forward(&images, Passes::Eval).unwrap().dims(), [1, 2, WIDTH]);
            }
        }
    }
}

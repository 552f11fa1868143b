//! The image branch of Fig. 6: three convolutions and a linear layer, image → 256 features.
//!
//! Both sides of the figure have the same layers up to the linear one. The left side ends with a batch norm, the right side with ReLU.

use candle_core::{Result, Tensor};
use noprop_kernels::{Activation, Padding, Pool, conv3x3_stack};
use noprop_method::{Norm, ParameterError};

use crate::ImageShape;
use crate::layers::{Conv, Dense, Passes, Place};

/// Features of an image, of a label, and of both: the paper's width.
pub(crate) const WIDTH: usize = 256;
const CHANNELS: [usize; 3] = [32, 64, 128];

/// What an image branch is built for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageInput {
    pub shape: ImageShape,
    /// Of all three convolutions.
    pub padding: Padding,
    pub dropout: f64,
}

impl ImageInput {
    /// Numbers that the three convolutions leave of an image.
    pub fn flat(self) -> usize {
        let [.., channels] = CHANNELS;
        let side = |size: usize| match self.padding {
            Padding::Valid => ((size - 2) / 2 - 4) / 2,
            Padding::Same => size / 2 / 2,
        };
        channels * side(self.shape.height) * side(self.shape.width)
    }
}

/// conv 3×3 → 32, ReLU, max pool 2, dropout; conv 3×3 → 64, ReLU, dropout; conv 3×3 → 128, ReLU, max pool 2 (floor),
/// dropout; flatten; linear → 256; batch norm (Fig. 6, left) or ReLU (right).
pub(crate) struct ImageBranch {
    convs: [Conv; 3],
    dense: Dense,
}

impl ImageBranch {
    pub fn new(
        place: &Place<'_>,
        input: ImageInput,
        norm: Norm,
    ) -> std::result::Result<Self, ParameterError> {
        let [c1, c2, c3] = CHANNELS;
        let sizes = [
            ((input.shape.channels, c1), Pool::Max2),
            ((c1, c2), Pool::None),
            ((c2, c3), Pool::Max2),
        ];
        let conv = |layer: usize| {
            let (channels, pool) = sizes[layer];
            let place = place.at(&format!("conv{}", layer + 1));
            Conv::new(&place, channels, pool, input, layer as u64)
        };
        Ok(Self {
            convs: [conv(0)?, conv(1)?, conv(2)?],
            dense: Dense::new(place, "", (input.flat(), WIDTH), norm, Activation::None)?,
        })
    }

    /// [T or 1, N, C, H, W] → [T, N, 256].
    pub fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        self.dense.forward(&self.flat(images, passes)?, passes)
    }

    /// Sets the running statistics to those of `images` [1, N, C, H, W], for a branch that is never trained.
    pub fn calibrate(&self, images: &Tensor) -> Result<()> {
        self.dense.calibrate(&self.flat(images, Passes::Eval)?)
    }

    /// [T or 1, N, C, H, W] → the numbers that the convolutions leave of each image, [T, N, flat].
    fn flat(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        let ops = self.convs.iter().map(|conv| conv.op(passes));
        let ops = ops.collect::<Result<Vec<_>>>()?;
        let parameters: Vec<_> = self.convs.iter().map(Conv::parameters).collect();
        // One op for all three: images pass through the layers a few at a time, while they are in cache.
        conv3x3_stack(&ops, images, &parameters)?.flatten_from(2)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use noprop_kernels::Backend;
    use noprop_method::{ParameterBuilder, ParameterKind, Part, Seed};

    use super::*;

    /// A flat size that forgets the padding, or rounds otherwise than the pools do, would be refused by the linear layer.
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
                let place = Place {
                    builder: &builder,
                    part: Part::Encoder,
                    kind: ParameterKind::Trainable,
                    prefix: String::new(),
                    backend: Backend::Auto,
                    precision: noprop_kernels::Precision::F32,
                };
                let branch = ImageBranch::new(&place, input, Norm::Batch).unwrap();
                let images = Tensor::ones((1, 2, 3, height, width), DType::F32, &device).unwrap();
                assert_eq!(branch.forward(&images, Passes::Eval).unwrap().dims(), [1, 2, WIDTH]);
            }
        }
    }
}

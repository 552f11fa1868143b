//! `resnet:W`: a residual network of eight convolutions, in the shape of ResNet-9.

use candle_core::{Result, Tensor};
use noprop_kernels::{After, ConvNormStack, global_max_pool};
use noprop_method::{Norm, ParameterError};

use crate::conv_norm::{ConvNormLayer, Statistics};
use crate::image_branch::{ImageEncoder, WIDTH};
use crate::layers::{Activation, Dense, Passes, Place};

/// conv → W; conv → 2W, pool, residual pair; conv → 4W, pool; conv → 8W, pool, residual pair; the greatest value of each channel;
/// linear → 256 as at the end of Fig. 6's image branch.
///
/// A convolution is 3×3 with padding 1, followed by a batch norm over channels and ReLU. A pool is the greatest of 2×2 values. A residual
/// pair is two convolutions whose result is added to what they were given.
pub(crate) struct Resnet {
    /// In the order of work; see [`RESNET`].
    convs: Vec<ConvNormLayer>,
    stack: ConvNormStack,
    dense: Dense,
}

/// The convolutions of `resnet:W` in the order of work: the name, the channels as a multiple of W, and what follows it.
pub const RESNET: [(&str, usize, After); 8] = [
    ("conv1", 1, After::Nothing),
    ("conv2", 2, After::Max2),
    ("pair1.conv1", 2, After::Nothing),
    ("pair1.conv2", 2, After::Residual),
    ("conv3", 4, After::Max2),
    ("conv4", 8, After::Max2),
    ("pair2.conv1", 8, After::Nothing),
    ("pair2.conv2", 8, After::Residual),
];

impl Resnet {
    /// The network for images of `channels` channels, with its parameters at `place`.
    pub fn new(
        place: &Place<'_>,
        channels: usize,
        width: usize,
        norm: Norm,
    ) -> std::result::Result<Self, ParameterError> {
        let (precision, backend) = (place.precision, place.backend);
        let mut convs = Vec::with_capacity(RESNET.len());
        let mut inputs = channels;
        for (name, factor, after) in RESNET {
            let outputs = factor * width;
            convs.push(ConvNormLayer::new(&place.at(name), (inputs, outputs), after)?);
            inputs = outputs;
        }
        let dense = Dense::new(place, "", (inputs, WIDTH), norm, Activation::None)?;
        let stack = ConvNormStack { precision, backend, ..ConvNormStack::default() };
        Ok(Self { convs, stack, dense })
    }

    /// Passes `images` through the convolutions.
    fn through(&self, images: &Tensor, statistics: Statistics) -> Result<Tensor> {
        let layers: Vec<_> = self.convs.iter().map(|conv| conv.layer(statistics)).collect();
        let out = self.stack.forward(images, &layers)?;
        for (conv, batch) in self.convs.iter().zip(&out.statistics) {
            conv.follow(batch, statistics)?;
        }
        Ok(global_max_pool(&out.y, self.stack.backend)?)
    }
}

impl ImageEncoder for Resnet {
    fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        self.dense.forward(&self.through(images, passes.into())?, passes)
    }

    fn calibrate(&self, images: &Tensor) -> Result<()> {
        self.dense.calibrate(&self.through(images, Statistics::Batch { momentum: 1.0 })?)
    }
}

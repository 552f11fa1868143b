//! `resnet:W`: a residual network of eight convolutions, in the shape of ResNet-9.

use candle_core::{Result, Tensor};
use noprop_kernels::{Backend, Pool, global_max_pool};
use noprop_method::{Norm, ParameterError};

use crate::conv_norm::ConvNorm;
use crate::image_branch::{ImageEncoder, WIDTH};
use crate::layers::{Activation, Dense, Passes, Place};

/// conv → W; conv → 2W, pool, residual pair; conv → 4W, pool; conv → 8W, pool, residual pair; the greatest value of each channel;
/// linear → 256 as at the end of Fig. 6's image branch.
///
/// A convolution is 3×3 with padding 1, followed by a batch norm over channels and ReLU. A pool is the greatest of 2×2 values. A residual
/// pair is two convolutions whose result is added to what they were given.
pub(crate) struct Resnet {
    /// In the order of work. The number of channels of the input, the factors of W, and what stands behind are in [`SHAPE`].
    convs: Vec<ConvNorm>,
    dense: Dense,
    backend: Backend,
}

/// A convolution: its name, the channels as a multiple of W, and what follows it.
const SHAPE: [(&str, usize, Role); 8] = [
    ("conv1", 1, Role::Plain),
    ("conv2", 2, Role::Pooled),
    ("pair1.conv1", 2, Role::First),
    ("pair1.conv2", 2, Role::Second),
    ("conv3", 4, Role::Pooled),
    ("conv4", 8, Role::Pooled),
    ("pair2.conv1", 8, Role::First),
    ("pair2.conv2", 8, Role::Second),
];

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Plain,
    Pooled,
    /// The first of a residual pair.
    First,
    /// The second, to whose result the input of the first is added.
    Second,
}

impl Resnet {
    /// The network for images of `channels` channels, with its parameters at `place`.
    pub fn new(
        place: &Place<'_>,
        channels: usize,
        width: usize,
        norm: Norm,
    ) -> std::result::Result<Self, ParameterError> {
        let mut convs = Vec::with_capacity(SHAPE.len());
        let mut inputs = channels;
        for (name, factor, role) in SHAPE {
            let outputs = factor * width;
            let pool = if role == Role::Pooled { Pool::Max2 } else { Pool::None };
            convs.push(ConvNorm::new(&place.at(name), (inputs, outputs), pool)?);
            inputs = outputs;
        }
        let dense = Dense::new(place, "", (inputs, WIDTH), norm, Activation::None)?;
        Ok(Self { convs, dense, backend: place.backend })
    }

    /// Passes `x` through the convolutions, each by `layer`, which is given what is added to its result.
    fn through(
        &self,
        images: &Tensor,
        layer: impl Fn(&ConvNorm, &Tensor, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut x = images.clone();
        let mut before = x.clone();
        for (conv, (.., role)) in self.convs.iter().zip(SHAPE) {
            let residual = match role {
                Role::Second => Some(std::mem::replace(&mut before, x.clone())),
                Role::First => {
                    before = x.clone();
                    None
                }
                Role::Plain | Role::Pooled => None,
            };
            x = layer(conv, &x, residual.as_ref())?;
        }
        Ok(global_max_pool(&x, self.backend)?)
    }
}

impl ImageEncoder for Resnet {
    fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        let x = self.through(images, |conv, x, residual| conv.forward(x, residual, passes))?;
        self.dense.forward(&x, passes)
    }

    fn calibrate(&self, images: &Tensor) -> Result<()> {
        self.dense.calibrate(&self.through(images, ConvNorm::calibrate)?)
    }
}

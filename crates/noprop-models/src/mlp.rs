//! `mlp:W,D`: dense layers from the pixels to the features.

use candle_core::{Result, Tensor};
use noprop_kernels::Activation;
use noprop_method::{Norm, ParameterError};

use crate::image_branch::{ImageEncoder, ImageShape, WIDTH};
use crate::layers::{Dense, Passes, Place};

/// D times linear → W with batch norm and ReLU, or ReLU alone; linear → 256 as at the end of Fig. 6's image branch.
pub(crate) struct Mlp(Vec<Dense>);

impl Mlp {
    /// The layers with their parameters at `place`: `fc1`, `norm1` and so on, and `fc`, `norm`.
    pub fn new(
        place: &Place<'_>,
        shape: ImageShape,
        (width, depth): (usize, usize),
        norm: Norm,
    ) -> std::result::Result<Self, ParameterError> {
        let mut layers = Vec::with_capacity(depth + 1);
        let mut inputs = shape.pixels();
        for layer in 1..=depth {
            let sizes = (inputs, width);
            layers.push(Dense::new(place, &layer.to_string(), sizes, norm, Activation::Relu)?);
            inputs = width;
        }
        layers.push(Dense::new(place, "", (inputs, WIDTH), norm, Activation::None)?);
        Ok(Self(layers))
    }
}

impl ImageEncoder for Mlp {
    fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        self.0.iter().try_fold(images.flatten_from(2)?, |x, layer| layer.forward(&x, passes))
    }

    fn calibrate(&self, images: &Tensor) -> Result<()> {
        self.0.iter().try_fold(images.flatten_from(2)?, |x, layer| {
            layer.calibrate(&x)?;
            layer.forward(&x, Passes::Eval)
        })?;
        Ok(())
    }
}

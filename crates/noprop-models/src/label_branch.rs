//! The label branch of Fig. 6: the noised label embedding → 256 features, by dense layers, or by an image branch where embeddings are
//! images.

use candle_core::{Result, Tensor};
use noprop_kernels::Activation;
use noprop_method::{Norm, ParameterError, StreamKey};

use crate::image_branch::{ImageBranch, ImageEncoder, ImageInput, ImageShape, WIDTH};
use crate::layers::{Dense, Passes, Place};

/// The form of a label embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LabelInput {
    /// d numbers.
    Vector(usize),
    /// An image: d = C·H·W.
    Image(ImageInput),
}

/// Label embedding [T, N, d] → features [T, N, 256].
pub struct LabelBranch(Layers);

enum Layers {
    /// With batch norm h = ReLU(BN(FC z)), then h + BN(FC ReLU(BN(FC h))); without, ReLU(FC z).
    Vector { first: Dense, residual: Option<[Dense; 2]> },
    /// The layers of the image branch.
    Image { branch: Box<ImageBranch>, shape: ImageShape },
}

/// Keeps this branch's dropout apart from that of the block's image branch.
const DROPOUT_KEY: [u64; 2] = [1, 0];

impl LabelBranch {
    /// The branch with its parameters at `place`.
    ///
    /// # Errors
    /// [`ParameterError`] if the parameters cannot be made.
    pub fn new(
        place: &Place<'_>,
        input: LabelInput,
        norm: Norm,
    ) -> std::result::Result<Self, ParameterError> {
        let d = match input {
            LabelInput::Vector(d) => d,
            LabelInput::Image(input) => {
                let branch = Box::new(ImageBranch::new(&place.at("image"), input, norm)?);
                return Ok(Self(Layers::Image { branch, shape: input.shape }));
            }
        };
        let dense = |layer: &str, inputs, activation| {
            Dense::new(place, layer, (inputs, WIDTH), norm, activation)
        };
        let first = dense("1", d, Activation::Relu)?;
        let residual = match norm {
            Norm::Batch => {
                Some([dense("2", WIDTH, Activation::Relu)?, dense("3", WIDTH, Activation::None)?])
            }
            Norm::None => None,
        };
        Ok(Self(Layers::Vector { first, residual }))
    }

    /// [T, N, d] → [T, N, 256].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    pub fn forward(&self, z: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        match &self.0 {
            Layers::Vector { first, residual } => {
                let h = first.forward(z, passes)?;
                match residual {
                    Some([inner, outer]) => {
                        let refined = outer.forward(&inner.forward(&h, passes)?, passes)?;
                        h + refined
                    }
                    None => Ok(h),
                }
            }
            Layers::Image { branch, shape } => {
                let (blocks, rows, _) = z.dims3()?;
                let images =
                    z.reshape((blocks, rows, shape.channels, shape.height, shape.width))?;
                match passes {
                    Passes::Train(keys) => {
                        let own = |key: &StreamKey| StreamKey::derive(key.0, &DROPOUT_KEY);
                        let keys: Vec<_> = keys.iter().map(own).collect();
                        branch.forward(&images, Passes::Train(&keys))
                    }
                    Passes::Eval => branch.forward(&images, Passes::Eval),
                }
            }
        }
    }
}

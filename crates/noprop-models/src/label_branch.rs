//! What a block makes of the noised label embedding (Fig. 6): 256 features, by linear layers, or by an image branch of its own where
//! embeddings are images.

use candle_core::{Result, Tensor};
use noprop_kernels::Activation;
use noprop_method::{ParameterError, StreamKey};

use crate::image_branch::{ImageBranch, ImageInput, WIDTH};
use crate::layers::{BatchNorm, Linear, Passes, Place};
use crate::{ImageShape, Variant};

/// What a label embedding is.
#[derive(Clone, Copy)]
pub(crate) enum LabelInput {
    /// d numbers.
    Vector(usize),
    /// An image: d = C·H·W.
    Image(ImageInput),
}

/// Label embedding [N, d] → 256 features.
pub(crate) enum LabelBranch {
    Residual(Box<Residual>),
    Dense(Linear),
    Image(Box<PrototypeBranch>),
}

impl LabelBranch {
    pub fn new(
        place: &Place<'_>,
        input: LabelInput,
        variant: Variant,
    ) -> std::result::Result<Self, ParameterError> {
        Ok(match (input, variant) {
            (LabelInput::Image(input), _) => {
                let branch = ImageBranch::new(&place.at("image"), input, variant)?;
                Self::Image(Box::new(PrototypeBranch { branch, shape: input.shape }))
            }
            (LabelInput::Vector(d), Variant::DiscreteTime | Variant::Backprop) => {
                Self::Residual(Box::new(Residual::new(place, d)?))
            }
            (
                LabelInput::Vector(d),
                Variant::ContinuousTime | Variant::FlowMatching | Variant::Adjoint,
            ) => Self::Dense(Linear::new(&place.at("fc1"), d, WIDTH)?),
        })
    }

    /// [T, N, d] → [T, N, 256].
    pub fn forward(&self, z: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        match self {
            Self::Residual(branch) => branch.forward(z, passes),
            Self::Dense(linear) => linear.forward_relu(z),
            Self::Image(branch) => branch.forward(z, passes),
        }
    }
}

/// h = ReLU(BN(FC z)); h + BN(FC ReLU(BN(FC h))): discrete time's.
pub(crate) struct Residual {
    linears: [Linear; 3],
    norms: [BatchNorm; 3],
}

impl Residual {
    fn new(place: &Place<'_>, dimension: usize) -> std::result::Result<Self, ParameterError> {
        let linear =
            |layer: usize, inputs| Linear::new(&place.at(&format!("fc{layer}")), inputs, WIDTH);
        let norm = |layer: usize, activation| {
            BatchNorm::new(&place.at(&format!("norm{layer}")), WIDTH, activation)
        };
        Ok(Self {
            linears: [linear(1, dimension)?, linear(2, WIDTH)?, linear(3, WIDTH)?],
            norms: [
                norm(1, Activation::Relu)?,
                norm(2, Activation::Relu)?,
                norm(3, Activation::None)?,
            ],
        })
    }

    fn forward(&self, z: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        let layer = |i: usize, x: &Tensor| {
            let x = self.linears[i].forward(x)?;
            self.norms[i].forward(&x, passes.into())
        };
        let h = layer(0, z)?;
        let refined = layer(2, &layer(1, &h)?)?;
        h + refined
    }
}

/// The layers of the image branch, on an embedding that is an image.
pub(crate) struct PrototypeBranch {
    branch: ImageBranch,
    shape: ImageShape,
}

/// Tells this branch's dropout from that of the block's own image branch.
const DROPOUT_KEY: [u64; 2] = [1, 0];

impl PrototypeBranch {
    fn forward(&self, z: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        let ImageShape { channels, height, width } = self.shape;
        let (blocks, rows, _) = z.dims3()?;
        let images = z.reshape((blocks, rows, channels, height, width))?;
        match passes {
            Passes::Train(keys) => {
                let own = |key: &StreamKey| StreamKey::derive(key.0, &DROPOUT_KEY);
                let keys: Vec<_> = keys.iter().map(own).collect();
                self.branch.forward_stacked(&images, Passes::Train(&keys))
            }
            Passes::Eval => self.branch.forward_stacked(&images, Passes::Eval),
        }
    }
}

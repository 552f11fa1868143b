//! The image encoders to choose from: image → 256 features.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use noprop_method::{Norm, ParameterError};
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::image_branch::{ImageBranch, ImageEncoder, ImageInput, ImageShape, WIDTH};
use crate::layers::Place;
use crate::mlp::Mlp;
use crate::resnet::Resnet;
use crate::vit::{HEAD, Vit};

/// Larger networks are a mistake or an attack, on the machines that this program is for.
const MAX_MLP: (usize, usize) = (2048, 8);
const MAX_RESNET: usize = 128;
const MAX_VIT: (usize, usize) = (512, 16);
/// Attention has a number for each pair of tokens.
const MAX_TOKENS: usize = 4096;

/// The layers from an image to its 256 features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Backbone {
    /// The three convolutions of Fig. 6.
    #[default]
    Paper,
    /// Dense layers.
    Mlp {
        /// The width of each.
        width: usize,
        /// Their number.
        depth: usize,
    },
    /// A residual network of eight convolutions, in the shape of ResNet-9.
    Resnet {
        /// The channels of the first convolution. The last have eight times as many.
        width: usize,
    },
    /// A vision transformer with pre-norm layers (Dosovitskiy et al. 2021).
    Vit {
        /// The width of a token, a multiple of 32.
        width: usize,
        /// The number of layers.
        depth: usize,
        /// The side of a patch in pixels.
        patch: usize,
    },
}

impl Backbone {
    /// The encoder with its parameters at `place`. `norm` is that of its last layer.
    pub(crate) fn build(
        self,
        place: &Place<'_>,
        input: ImageInput,
        norm: Norm,
    ) -> Result<Box<dyn ImageEncoder>, ParameterError> {
        let shape = input.shape;
        Ok(match self {
            Self::Paper => Box::new(ImageBranch::new(place, input, norm)?),
            Self::Mlp { width, depth } => Box::new(Mlp::new(place, shape, (width, depth), norm)?),
            Self::Resnet { width } => Box::new(Resnet::new(place, shape.channels, width, norm)?),
            Self::Vit { width, depth, patch } => {
                Box::new(Vit::new(place, shape, (width, depth, patch), norm)?)
            }
        })
    }

    /// The heights and widths of images that it can take. Convolutions and poolings leave nothing of smaller ones; dense layers take
    /// any, also the features of a table as an image of one row.
    pub fn sides(self) -> RangeInclusive<usize> {
        match self {
            Self::Paper | Self::Resnet { .. } => ImageShape::SIDES,
            Self::Mlp { .. } => 1..=ImageShape::SIDES.end() * ImageShape::SIDES.end(),
            Self::Vit { .. } => 1..=*ImageShape::SIDES.end(),
        }
    }

    /// Refuses images that its patches do not divide.
    pub(crate) fn check(self, input: ImageInput) -> Result<(), ModelError> {
        let Self::Vit { patch, .. } = self else { return Ok(()) };
        let (height, width) = (input.shape.height, input.shape.width);
        let tokens = (height / patch) * (width / patch);
        if height.is_multiple_of(patch) && width.is_multiple_of(patch) && tokens <= MAX_TOKENS {
            return Ok(());
        }
        let expected = format!(
            "vit with patches that divide images of {height} × {width} pixels into at most {MAX_TOKENS}"
        );
        Err(ModelError::out_of_range("network", expected, self))
    }

    /// The size of images to which `side` is rounded up so that it can take them.
    pub(crate) fn side(self, side: usize) -> usize {
        match self {
            Self::Vit { patch, .. } => side.next_multiple_of(patch),
            Self::Paper | Self::Mlp { .. } | Self::Resnet { .. } => side,
        }
    }

    /// The number of its parameters that grows with the size of images, in proportion to it.
    pub(crate) fn growing(self, input: ImageInput) -> u64 {
        let pixels = input.shape.height * input.shape.width;
        let count = match self {
            Self::Paper => input.flat() * WIDTH,
            Self::Mlp { width, .. } => input.shape.pixels() * width,
            Self::Resnet { .. } => 0,
            Self::Vit { width, patch, .. } => pixels / (patch * patch) * width,
        };
        count as u64
    }

    /// The values, roughly, that it keeps for its backward pass, for each image.
    pub(crate) fn kept(self, input: ImageInput) -> u64 {
        let pixels = input.shape.height * input.shape.width;
        let kept = match self {
            // The outputs of the three convolutions and the copies between them.
            Self::Paper => 120 * pixels,
            // Products, norms and activations.
            Self::Mlp { width, depth } => input.shape.pixels() + 3 * width * depth,
            // The results of the convolutions, what the next ones are given, and two gradients, at every size. Channels are in whole vectors.
            Self::Resnet { width } => {
                let channels = |factor: usize| (factor * width).next_multiple_of(16);
                pixels * (3 * (channels(1) + channels(2)) + channels(4) / 2 + channels(8) / 4)
            }
            // Norms, queries, keys, values, attention, and the four times wider layer before and after GELU.
            Self::Vit { width, depth, patch } => depth * pixels / (patch * patch) * 20 * width,
        };
        kept as u64
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paper => f.write_str("paper"),
            Self::Mlp { width, depth } => write!(f, "mlp:{width},{depth}"),
            Self::Resnet { width } => write!(f, "resnet:{width}"),
            Self::Vit { width, depth, patch } => write!(f, "vit:{width},{depth},{patch}"),
        }
    }
}

impl FromStr for Backbone {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let (name, numbers) = text.split_once(':').unwrap_or((text, ""));
        let numbers: Vec<usize> =
            numbers.split(',').map(|number| number.parse().unwrap_or_default()).collect();
        let within = |value: usize, most: usize| (1..=most).contains(&value);
        Ok(match (name, &*numbers) {
            ("paper", _) if text == "paper" => Self::Paper,
            ("mlp", &[width, depth]) if within(width, MAX_MLP.0) && within(depth, MAX_MLP.1) => {
                Self::Mlp { width, depth }
            }
            ("resnet", &[width]) if within(width, MAX_RESNET) => Self::Resnet { width },
            ("vit", &[width, depth, patch])
                if within(width, MAX_VIT.0)
                    && width.is_multiple_of(HEAD)
                    && within(depth, MAX_VIT.1)
                    && within(patch, 64) =>
            {
                Self::Vit { width, depth, patch }
            }
            _ => {
                let expected = format!(
                    "paper; mlp:W,D with W up to {} and D up to {}; resnet:W with W up to {MAX_RESNET}; or vit:W,D,P with W a \
                     multiple of {HEAD} up to {}, D up to {} and patches of P pixels",
                    MAX_MLP.0, MAX_MLP.1, MAX_VIT.0, MAX_VIT.1
                );
                return Err(ModelError::out_of_range("network", expected, text));
            }
        })
    }
}

impl TryFrom<String> for Backbone {
    type Error = ModelError;

    fn try_from(text: String) -> Result<Self, ModelError> {
        text.parse()
    }
}

impl From<Backbone> for String {
    fn from(backbone: Backbone) -> Self {
        backbone.to_string()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use noprop_method::{ParameterBuilder, Part, Seed};

    use super::*;
    use crate::ImageShape;
    use crate::layers::Passes;

    const ALL: [Backbone; 4] = [
        Backbone::Paper,
        Backbone::Mlp { width: 40, depth: 2 },
        Backbone::Resnet { width: 8 },
        Backbone::Vit { width: 64, depth: 2, patch: 4 },
    ];

    /// A run must be opened with the network that it was trained with, and a mistake must not become another network.
    #[test]
    fn names_read_back_and_others_are_refused() {
        for backbone in ALL {
            assert_eq!(backbone.to_string().parse::<Backbone>().unwrap(), backbone);
        }
        for wrong in [
            "",
            "resnet",
            "resnet:0",
            "resnet:129",
            "resnet:8,2",
            "resnet:x",
            "mlp:8",
            "mlp:4096,2",
            "mlp:8,9",
            "vit:64,2",
            "vit:40,2,4",
            "vit:64,2,0",
            "vit:64,17,4",
            "paper:1",
            "paper:",
        ] {
            let refused = wrong.parse::<Backbone>().unwrap_err().to_string();
            assert!(refused.starts_with("network must be paper; mlp"), "{wrong}: {refused}");
        }
    }

    /// An evaluation has no statistics of its batch, so an image's features do not depend on the others.
    #[test]
    fn features_have_the_shape_and_do_not_depend_on_other_images() {
        let device = Device::Cpu;
        for backbone in ALL {
            for (channels, norm) in [(1, Norm::Batch), (3, Norm::None)] {
                let shape = ImageShape { channels, height: 20, width: 28 };
                let input =
                    ImageInput { shape, padding: noprop_kernels::Padding::Valid, dropout: 0.0 };
                let builder = ParameterBuilder::seeded(Seed(1), &device);
                let place = Place::new(&builder, Part::Encoder);
                let encoder = backbone.build(&place, input, norm).unwrap();
                let images = Tensor::rand(0f32, 1f32, (1, 3, channels, 20, 28), &device).unwrap();
                encoder.calibrate(&images).unwrap();
                let all = encoder.forward(&images, Passes::Eval).unwrap();
                assert_eq!(all.dims(), [1, 3, WIDTH], "{backbone}");
                let one = encoder.forward(&images.narrow(1, 1, 1).unwrap(), Passes::Eval).unwrap();
                let difference = (all.narrow(1, 1, 1).unwrap() - one).unwrap().abs().unwrap();
                let most: f32 = difference.max_all().unwrap().to_scalar().unwrap();
                assert!(most < 1e-4, "{backbone}: {most}");
                assert_eq!(all.dtype(), DType::F32);
            }
        }
    }
}

//! What a network is built from.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use noprop_kernels::{Backend, Padding, Precision};
use noprop_method::{
    EmbeddingForm, EncoderKind, Needs, ParameterError, ReadoutLayer, ReadoutStart,
};
use serde::{Deserialize, Serialize};

/// The smallest image side the three convolutions and two poolings leave anything of.
const MIN_SIDE: usize = 16;
/// Sizes beyond these are a mistake or an attack, not an image classifier.
const MAX_SIDE: usize = 1024;
const MAX_CHANNELS: usize = 16;
const MAX_CLASSES: usize = 10_000;
const MAX_BLOCKS: usize = 1000;
const MAX_DIMENSION: usize = 10_000;

/// The size of the images a network takes.
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
    /// Heights and widths that a network can be built for.
    pub const SIDES: RangeInclusive<usize> = MIN_SIDE..=MAX_SIDE;

    /// C·H·W.
    pub fn pixels(self) -> usize {
        self.channels * self.height * self.width
    }
}

/// W_embed: the clean embedding of every class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Embedding {
    /// The identity: d = classes, fixed.
    #[default]
    Onehot,
    /// A matrix that is trained with the network.
    Learned {
        /// d.
        dimension: usize,
    },
    /// A trained matrix whose rows are images, d = C·H·W, that go through an image branch.
    Prototype,
}

impl Embedding {
    /// Whether it is trained.
    pub fn is_trained(self) -> bool {
        match self {
            Self::Onehot => false,
            Self::Learned { .. } | Self::Prototype => true,
        }
    }

    /// d for so many classes; none where it is the images' size.
    pub fn dimension(self, classes: usize) -> Option<usize> {
        match self {
            Self::Onehot => Some(classes),
            Self::Learned { dimension } => Some(dimension),
            Self::Prototype => None,
        }
    }

    /// Where it starts unless one says otherwise; one-hot embeddings start as what they stay.
    pub fn usual_start(self) -> Option<EmbeddingStart> {
        match self {
            Self::Onehot => None,
            Self::Learned { .. } => Some(EmbeddingStart::Orthogonal),
            Self::Prototype => Some(EmbeddingStart::Prototype),
        }
    }
}

/// What trained class embeddings are before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbeddingStart {
    /// Orthogonal rows.
    Orthogonal,
    /// Random rows.
    Random,
    /// An image of each class, given to [`Network::start_embeddings_from`](crate::Network::start_embeddings_from).
    Prototype,
}

impl fmt::Display for EmbeddingStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orthogonal => "orthogonal",
            Self::Random => "random",
            Self::Prototype => "prototype",
        })
    }
}

impl FromStr for EmbeddingStart {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        match name {
            "orthogonal" => Ok(Self::Orthogonal),
            "random" => Ok(Self::Random),
            "prototype" => Ok(Self::Prototype),
            _ => Err(ModelError::OutOfRange {
                name: "embedding-start",
                expected: "orthogonal, random or prototype".into(),
                value: name.into(),
            }),
        }
    }
}

impl fmt::Display for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Onehot => f.write_str("onehot"),
            Self::Learned { dimension } => write!(f, "learned:{dimension}"),
            Self::Prototype => f.write_str("prototype"),
        }
    }
}

impl FromStr for Embedding {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        match name {
            "onehot" => return Ok(Self::Onehot),
            "prototype" => return Ok(Self::Prototype),
            _ => {}
        }
        let dimension = name.strip_prefix("learned:").and_then(|d| d.parse().ok());
        match dimension.filter(|d| (1..=MAX_DIMENSION).contains(d)) {
            Some(dimension) => Ok(Self::Learned { dimension }),
            None => Err(ModelError::OutOfRange {
                name: "embedding",
                expected: format!(
                    "onehot, prototype, or learned:D with D between 1 and {MAX_DIMENSION}"
                ),
                value: name.into(),
            }),
        }
    }
}

impl TryFrom<String> for Embedding {
    type Error = ModelError;

    fn try_from(name: String) -> Result<Self, ModelError> {
        name.parse()
    }
}

impl From<Embedding> for String {
    fn from(embedding: Embedding) -> Self {
        embedding.to_string()
    }
}

/// Why a network could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A setting is outside its range.
    #[error("{name} must be {expected}, got {value}")]
    OutOfRange {
        /// The setting's name, as in the config file.
        name: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        value: String,
    },
    /// The parameters did not fit the network.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// candle refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A valid description of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    pub(crate) image: ImageShape,
    pub(crate) classes: usize,
    pub(crate) needs: Needs,
    pub(crate) encoder: EncoderKind,
    pub(crate) dropout: f64,
    pub(crate) padding: Padding,
    pub(crate) embedding: Embedding,
    pub(crate) embedding_start: Option<EmbeddingStart>,
    pub(crate) embedding_scale: f64,
    pub(crate) precision: Precision,
    pub(crate) backend: Backend,
}

impl NetworkConfig {
    /// The paper's network for images of this shape and a method with these needs, with a shared encoder, dropout 0.2 and one-hot
    /// embeddings.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] for images smaller than 16 × 16 or absurdly large, for fewer than two classes,
    /// or for no blocks.
    pub fn new(image: ImageShape, classes: usize, needs: Needs) -> Result<Self, ModelError> {
        let within = |name, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(ModelError::OutOfRange {
                    name,
                    expected: format!("between {min} and {max}"),
                    value: value.to_string(),
                })
            }
        };
        within("image channels", image.channels, 1, MAX_CHANNELS)?;
        within("image height", image.height, MIN_SIDE, MAX_SIDE)?;
        within("image width", image.width, MIN_SIDE, MAX_SIDE)?;
        within("classes", classes, 2, MAX_CLASSES)?;
        within("steps", needs.blocks, 1, MAX_BLOCKS)?;
        Ok(Self {
            image,
            classes,
            needs,
            encoder: EncoderKind::default(),
            dropout: 0.2,
            padding: Padding::Valid,
            embedding: Embedding::default(),
            embedding_start: None,
            embedding_scale: 1.0,
            precision: Precision::F32,
            backend: Backend::Auto,
        })
    }

    /// Who looks at the image.
    #[must_use]
    pub fn encoder(mut self, encoder: EncoderKind) -> Self {
        self.encoder = encoder;
        self
    }

    /// The class embeddings.
    #[must_use]
    pub fn embedding(mut self, embedding: Embedding) -> Self {
        self.embedding = embedding;
        self
    }

    /// What trained class embeddings are before training, if not [`Embedding::usual_start`].
    #[must_use]
    pub fn embedding_start(mut self, start: EmbeddingStart) -> Self {
        self.embedding_start = Some(start);
        self
    }

    /// The length of one-hot embeddings and of orthogonal or random starts.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] unless positive and finite.
    pub fn embedding_scale(mut self, scale: f64) -> Result<Self, ModelError> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(ModelError::OutOfRange {
                name: "embedding-scale",
                expected: "a positive number".into(),
                value: scale.to_string(),
            });
        }
        self.embedding_scale = scale;
        Ok(self)
    }

    /// d, the length of a class embedding as a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.embedding.dimension(self.classes).unwrap_or_else(|| self.image.pixels())
    }

    /// Refuses settings that do not go together.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let refuse = |name, expected: String, value: String| {
            Err(ModelError::OutOfRange { name, expected, value })
        };
        let (pixels, d) = (self.image.pixels(), self.dimension());
        match self.embedding_start {
            Some(start) if !self.embedding.is_trained() => {
                let expected = "left out where the embedding is onehot, which is never trained";
                return refuse("embedding-start", expected.into(), start.to_string());
            }
            Some(start @ EmbeddingStart::Prototype) if d != pixels => {
                let expected = format!(
                    "orthogonal or random where embeddings have {d} numbers: a prototype is an image of {pixels}, \
                     for the embeddings prototype or learned:{pixels}"
                );
                return refuse("embedding-start", expected, start.to_string());
            }
            _ => {}
        }
        match (self.embedding, self.needs.embeddings) {
            (Embedding::Prototype, EmbeddingForm::Vectors) => {
                let expected =
                    "onehot or learned:D: this method's embeddings are vectors, not images";
                refuse("embedding", expected.into(), self.embedding.to_string())
            }
            _ => Ok(()),
        }
    }

    /// How the readout's weights start; `None` where there is no readout.
    pub(crate) fn readout(&self) -> Option<ReadoutStart> {
        match self.needs.readout {
            ReadoutLayer::None => None,
            ReadoutLayer::Anchor => self.embedding.is_trained().then_some(ReadoutStart::Zeros),
            ReadoutLayer::Linear(start) => Some(start),
        }
    }

    /// What the factors of dense layers' products are rounded to.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Which kernels compute.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Rings of zeros round what each convolution of the image branch sees, 0 as in the paper or 1: with 1 a convolution leaves
    /// height and width as they are.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] for any other number.
    pub fn padding(mut self, rings: usize) -> Result<Self, ModelError> {
        self.padding = match rings {
            0 => Padding::Valid,
            1 => Padding::Same,
            _ => {
                return Err(ModelError::OutOfRange {
                    name: "padding",
                    expected: "0 or 1".into(),
                    value: rings.to_string(),
                });
            }
        };
        Ok(self)
    }

    /// The share of activations that training drops in the image branch.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] unless 0 ≤ `rate` < 1.
    pub fn dropout(mut self, rate: f64) -> Result<Self, ModelError> {
        if !(0.0..1.0).contains(&rate) {
            return Err(ModelError::OutOfRange {
                name: "dropout",
                expected: "at least 0 and below 1".into(),
                value: rate.to_string(),
            });
        }
        self.dropout = rate;
        Ok(self)
    }
}

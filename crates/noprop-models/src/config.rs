//! The settings of a network.

use std::ops::RangeInclusive;

use noprop_method::{
    EmbeddingForm, EncoderKind, Needs, ParameterBuilder, ParameterError, Part, ReadoutLayer,
    ReadoutStart, not_positive,
};

use crate::image_branch::{ImageEncoder, ImageInput, ImageShape, WIDTH};
use crate::label_branch::LabelInput;
use crate::layers::{Backend, Padding, Place, Precision};
use crate::{Backbone, Embedding, EmbeddingStart, ModelError};

/// Sizes beyond these are a mistake or an attack, not an image classifier.
const MAX_CHANNELS: usize = 16;
const MAX_CLASSES: usize = 10_000;
const MAX_BLOCKS: usize = 1000;
const MAX_PIXELS: usize = 1024 * 1024;

/// The settings of a network, each within its range.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    pub(crate) image: ImageShape,
    pub(crate) classes: usize,
    pub(crate) needs: Needs,
    pub(crate) encoder: EncoderKind,
    pub(crate) backbone: Backbone,
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
    /// [`ModelError::OutOfRange`] for absurdly large images, for fewer than two classes, or for no blocks. Whether images are large
    /// enough for the layers of the encoder is checked when the network is built.
    pub fn new(image: ImageShape, classes: usize, needs: Needs) -> Result<Self, ModelError> {
        within("image channels", image.channels, 1..=MAX_CHANNELS)?;
        check_sides(image, 1..=MAX_PIXELS)?;
        within("classes", classes, 2..=MAX_CLASSES)?;
        within("steps", needs.blocks, 1..=MAX_BLOCKS)?;
        Ok(Self {
            image,
            classes,
            needs,
            encoder: EncoderKind::default(),
            backbone: Backbone::default(),
            dropout: 0.2,
            padding: Padding::Valid,
            embedding: Embedding::default(),
            embedding_start: None,
            embedding_scale: 1.0,
            precision: Precision::F32,
            backend: Backend::Auto,
        })
    }

    /// The image encoder of the blocks.
    #[must_use]
    pub fn encoder(mut self, encoder: EncoderKind) -> Self {
        self.encoder = encoder;
        self
    }

    /// The layers of an image encoder.
    #[must_use]
    pub fn backbone(mut self, backbone: Backbone) -> Self {
        self.backbone = backbone;
        self
    }

    /// The class embeddings.
    #[must_use]
    pub fn embedding(mut self, embedding: Embedding) -> Self {
        self.embedding = embedding;
        self
    }

    /// The values of trained class embeddings before training, instead of [`Embedding::usual_start_of`].
    #[must_use]
    pub fn embedding_start(mut self, start: EmbeddingStart) -> Self {
        self.embedding_start = Some(start);
        self
    }

    /// The length of one-hot embeddings and of orthogonal or random starts.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] unless it is positive and an f32 holds it.
    pub fn embedding_scale(mut self, scale: f64) -> Result<Self, ModelError> {
        if let Some(expected) = not_positive(scale) {
            let scale = format!("{scale:?}");
            return Err(ModelError::out_of_range("embedding-scale", expected, scale));
        }
        self.embedding_scale = scale;
        Ok(self)
    }

    /// d, the length of a class embedding as a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.embedding.dimension(self.classes).unwrap_or_else(|| self.image.pixels())
    }

    /// The place of the parameters of `part`.
    pub(crate) fn place<'a>(&self, builder: &'a ParameterBuilder, part: Part) -> Place<'a> {
        Place::new(builder, part).precision(self.precision).backend(self.backend)
    }

    /// The image encoder of a part, with its parameters at `place`.
    pub(crate) fn image_encoder(
        &self,
        place: &Place<'_>,
    ) -> Result<Box<dyn ImageEncoder>, ParameterError> {
        self.backbone.build(&place.at("image"), self.image_input(), self.needs.norm)
    }

    pub(crate) fn image_input(&self) -> ImageInput {
        ImageInput { shape: self.image, padding: self.padding, dropout: self.dropout }
    }

    pub(crate) fn label_input(&self) -> LabelInput {
        match self.embedding {
            Embedding::Onehot | Embedding::Learned { .. } => LabelInput::Vector(self.dimension()),
            Embedding::Prototype => LabelInput::Image(self.image_input()),
        }
    }

    /// Refuses settings that do not go together.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        check_sides(self.image, self.backbone.sides())?;
        if self.embedding == Embedding::Prototype {
            // Their columns go through the paper's convolutions.
            check_sides(self.image, Backbone::Paper.sides())?;
        }
        self.backbone.check(self.image_input())?;
        let (pixels, d) = (self.image.pixels(), self.dimension());
        let (name, expected, value) = match (self.embedding_start, self.embedding) {
            (Some(start), embedding) if !embedding.is_trained() => {
                let expected = "left out where the embedding is onehot, which is never trained";
                ("embedding-start", expected.into(), start.to_string())
            }
            (Some(start @ EmbeddingStart::Prototype), _) if d != pixels => {
                let expected = format!(
                    "orthogonal or random where embeddings have {d} numbers: a prototype is an image of {pixels}, \
                     for the embeddings prototype or learned:{pixels}"
                );
                ("embedding-start", expected, start.to_string())
            }
            (_, Embedding::Prototype) if self.needs.embeddings == EmbeddingForm::Vectors => {
                let expected =
                    "onehot or learned:D: this method's embeddings are vectors, not images";
                ("embedding", expected.into(), self.embedding.to_string())
            }
            (_, embedding) if !self.has_heads() && embedding != Embedding::Onehot => {
                let expected = "left out: this method has no class embeddings";
                ("embedding", expected.into(), embedding.to_string())
            }
            _ => return Ok(()),
        };
        Err(ModelError::OutOfRange { name, expected, value })
    }

    /// The values of trained class embeddings before training; `None` for fixed ones.
    pub(crate) fn start(&self) -> Option<EmbeddingStart> {
        self.embedding_start.or(self.embedding.usual_start_of(self.classes))
    }

    /// The readout's weights before training; `None` where there is no readout.
    pub(crate) fn readout(&self) -> Option<ReadoutStart> {
        match self.needs.readout {
            ReadoutLayer::None => None,
            ReadoutLayer::Anchor => self.embedding.is_trained().then_some(ReadoutStart::Zeros),
            ReadoutLayer::Linear(start) => Some(start),
            ReadoutLayer::OfFeatures => Some(ReadoutStart::Random),
        }
    }

    /// The number of values that the readout reads.
    pub(crate) fn readout_inputs(&self) -> usize {
        if self.has_heads() { self.dimension() } else { WIDTH }
    }

    /// Returns whether blocks have layers after their image branch.
    pub(crate) fn has_heads(&self) -> bool {
        self.needs.readout != ReadoutLayer::OfFeatures
    }

    /// The precision to which the factors of products are rounded.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The kernels that compute.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// The number of rings of zeros around the input of each convolution of the image branch: 0 as in the paper, or 1, with which a
    /// convolution keeps height and width.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] for any other number.
    pub fn padding(mut self, rings: usize) -> Result<Self, ModelError> {
        self.padding = match rings {
            0 => Padding::Valid,
            1 => Padding::Same,
            _ => return Err(ModelError::out_of_range("padding", "0 or 1", rings)),
        };
        Ok(self)
    }

    /// The share of activations that training drops in the image branch.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] unless 0 ≤ `rate` < 1.
    pub fn dropout(mut self, rate: f64) -> Result<Self, ModelError> {
        if !(0.0..1.0).contains(&rate) {
            return Err(ModelError::out_of_range("dropout", "at least 0 and below 1", rate));
        }
        self.dropout = rate;
        Ok(self)
    }
}

/// Refuses a value outside of `range`.
fn within(
    name: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<(), ModelError> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = format!("between {} and {}", range.start(), range.end());
    Err(ModelError::out_of_range(name, expected, value))
}

/// Refuses images whose height or width is outside of `sides`, or whose pixels are too many.
fn check_sides(image: ImageShape, sides: RangeInclusive<usize>) -> Result<(), ModelError> {
    within("image height", image.height, sides.clone())?;
    within("image width", image.width, sides)?;
    within("image height × width", image.height.saturating_mul(image.width), 1..=MAX_PIXELS)
}

//! All blocks of a discrete-time network side by side: the same layers, with T instead of 1 in front.

use candle_core::{Device, Result, Tensor};
use noprop_method::{
    EncoderKind, ParameterBuilder, ParameterError, ParameterKind, Parameters, Part, StackedBlocks,
    StackedParameter, StreamKey,
};

use crate::head::Head;
use crate::image_branch::{ImageBranch, ImageInput};
use crate::label_branch::LabelInput;
use crate::layers::{Passes, Place};
use crate::{Embedding, NetworkConfig};

pub(crate) struct Stacked {
    /// Where blocks have one of their own.
    image_branch: Option<ImageBranch>,
    head: Head,
    parameters: Vec<StackedParameter>,
}

impl Stacked {
    /// A copy of the blocks that `parameters` holds, in a network of this `config`.
    pub fn new(
        config: &NetworkConfig,
        parameters: &Parameters,
    ) -> std::result::Result<Self, ParameterError> {
        let device = parameters.iter().next().map_or(Device::Cpu, |p| p.var.device().clone());
        let builder = ParameterBuilder::stacking(parameters, config.needs.blocks, &device);
        let place = Place {
            builder: &builder,
            part: Part::Block(1),
            kind: ParameterKind::Trainable,
            prefix: String::new(),
            precision: config.precision,
            backend: config.backend,
        };
        let image =
            ImageInput { shape: config.image, padding: config.padding, dropout: config.dropout };
        let input = match config.embedding {
            Embedding::Onehot | Embedding::Learned { .. } => LabelInput::Vector(config.dimension()),
            Embedding::Prototype => LabelInput::Image(image),
        };
        let image_branch = match config.encoder {
            EncoderKind::PerBlock => {
                Some(ImageBranch::new(&place.at("image"), image, config.needs.norm)?)
            }
            EncoderKind::Shared | EncoderKind::Frozen => None,
        };
        let head = Head::new(&place, input, config.classes, &config.needs)?;
        Ok(Self { image_branch, head, parameters: builder.into_stacked() })
    }
}

impl StackedBlocks for Stacked {
    fn parameters(&self) -> &[StackedParameter] {
        &self.parameters
    }

    fn encode(&self, images: &Tensor, keys: &[StreamKey]) -> Result<Tensor> {
        match &self.image_branch {
            Some(branch) => branch.forward(&images.unsqueeze(0)?, Passes::Train(keys)),
            None => candle_core::bail!("blocks that share an image branch have none of their own"),
        }
    }

    fn logits(&self, features: &Tensor, z: &Tensor, keys: &[StreamKey]) -> Result<Tensor> {
        self.head.forward(features, z, None, Passes::Train(keys))
    }
}

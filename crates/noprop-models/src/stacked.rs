//! The blocks of a network in one call: the same layers, with T instead of 1 as the leading dimension.

use candle_core::{Device, Result, Tensor};
use noprop_method::{
    EncoderKind, ParameterBuilder, ParameterError, Parameters, Part, StackedBlocks,
    StackedParameter, StreamKey,
};

use crate::NetworkConfig;
use crate::head::Head;
use crate::image_branch::ImageEncoder;
use crate::layers::Passes;

pub(crate) struct Stacked {
    /// `None` where blocks share one.
    image_branch: Option<Box<dyn ImageEncoder>>,
    head: Head,
    parameters: Vec<StackedParameter>,
}

impl Stacked {
    /// A copy of the blocks of a network with this `config` and these `parameters`.
    pub fn new(
        config: &NetworkConfig,
        parameters: &Parameters,
    ) -> std::result::Result<Self, ParameterError> {
        let device = parameters.iter().next().map_or(Device::Cpu, |p| p.var.device().clone());
        let builder = ParameterBuilder::stacking(parameters, config.needs.blocks, &device);
        let place = config.place(&builder, Part::Block(1));
        let image_branch = match config.encoder {
            EncoderKind::PerBlock => Some(config.image_encoder(&place)?),
            EncoderKind::Shared | EncoderKind::Frozen => None,
        };
        let head = Head::new(&place, config.label_input(), config.classes, &config.needs)?;
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
            None => candle_core::bail!("these blocks share an image branch"),
        }
    }

    fn logits(&self, features: &Tensor, z: &Tensor, keys: &[StreamKey]) -> Result<Tensor> {
        self.head.forward(features, z, None, Passes::Train(keys))
    }
}

//! The discrete-time network: T blocks, the encoder they share or own, and the readout.

use candle_core::{DType, Result, Tensor};
use noprop_method::{
    BlockInput, Denoiser, EncoderKind, Init, LearnedSchedule, ParameterBuilder, ParameterKind,
    Parameters, Part, Pass,
};

use crate::block_head::BlockHead;
use crate::image_branch::ImageBranch;
use crate::layers::{Linear, Place};
use crate::timed_head::TimedHead;
use crate::{Embedding, ModelError, NetworkConfig, Variant};

/// The paper's networks (Fig. 6).
///
/// Parameters are named after the part they belong to: `block.3.image.conv1.weight`, `encoder.image.conv1.weight`,
/// `readout.weight`.
pub struct Network {
    encoder: EncoderKind,
    /// One for a shared or frozen encoder, else one a block.
    image_branches: Vec<ImageBranch>,
    heads: Vec<Head>,
    readout: Option<Linear>,
    schedule: Option<LearnedSchedule>,
    /// One a block, or none.
    mix: Vec<Tensor>,
    class_embeddings: Tensor,
    parameters: Parameters,
}

/// w_t before training: a block's guess makes tanh(0.5) = 0.46 of what goes on.
const MIX: f32 = 0.5;

/// What makes class logits of image features and a noised embedding.
enum Head {
    Leveled(Box<BlockHead>),
    Timed(Box<TimedHead>),
}

impl Network {
    /// Builds the network from `source`: fresh from a seed, or from stored tensors.
    ///
    /// # Errors
    /// [`ModelError::Parameters`] if stored tensors are missing, misshapen or too many.
    pub fn new(
        config: &NetworkConfig,
        source: ParameterBuilder,
    ) -> std::result::Result<Self, ModelError> {
        let place = |part, kind| Place {
            builder: &source,
            part,
            kind,
            prefix: String::new(),
            backend: config.backend,
        };
        let image_branch = |part, kind| {
            let place = place(part, kind).at("image");
            ImageBranch::new(&place, config.image, config.dropout, config.variant)
        };
        let class_embeddings = match config.embedding {
            Embedding::Onehot => {
                let unit = Tensor::eye(config.classes, DType::F32, source.device())?;
                (unit * config.embedding_scale)?
            }
            Embedding::Learned { .. } if config.variant == Variant::FlowMatching => {
                // Nothing would hold the classes apart.
                return Err(ModelError::OutOfRange {
                    name: "embedding",
                    expected: "onehot where the method is flow matching".into(),
                    value: config.embedding.to_string(),
                });
            }
            Embedding::Learned { dimension } => {
                let shape = (config.classes, dimension);
                source.trainable(Part::Embedding, "weight", shape, Init::Orthogonal)?
            }
        };
        let dimension = class_embeddings.dim(1)?;
        let mut image_branches = Vec::new();
        match config.encoder {
            EncoderKind::PerBlock => {}
            EncoderKind::Shared => {
                image_branches.push(image_branch(Part::Encoder, ParameterKind::Trainable)?);
            }
            EncoderKind::Frozen => {
                image_branches.push(image_branch(Part::Encoder, ParameterKind::Buffer)?);
            }
        }
        let mut heads = Vec::with_capacity(config.blocks);
        for t in 1..=config.blocks {
            let part = Part::Block(t);
            if config.encoder == EncoderKind::PerBlock {
                image_branches.push(image_branch(part, ParameterKind::Trainable)?);
            }
            let place = place(part, ParameterKind::Trainable);
            heads.push(match config.variant {
                Variant::DiscreteTime | Variant::Backprop => {
                    Head::Leveled(Box::new(BlockHead::new(&place, dimension, config.classes)?))
                }
                Variant::ContinuousTime | Variant::FlowMatching | Variant::Adjoint => {
                    Head::Timed(Box::new(TimedHead::new(&place, dimension, config.classes)?))
                }
            });
        }
        let mix = match config.variant {
            Variant::Backprop => (1..=config.blocks)
                .map(|t| source.trainable(Part::Block(t), "mix.weight", 1, Init::Constant(MIX)))
                .collect::<std::result::Result<_, _>>()?,
            Variant::DiscreteTime
            | Variant::ContinuousTime
            | Variant::FlowMatching
            | Variant::Adjoint => Vec::new(),
        };
        let readout_start = match config.variant {
            // Zeros would send no gradient back.
            Variant::Backprop | Variant::Adjoint => Init::FanIn(dimension),
            // A single linear layer has one minimum, so nothing is lost by starting at zero; random values would have to be
            // unlearned first, for hundreds of steps in which the whole chain looks worse than its blocks.
            Variant::DiscreteTime | Variant::ContinuousTime | Variant::FlowMatching => {
                Init::Constant(0.0)
            }
        };
        let readout = match config.variant {
            Variant::DiscreteTime
            | Variant::ContinuousTime
            | Variant::Backprop
            | Variant::Adjoint => Some(Linear::starting_from(
                &place(Part::Readout, ParameterKind::Trainable),
                dimension,
                config.classes,
                readout_start,
            )?),
            Variant::FlowMatching => None,
        };
        let schedule = match config.variant {
            Variant::ContinuousTime => Some(LearnedSchedule::new(&source)?),
            Variant::DiscreteTime
            | Variant::FlowMatching
            | Variant::Backprop
            | Variant::Adjoint => None,
        };
        Ok(Self {
            encoder: config.encoder,
            image_branches,
            heads,
            readout,
            schedule,
            mix,
            class_embeddings,
            parameters: source.finish()?,
        })
    }

    /// Sets the running statistics of a frozen encoder to those of `images` [N, C, H, W], once, before training: an
    /// encoder that is never trained would otherwise normalise by statistics it never saw. Any other encoder is left alone.
    ///
    /// # Errors
    /// candle's, for images of the wrong shape.
    pub fn calibrate_frozen_encoder(&self, images: &Tensor) -> Result<()> {
        match (self.encoder, self.image_branches.first()) {
            (EncoderKind::Frozen, Some(branch)) => branch.calibrate(images),
            _ => Ok(()),
        }
    }
}

impl Denoiser for Network {
    fn blocks(&self) -> usize {
        self.heads.len()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn class_embeddings(&self) -> &Tensor {
        &self.class_embeddings
    }

    fn encoder(&self) -> EncoderKind {
        self.encoder
    }

    fn encode(&self, part: Part, images: &Tensor, pass: Pass) -> Result<Tensor> {
        let (branch, pass) = match (self.encoder, part) {
            (EncoderKind::Frozen, _) => (0, Pass::Eval),
            (EncoderKind::Shared, _) => (0, pass),
            (EncoderKind::PerBlock, Part::Block(t)) => (t.wrapping_sub(1), pass),
            (EncoderKind::PerBlock, other) => {
                candle_core::bail!("{other} has no image branch: every block has its own")
            }
        };
        match self.image_branches.get(branch) {
            Some(branch) => branch.forward(images, pass),
            None => candle_core::bail!("{part} has no image branch"),
        }
    }

    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
        match self.heads.get(input.block.wrapping_sub(1)) {
            Some(Head::Leveled(head)) => head.forward(input.features, input.z, input.pass),
            Some(Head::Timed(head)) => head.forward(input.features, input.z, input.time),
            None => candle_core::bail!(
                "block {} of a network with blocks 1 to {}",
                input.block,
                self.heads.len()
            ),
        }
    }

    fn readout(&self, z: &Tensor) -> Result<Tensor> {
        match &self.readout {
            Some(readout) => readout.forward(&z.unsqueeze(0)?)?.squeeze(0),
            None => candle_core::bail!("this network has no readout"),
        }
    }

    fn mix(&self, block: usize) -> Option<&Tensor> {
        self.mix.get(block.wrapping_sub(1))
    }

    fn schedule(&self) -> Option<&LearnedSchedule> {
        self.schedule.as_ref()
    }
}

//! The networks: blocks, the encoder they share or own, the class embeddings and the readout.

use candle_core::{DType, Result, Tensor, Var};
use noprop_method::{
    BlockInput, Denoiser, EncoderKind, Init, LearnedSchedule, Mixing, ParameterBuilder, Parameters,
    Part, Pass, ReadoutStart, ScheduleSource, StackedBlocks, TimeInput,
};

use crate::head::Head;
use crate::image_branch::ImageEncoder;
use crate::layers::{Linear, Passes, Place};
use crate::stacked::Stacked;
use crate::{Embedding, EmbeddingStart, ModelError, NetworkConfig};

/// The paper's networks (Fig. 6).
///
/// Parameters are named after the part they belong to: `block.3.image.conv1.weight`, `encoder.image.conv1.weight`,
/// `readout.weight`.
pub struct Network {
    /// One for a shared or frozen encoder, otherwise one for each block.
    image_branches: Vec<Box<dyn ImageEncoder>>,
    /// One for each block, or none if the readout reads the features of the image.
    heads: Vec<Head>,
    readout: Option<Linear>,
    schedule: Option<LearnedSchedule>,
    /// w_t of every block where the method needs them, otherwise none.
    mix: Vec<Tensor>,
    class_embeddings: Tensor,
    /// Embeddings that are images, as they were before training.
    first_embeddings: Option<Var>,
    parameters: Parameters,
    /// The settings it was built from.
    config: NetworkConfig,
}

/// w_t before training: a block's guess makes up tanh(0.5) = 0.46 of z_t.
const MIX: f32 = 0.5;

impl Network {
    /// Builds the network from `source`: fresh from a seed, or from stored tensors.
    ///
    /// # Errors
    /// [`ModelError::OutOfRange`] for settings that do not go together; [`ModelError::Parameters`] if stored tensors are missing,
    /// misshapen or too many.
    pub fn new(
        config: &NetworkConfig,
        source: ParameterBuilder,
    ) -> std::result::Result<Self, ModelError> {
        config.check()?;
        let place = |part| config.place(&source, part);
        let image_branch = |place: Place<'_>| config.image_encoder(&place);
        let class_embeddings = class_embeddings(config, &source)?;
        let first_embeddings = match config.embedding {
            Embedding::Onehot | Embedding::Learned { .. } => None,
            Embedding::Prototype => {
                let shape = class_embeddings.shape();
                let first = source.buffer(Part::Embedding, "start", shape, Init::Constant(0.0))?;
                if source.is_fresh() {
                    first.set(&class_embeddings.detach())?;
                }
                Some(first)
            }
        };
        let mut image_branches = match config.encoder {
            EncoderKind::PerBlock => Vec::with_capacity(config.needs.blocks),
            EncoderKind::Shared => vec![image_branch(place(Part::Encoder))?],
            EncoderKind::Frozen => vec![image_branch(place(Part::Encoder).frozen())?],
        };
        let mut heads = Vec::with_capacity(config.needs.blocks);
        for t in 1..=config.needs.blocks {
            let place = place(Part::Block(t));
            if config.encoder == EncoderKind::PerBlock {
                image_branches.push(image_branch(place.clone())?);
            }
            if config.has_heads() {
                heads.push(Head::new(&place, config.label_input(), config.classes, &config.needs)?);
            }
        }
        let mix = match config.needs.mixing {
            Mixing::Method => Vec::new(),
            Mixing::Trained => (1..=config.needs.blocks)
                .map(|t| source.trainable(Part::Block(t), "mix.weight", 1, Init::Constant(MIX)))
                .collect::<std::result::Result<_, _>>()?,
        };
        let readout = readout(config, &source, &class_embeddings)?;
        let schedule = match config.needs.schedule {
            ScheduleSource::Method => None,
            ScheduleSource::Network => Some(LearnedSchedule::new(&source)?),
        };
        Ok(Self {
            image_branches,
            heads,
            readout,
            schedule,
            mix,
            class_embeddings,
            first_embeddings,
            parameters: source.finish()?,
            config: config.clone(),
        })
    }

    /// Sets trained class embeddings to `rows` [classes, d], once, before training: for [`EmbeddingStart::Prototype`].
    ///
    /// # Errors
    /// candle's, for another shape or where embeddings are not trained.
    pub fn start_embeddings_from(&self, rows: &Tensor) -> Result<()> {
        let trained = self.parameters.trainable(&[Part::Embedding]).next();
        let Some(parameter) = trained else {
            candle_core::bail!("one-hot embeddings are fixed");
        };
        parameter.var.set(rows)?;
        match &self.first_embeddings {
            Some(first) => first.set(rows),
            None => Ok(()),
        }
    }

    /// Class embeddings that are images, as they were before training: [classes, C·H·W].
    pub fn first_embeddings(&self) -> Option<Tensor> {
        self.first_embeddings.as_ref().map(Var::as_detached_tensor)
    }

    /// Sets the running statistics of a frozen encoder to those of `images` [N, C, H, W], once, before training: an encoder that is
    /// never trained would otherwise normalise by the statistics of no images. Any other encoder stays as it is.
    ///
    /// # Errors
    /// candle's, for images of the wrong shape.
    pub fn calibrate_frozen_encoder(&self, images: &Tensor) -> Result<()> {
        match (self.config.encoder, self.image_branches.first()) {
            (EncoderKind::Frozen, Some(branch)) => branch.calibrate(&images.unsqueeze(0)?),
            _ => Ok(()),
        }
    }
}

/// W_embed, fixed or trained, as it is before training.
fn class_embeddings(
    config: &NetworkConfig,
    source: &ParameterBuilder,
) -> std::result::Result<Tensor, ModelError> {
    let length = config.embedding_scale as f32;
    let init = match config.start() {
        None => {
            let unit = Tensor::eye(config.classes, DType::F32, source.device())?;
            return Ok((unit * config.embedding_scale)?);
        }
        Some(EmbeddingStart::Orthogonal) => Init::Orthogonal(length),
        Some(EmbeddingStart::Random) => Init::Random(length),
        // The images are set later.
        Some(EmbeddingStart::Prototype) => Init::Constant(0.0),
    };
    let shape = (config.classes, config.dimension());
    Ok(source.trainable(Part::Embedding, "weight", shape, init)?)
}

/// The layer from z_T, or from the features of the image, to class logits, if the method needs one.
fn readout(
    config: &NetworkConfig,
    source: &ParameterBuilder,
    class_embeddings: &Tensor,
) -> std::result::Result<Option<Linear>, ModelError> {
    let Some(start) = config.readout() else { return Ok(None) };
    let inputs = config.readout_inputs();
    let init = match start {
        ReadoutStart::Zeros => Init::Constant(0.0),
        // Along embeddings the bias is random, and so are the rows while the embeddings are not known.
        ReadoutStart::Random | ReadoutStart::AlongEmbeddings => Init::FanIn(inputs),
    };
    let place = config.place(source, Part::Readout);
    let readout = Linear::starting_from(&place, inputs, config.classes, init)?;
    let known = config.start() != Some(EmbeddingStart::Prototype);
    if start == ReadoutStart::AlongEmbeddings && known && source.is_fresh() {
        readout.set_weight(&(class_embeddings.detach() / config.embedding_scale)?.unsqueeze(0)?)?;
    }
    Ok(Some(readout))
}

impl Denoiser for Network {
    fn blocks(&self) -> usize {
        self.config.needs.blocks
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn class_embeddings(&self) -> &Tensor {
        &self.class_embeddings
    }

    fn encoder(&self) -> EncoderKind {
        self.config.encoder
    }

    fn encode(&self, part: Part, images: &Tensor, pass: Pass) -> Result<Tensor> {
        let (branch, pass) = match (self.config.encoder, part) {
            (EncoderKind::Frozen, _) => (0, Pass::Eval),
            (EncoderKind::Shared, _) => (0, pass),
            (EncoderKind::PerBlock, Part::Block(t)) => (t.wrapping_sub(1), pass),
            (EncoderKind::PerBlock, other) => {
                candle_core::bail!("{other} has no image branch: each block has one")
            }
        };
        match self.image_branches.get(branch) {
            Some(branch) => branch.forward(&images.unsqueeze(0)?, (&pass).into())?.squeeze(0),
            None => candle_core::bail!("{part} has no image branch"),
        }
    }

    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
        let Some(head) = self.heads.get(input.block.wrapping_sub(1)) else {
            let (block, heads) = (input.block, self.heads.len());
            candle_core::bail!("this network has {heads} blocks with logits, and no block {block}")
        };
        let (features, z) = (input.features.unsqueeze(0)?, input.z.unsqueeze(0)?);
        head.forward(&features, &z, Some(input.time), Passes::from(&input.pass))?.squeeze(0)
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

    fn stacked(&self) -> Result<Option<Box<dyn StackedBlocks>>> {
        match (self.config.needs.time, self.config.needs.mixing) {
            (TimeInput::None, Mixing::Method) if self.config.has_heads() => {
                Ok(Some(Box::new(Stacked::new(&self.config, &self.parameters)?)))
            }
            // A stacked block is given no time, and blocks without a loss of their own are trained end to end, one after another.
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device};
    use noprop_method::{Needs, Readout, Seed};

    use super::*;
    use crate::ImageShape;

    /// As in the paper: a hundred rows of twenty numbers cannot be orthogonal. Their columns would be, and rows of one length are not.
    #[test]
    fn too_many_embeddings_start_at_random() {
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        let embeddings = |start: Option<EmbeddingStart>| {
            let config =
                NetworkConfig::new(image, 100, Needs::continuous_time(1, Readout::Softmax));
            let config = config.unwrap().embedding(Embedding::Learned { dimension: 20 });
            let config = match start {
                Some(start) => config.embedding_start(start),
                None => config,
            };
            let fresh = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
            let network = Network::new(&config, fresh).unwrap();
            network.class_embeddings().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let usual = embeddings(None);
        assert!(usual == embeddings(Some(EmbeddingStart::Random)));
        assert!(usual != embeddings(Some(EmbeddingStart::Orthogonal)));
    }

    /// The plain classifier has the image branch of discrete time and a linear layer. A head that nothing reads would be counted as its
    /// parameters, and would get no gradient.
    #[test]
    fn a_plain_classifier_is_an_image_branch_and_a_linear_layer() {
        let image = ImageShape { channels: 3, height: 32, width: 32 };
        let build = |needs, encoder| {
            let config = NetworkConfig::new(image, 7, needs).unwrap().encoder(encoder);
            Network::new(&config, ParameterBuilder::seeded(Seed(1), &Device::Cpu)).unwrap()
        };
        let chain = build(Needs::discrete_time(1, Readout::Softmax), EncoderKind::Shared);
        for (encoder, branch) in
            [(EncoderKind::Shared, Part::Encoder), (EncoderKind::PerBlock, Part::Block(1))]
        {
            let parameters = build(Needs::plain_classifier(), encoder).parameters;
            assert_eq!(parameters.parts(), [branch, Part::Readout]);
            assert_eq!(parameters.count(branch), chain.parameters.count(Part::Encoder));
            assert_eq!(parameters.count(Part::Readout), 256 * 7 + 7);
        }
    }

    /// Class embeddings that nothing reads would get no gradient.
    #[test]
    fn a_plain_classifier_has_no_embeddings() {
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        for embedding in [Embedding::Learned { dimension: 20 }, Embedding::Prototype] {
            let config = NetworkConfig::new(image, 10, Needs::plain_classifier()).unwrap();
            let source = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
            assert!(Network::new(&config.embedding(embedding), source).is_err(), "{embedding}");
        }
    }

    /// A class that is the readout's answer to no embedding is learned late or never.
    #[test]
    fn the_baselines_readout_starts_with_an_answer_for_every_class() {
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        for embedding in [Embedding::Onehot, Embedding::Learned { dimension: 20 }] {
            for seed in 0..3 {
                let config = NetworkConfig::new(image, 10, Needs::backprop(2))
                    .unwrap()
                    .embedding(embedding)
                    .embedding_scale(2.0)
                    .unwrap();
                let source = ParameterBuilder::seeded(Seed(seed), &Device::Cpu);
                let network = Network::new(&config, source).unwrap();
                let logits = network.readout(network.class_embeddings()).unwrap();
                let answers = logits.argmax(D::Minus1).unwrap().to_vec1::<u32>().unwrap();
                assert_eq!(answers, (0..10).collect::<Vec<_>>(), "{embedding}, seed {seed}");
            }
        }
    }
}

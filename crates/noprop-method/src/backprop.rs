//! The baseline: the same blocks trained end to end by back-propagation (Eqs. 17-19).

use candle_core::Tensor;
use noprop_kernels::{backward, random};

use crate::block_loss::mean_cross_entropy;
use crate::readout::softmax;
use crate::{
    BlockInput, Chain, ChainStep, Denoiser, Differentiated, Draws, EmbeddingLength, EndToEnd,
    Losses, Method, MethodError, MethodFacts, MethodKind, Needs, Noise, Part, Pass, Sampler,
    SamplerKind, Targets, Time,
};

/// Back-propagation through all blocks.
///
/// The chain is z_0 ~ N(0, I) and z_t = (1 − α_t) z_{t−1} + α_t û_t(z_{t−1}, x), where α_t = tanh(w_t) and w_t is trained. The
/// loss is the cross-entropy of the readout of z_T. The activations of all blocks are kept until the single backward pass;
/// NoProp does not need this. A block's own output is not a classification: the loss does not relate its logits to classes.
#[derive(Debug, Clone, Copy)]
pub struct Backprop {
    blocks: usize,
}

impl Backprop {
    /// Returns back-propagation through `blocks` blocks.
    pub fn new(blocks: usize) -> Self {
        Self { blocks }
    }

    fn check(self, network: &dyn Denoiser) -> Result<(), MethodError> {
        let (blocks, steps) = (network.blocks(), self.blocks);
        if blocks == steps { Ok(()) } else { Err(MethodError::Blocks { blocks, steps }) }
    }
}

/// Returns z_t from z_{t−1}.
fn step(
    network: &dyn Denoiser,
    block: usize,
    features: &Tensor,
    z: &Tensor,
    pass: Pass,
) -> Result<Tensor, MethodError> {
    let time = Tensor::full(block as f32 / network.blocks() as f32, z.dim(0)?, z.device())?;
    let probabilities =
        softmax(&network.logits(BlockInput { block, features, z, time: &time, pass })?)?;
    let guess = probabilities.matmul(network.class_embeddings())?;
    let alpha = network.mix(block).ok_or(MethodError::NoMix)?.tanh()?;
    let kept = z.broadcast_mul(&alpha.affine(-1.0, 1.0)?)?;
    Ok((kept + guess.broadcast_mul(&alpha)?)?)
}

impl Method for Backprop {
    fn blocks(&self) -> usize {
        self.blocks
    }

    fn needs(&self) -> Needs {
        Needs::backprop(self.blocks)
    }

    fn losses(&self) -> Losses<'_> {
        Losses::EndToEnd(self)
    }

    fn chain<'a>(
        &'a self,
        network: &'a dyn Denoiser,
        features: &'a dyn Fn(usize) -> Tensor,
        _: &Sampler,
    ) -> Result<Box<dyn Chain + 'a>, MethodError> {
        self.check(network)?;
        Ok(Box::new(LayerChain { network, features }))
    }
}

/// The chain of [`Backprop`]: block t makes step t.
struct LayerChain<'a> {
    network: &'a dyn Denoiser,
    features: &'a dyn Fn(usize) -> Tensor,
}

impl Chain for LayerChain<'_> {
    fn steps(&self) -> usize {
        self.network.blocks()
    }

    fn step(&self, block: usize, z: &Tensor, _: Noise<'_>) -> Result<ChainStep, MethodError> {
        let z = step(self.network, block, &(self.features)(block), z, Pass::Eval)?.detach();
        Ok(ChainStep { z, guess: None, update: None })
    }
}

impl EndToEnd for Backprop {
    fn end_to_end(
        &self,
        network: &dyn Denoiser,
        features: &dyn Fn(usize) -> Result<Tensor, MethodError>,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Differentiated, MethodError> {
        self.check(network)?;
        let width = network.class_embeddings().dim(1)?;
        let rows = targets.labels.dim(0)?;
        let mut z = random::normal(draws.noise(1), (rows, width), targets.labels.device())?;
        for block in 1..=network.blocks() {
            let pass = Pass::Train(draws.dropout(Part::Block(block)));
            z = step(network, block, &features(block)?, &z, pass)?;
        }
        let loss = mean_cross_entropy(&network.readout(&z)?, targets)?;
        Ok(Differentiated { gradients: backward(&loss)?, loss: loss.detach() })
    }
}

impl MethodKind {
    /// The baseline in discrete time.
    pub const BACKPROP: Self = Self::new(&MethodFacts {
        name: "backprop",
        title: "back-propagation through the same blocks",
        summary: "The same blocks trained end to end, for comparison",
        time: Time::Discrete,
        settings: &[],
        solvers: &[],
        samplers: &[SamplerKind::Stochastic],
        embedding_length: EmbeddingLength::One,
        defaults: DEFAULTS,
        build: |settings| Ok(Box::new(Backprop::new(settings.steps))),
    });
}

/// The settings that differ from those of discrete time.
const DEFAULTS: &str = r#"dropout = 0.2               # the paper's
lr = 0.002
readout-lr-scale = 1.0      # there is one loss, and one learning rate
"#;

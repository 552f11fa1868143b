//! The interface between a method and a network.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::names::names;
use crate::pointer::through_pointer;
use crate::{LearnedSchedule, Parameters, Part, StackedBlocks, StreamKey};

/// The kind of image encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderKind {
    /// Each block has its own image branch, as in the paper. Blocks share nothing.
    PerBlock,
    /// All blocks share one image branch, trained on the sum of their losses. It is far cheaper.
    #[default]
    Shared,
    /// All blocks share one image branch, which keeps its initial weights.
    Frozen,
}

names!(EncoderKind, "encoder", Shared = "shared", PerBlock = "per-block", Frozen = "frozen");

/// The kind of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Training, with batch statistics, and dropout drawn from this stream.
    Train(StreamKey),
    /// Evaluation, with running statistics and without dropout.
    Eval,
}

impl Pass {
    /// Returns whether this is training, as candle-nn's `ModuleT::forward_t` expects it.
    pub fn is_train(self) -> bool {
        matches!(self, Self::Train(_))
    }
}

/// The input of one block.
#[derive(Debug, Clone, Copy)]
pub struct BlockInput<'a> {
    /// The number of the block, 1..=B.
    pub block: usize,
    /// The output of the image branch for the images, [N, …], f32.
    pub features: &'a Tensor,
    /// The noised label embeddings, [N, d], f32.
    pub z: &'a Tensor,
    /// The time of each row of `z` in 0..=1 (0 is noise), `[N]`, f32. Blocks with a single noise level ignore it.
    pub time: &'a Tensor,
    /// Training or evaluation.
    pub pass: Pass,
}

/// A network that NoProp can train. It has B blocks, each of which predicts the clean label embedding from an image and a
/// noised embedding.
///
/// The prediction is û = softmax(logits) @ W_embed; a network returns the logits. An implementation must define
/// [`Self::parameters`], [`Self::class_embeddings`], [`Self::blocks`], [`Self::logits`] and [`Self::readout`].
///
/// It is `Send` and `Sync`, because blocks are trained on several threads.
pub trait Denoiser: Send + Sync {
    /// Returns B, the number of blocks.
    fn blocks(&self) -> usize;

    /// Returns all variables, each with the [`Part`] that it is trained with.
    fn parameters(&self) -> &Parameters;

    /// Returns W_embed, [classes, d], f32: the clean embedding u_y of every class.
    fn class_embeddings(&self) -> &Tensor;

    /// Returns the kind of image encoder.
    fn encoder(&self) -> EncoderKind {
        EncoderKind::PerBlock
    }

    /// Returns the output of an image branch for `images` [N, C, H, W]. It is computed once for each batch and image branch,
    /// for any number of steps. `part` is [`Part::Encoder`] for a shared or frozen encoder and [`Part::Block`] otherwise.
    ///
    /// # Errors
    /// candle's, for images of the wrong shape.
    fn encode(&self, part: Part, images: &Tensor, pass: Pass) -> Result<Tensor> {
        let _ = (part, pass);
        Ok(images.clone())
    }

    /// Returns the block's class logits, [N, classes].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor>;

    /// Returns the class logits [N, classes] of the readout θ_out for the last embedding z_T [N, d], or for the features [N, F]
    /// of images if the method has no chain.
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn readout(&self, z: &Tensor) -> Result<Tensor>;

    /// Returns the noise schedule that is trained with the network, if there is one.
    fn schedule(&self) -> Option<&LearnedSchedule> {
        None
    }

    /// Returns w_t of block `block`, `[1]`, if blocks are trained end to end (Eq. 18). It sets the share of the block's
    /// prediction in z_t.
    fn mix(&self, block: usize) -> Option<&Tensor> {
        let _ = block;
        None
    }

    /// Returns a stacked copy of all blocks, to train them in one call; `None` if the network has no such form.
    ///
    /// # Errors
    /// candle's.
    fn stacked(&self) -> Result<Option<Box<dyn StackedBlocks>>> {
        Ok(None)
    }

    /// Returns the part whose image branch block `block` uses.
    fn encoder_part(&self, block: usize) -> Part {
        match self.encoder() {
            EncoderKind::PerBlock => Part::Block(block),
            EncoderKind::Shared | EncoderKind::Frozen => Part::Encoder,
        }
    }
}

through_pointer! {
    Denoiser {
        fn blocks(&self) -> usize;
        fn parameters(&self) -> &Parameters;
        fn class_embeddings(&self) -> &Tensor;
        fn encoder(&self) -> EncoderKind;
        fn encode(&self, part: Part, images: &Tensor, pass: Pass) -> Result<Tensor>;
        fn logits(&self, input: BlockInput<'_>) -> Result<Tensor>;
        fn readout(&self, z: &Tensor) -> Result<Tensor>;
        fn schedule(&self) -> Option<&LearnedSchedule>;
        fn mix(&self, block: usize) -> Option<&Tensor>;
        fn stacked(&self) -> Result<Option<Box<dyn StackedBlocks>>>;
        fn encoder_part(&self, block: usize) -> Part;
    }
}

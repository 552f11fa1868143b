//! The interface between the method and a network.

use std::fmt;
use std::str::FromStr;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{LearnedSchedule, MethodError, Parameters, Part, StackedBlocks, StreamKey};

/// Who looks at the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderKind {
    /// Every block has an image branch of its own, as in the paper: blocks share nothing.
    PerBlock,
    /// One image branch for all blocks, trained on the sum of their losses: far cheaper.
    #[default]
    Shared,
    /// One image branch for all blocks that keeps its initial weights.
    Frozen,
}

impl fmt::Display for EncoderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerBlock => "per-block",
            Self::Shared => "shared",
            Self::Frozen => "frozen",
        })
    }
}

impl FromStr for EncoderKind {
    type Err = MethodError;

    fn from_str(name: &str) -> std::result::Result<Self, MethodError> {
        let all = [Self::PerBlock, Self::Shared, Self::Frozen];
        all.into_iter().find(|kind| kind.to_string() == name).ok_or_else(|| {
            MethodError::UnknownName {
                what: "encoder",
                name: name.into(),
                known: "shared, per-block, frozen",
            }
        })
    }
}

/// Whether a network is being trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Training: batch statistics, and dropout drawn from this stream.
    Train(StreamKey),
    /// Evaluation: running statistics, no dropout.
    Eval,
}

impl Pass {
    /// Returns whether this is training, as candle-nn's `ModuleT::forward_t` takes it.
    pub fn is_train(self) -> bool {
        matches!(self, Self::Train(_))
    }
}

/// What one block gets to see.
#[derive(Debug, Clone, Copy)]
pub struct BlockInput<'a> {
    /// Which block, 1..=B.
    pub block: usize,
    /// What the encoder made of the images: [N, …], f32.
    pub features: &'a Tensor,
    /// The noised label embedding, [N, d], f32.
    pub z: &'a Tensor,
    /// The times in 0..=1 (0 is noise) that the rows of `z` stand at, `[N]`, f32. Blocks with a single noise level ignore it.
    pub time: &'a Tensor,
    /// Training or evaluation.
    pub pass: Pass,
}

/// A network that NoProp can train: B blocks, each guessing the clean label embedding from an image and a
/// noised embedding.
///
/// The guess is û = softmax(logits) @ W_embed; a network returns the logits. A network of your own needs
/// [`Self::parameters`], [`Self::class_embeddings`], [`Self::blocks`], [`Self::logits`] and [`Self::readout`].
///
/// It is `Send` and `Sync`, because blocks are trained on several threads.
pub trait Denoiser: Send + Sync {
    /// B, the number of blocks.
    fn blocks(&self) -> usize;

    /// All variables, each under the [`Part`] that it is trained with.
    fn parameters(&self) -> &Parameters;

    /// W_embed, [classes, d], f32: the clean embedding u_y of every class.
    fn class_embeddings(&self) -> &Tensor;

    /// Who looks at the image.
    fn encoder(&self) -> EncoderKind {
        EncoderKind::PerBlock
    }

    /// What the image branch makes of `images` [N, C, H, W]; computed once a batch and image branch, however many
    /// steps follow. `part` is [`Part::Encoder`] for a shared or frozen encoder and [`Part::Block`] otherwise.
    ///
    /// # Errors
    /// candle's, for images of the wrong shape.
    fn encode(&self, part: Part, images: &Tensor, pass: Pass) -> Result<Tensor> {
        let _ = (part, pass);
        Ok(images.clone())
    }

    /// The block's class logits, [N, classes].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor>;

    /// θ_out: class logits [N, classes] from the last embedding z_T [N, d].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn readout(&self, z: &Tensor) -> Result<Tensor>;

    /// The noise schedule that is trained with the network, if there is one.
    fn schedule(&self) -> Option<&LearnedSchedule> {
        None
    }

    /// w_t of block `block`, `[1]`: how much of z_t is the block's own guess, where blocks are trained end to end (Eq. 18).
    fn mix(&self, block: usize) -> Option<&Tensor> {
        let _ = block;
        None
    }

    /// A copy of all blocks side by side, for training them in one call; none where the network has no such form.
    ///
    /// # Errors
    /// candle's.
    fn stacked(&self) -> Result<Option<Box<dyn StackedBlocks>>> {
        Ok(None)
    }

    /// The part whose image branch block `block` listens to.
    fn encoder_part(&self, block: usize) -> Part {
        match self.encoder() {
            EncoderKind::PerBlock => Part::Block(block),
            EncoderKind::Shared | EncoderKind::Frozen => Part::Encoder,
        }
    }
}

/// Passes [`Denoiser`] on to the network that a pointer holds.
macro_rules! through_pointer {
    ($(impl<$param:ident> for $pointer:ty;)+) => {$(
        impl<$param: Denoiser + ?Sized> Denoiser for $pointer {
            fn blocks(&self) -> usize {
                (**self).blocks()
            }

            fn parameters(&self) -> &Parameters {
                (**self).parameters()
            }

            fn class_embeddings(&self) -> &Tensor {
                (**self).class_embeddings()
            }

            fn encoder(&self) -> EncoderKind {
                (**self).encoder()
            }

            fn encode(&self, part: Part, images: &Tensor, pass: Pass) -> Result<Tensor> {
                (**self).encode(part, images, pass)
            }

            fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
                (**self).logits(input)
            }

            fn readout(&self, z: &Tensor) -> Result<Tensor> {
                (**self).readout(z)
            }

            fn schedule(&self) -> Option<&LearnedSchedule> {
                (**self).schedule()
            }

            fn mix(&self, block: usize) -> Option<&Tensor> {
                (**self).mix(block)
            }

            fn stacked(&self) -> Result<Option<Box<dyn StackedBlocks>>> {
                (**self).stacked()
            }

            fn encoder_part(&self, block: usize) -> Part {
                (**self).encoder_part(block)
            }
        }
    )+};
}

through_pointer! {
    impl<N> for &N;
    impl<N> for Box<N>;
    impl<N> for std::sync::Arc<N>;
}

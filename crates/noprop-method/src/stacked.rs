//! All blocks in one call: what a GPU needs, where one large launch costs what a small one does.
//!
//! Nothing is shared by the blocks that was not shared before. Their parameters are copied side by side, trained there, and
//! written back to the blocks they belong to.

use candle_core::{Result, Tensor};

use crate::{StackedParameter, StreamKey};

/// The blocks of a network side by side, as they were when they were copied. For training: evaluation goes block by block anyhow.
pub trait StackedBlocks: Send + Sync {
    /// Every parameter of the blocks, buffers included.
    fn parameters(&self) -> &[StackedParameter];

    /// What each block's own image branch makes of images [N, C, H, W]: [T, N, F]. `keys`: a stream of dropout a block.
    ///
    /// # Errors
    /// candle's; blocks that share an image branch have none of their own.
    fn encode(&self, images: &Tensor, keys: &[StreamKey]) -> Result<Tensor>;

    /// Class logits [T, N, classes] of every block for its z [T, N, d], given features [T or 1, N, F].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn logits(&self, features: &Tensor, z: &Tensor, keys: &[StreamKey]) -> Result<Tensor>;
}

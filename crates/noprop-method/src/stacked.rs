//! All blocks in one call, for a GPU, where a large kernel launch costs as much as a small one.
//!
//! Stacking does not make blocks share anything. Their parameters are copied into one tensor for each parameter, trained there,
//! and written back to the blocks that own them.

use candle_core::{Result, Tensor};

use crate::{StackedParameter, StreamKey};

/// The stacked blocks of a network, as they were when they were copied. They are only for training: evaluation runs the blocks
/// one by one.
pub trait StackedBlocks: Send + Sync {
    /// Returns every parameter of the blocks, buffers included.
    fn parameters(&self) -> &[StackedParameter];

    /// Returns the output of each block's own image branch for `images` [N, C, H, W]: [T, N, F]. `keys` holds one stream of
    /// dropout for each block.
    ///
    /// # Errors
    /// candle's, also if the blocks share an image branch and have none of their own.
    fn encode(&self, images: &Tensor, keys: &[StreamKey]) -> Result<Tensor>;

    /// Returns the class logits [T, N, classes] of every block for its `z` [T, N, d], with `features` [T or 1, N, F]. `keys`
    /// holds one stream of dropout for each block.
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn logits(&self, features: &Tensor, z: &Tensor, keys: &[StreamKey]) -> Result<Tensor>;
}

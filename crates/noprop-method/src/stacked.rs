//! All blocks in one call: what a GPU needs, where one large launch costs what a small one does.
//!
//! Nothing is shared by the blocks that was not shared before. Their parameters are copied side by side, trained there, and
//! written back to the blocks they belong to.

use candle_core::{Result, Tensor, Var};

use crate::{Parameter, ParameterKind, StreamKey};

/// One parameter of all blocks 1..=T side by side.
#[derive(Debug, Clone)]
pub struct StackedParameter {
    /// `[T, …]`.
    pub var: Var,
    /// The blocks' own, block 1 first, each `[1, …]`.
    pub rows: Vec<Parameter>,
}

impl StackedParameter {
    /// Whether the optimizer moves it.
    pub fn kind(&self) -> ParameterKind {
        self.rows.first().map_or(ParameterKind::Buffer, |row| row.kind)
    }

    /// Gives every block its values.
    ///
    /// # Errors
    /// candle's.
    pub fn write_back(&self) -> Result<()> {
        for (row, parameter) in self.rows.iter().enumerate() {
            parameter.var.set(&row_of(self.var.as_tensor(), row)?)?;
        }
        Ok(())
    }
}

/// What block number `row`, from 0, holds of `stacked` [T, …]: a copy [1, …].
///
/// # Errors
/// candle's.
pub fn row_of(stacked: &Tensor, row: usize) -> Result<Tensor> {
    stacked.detach().narrow(0, row, 1)?.copy()
}

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

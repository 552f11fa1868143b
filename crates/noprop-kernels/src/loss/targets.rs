//! The answers of a batch, and how much each counts.

use candle_core::{Result, Tensor};

/// The class of every row of a batch, and how much the row counts.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// y, `[N]`, u32.
    pub labels: &'a Tensor,
    /// The factor before the loss of each row, `[N]`, 0 or more, of the losses' element type. Without it every row counts 1.
    pub weights: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for Targets<'a> {
    /// Rows that all count alike.
    fn from(labels: &'a Tensor) -> Self {
        Self { labels, weights: None }
    }
}

impl Targets<'_> {
    /// The losses of rows, `[N]` or `[T, N]`, each times its row's weight.
    ///
    /// # Errors
    /// candle's, for another number of rows.
    pub fn weigh(&self, losses: Tensor) -> Result<Tensor> {
        match self.weights {
            None => Ok(losses),
            Some(weights) => losses.broadcast_mul(weights),
        }
    }
}

//! The correct classes of a batch, and the weight of each row.

use candle_core::{Result, Tensor};

/// The class of every row of a batch, and the weight of the row.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// y, `[N]`, u32.
    pub labels: &'a Tensor,
    /// The factor of each row's loss, `[N]`, 0 or more, of the losses' element type. `None` stands for ones.
    pub weights: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for Targets<'a> {
    /// Rows of equal weight.
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

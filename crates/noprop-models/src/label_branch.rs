//! The label branch of Fig. 6: a residual block of linear layers, noised label embedding → 256 features.

use candle_core::{Result, Tensor};
use noprop_kernels::Activation;
use noprop_method::{ParameterError, Pass};

use crate::image_branch::WIDTH;
use crate::layers::{BatchNorm, Linear, Place};

/// h = ReLU(BN(FC z)); h + BN(FC ReLU(BN(FC h))).
pub(crate) struct LabelBranch {
    linears: [Linear; 3],
    norms: [BatchNorm; 3],
}

impl LabelBranch {
    /// `dimension` is d, the length of a label embedding.
    pub fn new(place: &Place<'_>, dimension: usize) -> std::result::Result<Self, ParameterError> {
        let linear =
            |layer: usize, inputs| Linear::new(&place.at(&format!("fc{layer}")), inputs, WIDTH);
        let norm = |layer: usize, activation| {
            BatchNorm::new(&place.at(&format!("norm{layer}")), WIDTH, activation)
        };
        Ok(Self {
            linears: [linear(1, dimension)?, linear(2, WIDTH)?, linear(3, WIDTH)?],
            norms: [
                norm(1, Activation::Relu)?,
                norm(2, Activation::Relu)?,
                norm(3, Activation::None)?,
            ],
        })
    }

    /// [N, d] → [N, 256].
    pub fn forward(&self, z: &Tensor, pass: Pass) -> Result<Tensor> {
        let layer = |i: usize, x: &Tensor| {
            let x = self.linears[i].forward(x)?;
            self.norms[i].forward(&x, pass.into())
        };
        let h = layer(0, &z.unsqueeze(0)?)?;
        let refined = layer(2, &layer(1, &h)?)?;
        (h + refined)?.squeeze(0)
    }
}

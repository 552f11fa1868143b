//! A convolution with a batch norm over its channels.

use candle_core::{Result, Tensor, Var};
use noprop_kernels::{BatchNormMode, ChannelNorm, Conv3x3};
use noprop_method::{Init, ParameterError};

use crate::layers::{Activation, MOMENTUM, Padding, Passes, Place, Pool};

/// A 3×3 convolution with padding 1 and no bias, then a batch norm over its channels, ReLU, an optional 2×2 max pool, and the addition of
/// another tensor.
pub(crate) struct ConvNorm {
    weight: Tensor,
    /// Zeros: the norm takes every bias away.
    bias: Tensor,
    conv: Conv3x3,
    gamma: Tensor,
    beta: Tensor,
    mean: Var,
    var: Var,
    norm: ChannelNorm,
}

impl ConvNorm {
    /// A convolution from `inputs` to `outputs` channels, with the parameters `weight`, and `gamma`, `beta`, `mean` and `var` of the norm.
    pub fn new(
        place: &Place<'_>,
        (inputs, outputs): (usize, usize),
        pool: Pool,
    ) -> std::result::Result<Self, ParameterError> {
        let (precision, backend) = (place.precision, place.backend);
        let weight =
            place.parameter("weight", &[1, outputs, inputs, 3, 3], Init::FanIn(9 * inputs))?;
        let norm = place.at("norm");
        let shape = [1, outputs];
        let gamma = norm.parameter("gamma", &shape, Init::Constant(1.0))?;
        Ok(Self {
            bias: gamma.detach().zeros_like()?,
            weight,
            conv: Conv3x3 {
                padding: Padding::Same,
                pool: Pool::None,
                act: Activation::None,
                dropout: None,
                precision,
                backend,
            },
            beta: norm.parameter("beta", &shape, Init::Constant(0.0))?,
            mean: norm.buffer("mean", &shape, Init::Constant(0.0))?,
            var: norm.buffer("var", &shape, Init::Constant(1.0))?,
            gamma,
            norm: ChannelNorm { act: Activation::Relu, pool, backend, ..ChannelNorm::default() },
        })
    }

    /// [T or 1, N, Ci, H, W] → [T, N, Co, H', W'], with `residual` of that shape added. In training the running statistics follow the
    /// batch's.
    pub fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        passes: Passes<'_>,
    ) -> Result<Tensor> {
        match passes {
            Passes::Train(_) => self.by_batch(x, residual, MOMENTUM),
            Passes::Eval => {
                let mode = BatchNormMode::Eval { mean: &self.mean, var: &self.var };
                self.normed(x, residual, mode).map(|out| out.y)
            }
        }
    }

    /// Sets the running statistics to those of `x`, and returns the layer's result.
    pub fn calibrate(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        self.by_batch(x, residual, 1.0)
    }

    fn by_batch(&self, x: &Tensor, residual: Option<&Tensor>, momentum: f64) -> Result<Tensor> {
        let out = self.normed(x, residual, BatchNormMode::Train)?;
        out.update(&self.mean, &self.var, momentum)?;
        Ok(out.y)
    }

    fn normed(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        mode: BatchNormMode<'_>,
    ) -> Result<noprop_kernels::BatchNormOutput> {
        let x = self.conv.forward(x, &self.weight, &self.bias)?;
        Ok(self.norm.forward(&x, &self.gamma, &self.beta, residual, mode)?)
    }
}

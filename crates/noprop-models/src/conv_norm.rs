//! A convolution with a batch norm over its channels.

use candle_core::{Result, Tensor, Var};
use noprop_kernels::{After, BatchNormMode, BatchStatistics, ConvNorm};
use noprop_method::{Init, ParameterError};

use crate::layers::{MOMENTUM, Passes, Place};

/// The parameters of a 3×3 convolution with padding 1 and no bias, of the batch norm over its channels, and what follows its ReLU.
pub(crate) struct ConvNormLayer {
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Var,
    var: Var,
    after: After,
}

impl ConvNormLayer {
    /// A convolution from `inputs` to `outputs` channels, with the parameters `weight`, and `gamma`, `beta`, `mean` and `var` of the norm.
    pub fn new(
        place: &Place<'_>,
        (inputs, outputs): (usize, usize),
        after: After,
    ) -> std::result::Result<Self, ParameterError> {
        let weight =
            place.parameter("weight", &[1, outputs, inputs, 3, 3], Init::FanIn(9 * inputs))?;
        let norm = place.at("norm");
        let shape = [1, outputs];
        Ok(Self {
            weight,
            gamma: norm.parameter("gamma", &shape, Init::Constant(1.0))?,
            beta: norm.parameter("beta", &shape, Init::Constant(0.0))?,
            mean: norm.buffer("mean", &shape, Init::Constant(0.0))?,
            var: norm.buffer("var", &shape, Init::Constant(1.0))?,
            after,
        })
    }

    /// The layer as the kernels take it.
    pub fn layer(&self, statistics: Statistics) -> ConvNorm<'_> {
        ConvNorm {
            w: &self.weight,
            gamma: &self.gamma,
            beta: &self.beta,
            mode: match statistics {
                Statistics::Batch { .. } => BatchNormMode::Train,
                Statistics::Running => BatchNormMode::Eval { mean: &self.mean, var: &self.var },
            },
            after: self.after,
        }
    }

    /// Moves the running statistics towards the batch's, if the pass is one that does.
    pub fn follow(&self, batch: &BatchStatistics, statistics: Statistics) -> Result<()> {
        match statistics {
            Statistics::Batch { momentum } => Ok(batch.update(&self.mean, &self.var, momentum)?),
            Statistics::Running => Ok(()),
        }
    }
}

/// The statistics that a pass normalises with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistics {
    /// The batch's. The running ones move towards them by this share.
    Batch {
        /// From 0 to 1.
        momentum: f64,
    },
    /// The running ones.
    Running,
}

impl From<Passes<'_>> for Statistics {
    fn from(passes: Passes<'_>) -> Self {
        match passes {
            Passes::Train(_) => Self::Batch { momentum: MOMENTUM },
            Passes::Eval => Self::Running,
        }
    }
}

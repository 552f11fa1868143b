//! Layers over the fused ops, with named and seeded parameters: what the paper's networks are made of, for other networks as well.
//!
//! A layer holds one block, or blocks 1..=T of a network for training them in one call. Hence all tensors have a leading block
//! dimension T, which is 1 for one block. Layers of candle-nn can stand beside them, built through
//! [`ParameterBuilder::var_builder`](noprop_method::ParameterBuilder::var_builder).
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use noprop_method::{Norm, ParameterBuilder, Part, Seed};
//! use noprop_models::layers::{Activation, Dense, Passes, Place};
//!
//! let source = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
//! let block = Place::new(&source, Part::Block(1));
//! // Parameters block.1.fc1.weight, block.1.norm1.gamma and so on.
//! let dense = Dense::new(&block, "1", (784, 64), Norm::Batch, Activation::Relu)?;
//! let x = Tensor::zeros((1, 32, 784), DType::F32, &Device::Cpu)?;
//! assert_eq!(dense.forward(&x, Passes::Eval)?.dims(), [1, 32, 64]);
//! # Ok::<(), candle_core::Error>(())
//! ```

use candle_core::{Result, Tensor, Var};
use noprop_kernels::{BatchNormMode, Conv3x3, Dropout, conv3x3_stack};
use noprop_method::{Init, Norm, ParameterBuilder, ParameterError, ParameterKind, Part, Pass};

pub use noprop_kernels::{Activation, Backend, Padding, Pool, Precision};
pub use noprop_method::StreamKey;

pub use crate::pooling::max_pool2d;

/// The place where a layer's parameters are made: their part, the beginning of their names, and how their layer computes.
#[derive(Clone)]
pub struct Place<'a> {
    builder: &'a ParameterBuilder,
    part: Part,
    kind: ParameterKind,
    prefix: String,
    pub(crate) precision: Precision,
    pub(crate) backend: Backend,
}

impl<'a> Place<'a> {
    /// The place of trainable parameters of `part`, computed in f32 by the fastest kernels.
    pub fn new(builder: &'a ParameterBuilder, part: Part) -> Self {
        Self {
            builder,
            part,
            kind: ParameterKind::Trainable,
            prefix: String::new(),
            precision: Precision::F32,
            backend: Backend::Auto,
        }
    }

    /// The same place for parameters that are never trained: [`ParameterKind::Buffer`].
    #[must_use]
    pub fn frozen(mut self) -> Self {
        self.kind = ParameterKind::Buffer;
        self
    }

    /// The same place with products of this precision.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The same place with these kernels.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// The same place, one name further in.
    #[must_use]
    pub fn at(&self, name: &str) -> Self {
        let prefix = if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        };
        Self { prefix, ..self.clone() }
    }

    pub(crate) fn parameter(
        &self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> std::result::Result<Tensor, ParameterError> {
        match self.kind {
            ParameterKind::Trainable => {
                self.builder.trainable(self.part, &self.at(name).prefix, shape, init)
            }
            ParameterKind::Buffer => {
                self.buffer(name, shape, init).map(|var| var.as_detached_tensor())
            }
        }
    }

    pub(crate) fn buffer(
        &self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> std::result::Result<Var, ParameterError> {
        self.builder.buffer(self.part, &self.at(name).prefix, shape, init)
    }
}

/// [`Pass`] for the T blocks of a layer.
#[derive(Debug, Clone, Copy)]
pub enum Passes<'a> {
    /// Training: batch statistics, and dropout drawn from a stream a block.
    Train(&'a [StreamKey]),
    /// Evaluation: running statistics, no dropout.
    Eval,
}

impl<'a> From<&'a Pass> for Passes<'a> {
    fn from(pass: &'a Pass) -> Self {
        match pass {
            Pass::Train(key) => Self::Train(std::slice::from_ref(key)),
            Pass::Eval => Self::Eval,
        }
    }
}

/// The settings of a [`Conv`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvSettings {
    /// Zeros around the image.
    pub padding: Padding,
    /// The pooling behind ReLU.
    pub pool: Pool,
    /// The share of activations that training drops, 0 ≤ rate < 1.
    pub dropout: f64,
    /// The number of the layer among those of its block: layers with different numbers drop different activations.
    pub layer: u64,
}

/// A 3×3 convolution, then ReLU, optional 2×2 max pool and dropout.
pub struct Conv {
    weight: Tensor,
    bias: Tensor,
    /// The op without dropout.
    op: Conv3x3,
    /// The share of activations that training drops.
    dropout: f64,
    /// The number of the layer among those of its block.
    layer: u64,
}

impl Conv {
    /// A convolution from `inputs` to `outputs` channels.
    ///
    /// # Errors
    /// [`ParameterError`] if the parameters cannot be made.
    pub fn new(
        place: &Place<'_>,
        (inputs, outputs): (usize, usize),
        settings: ConvSettings,
    ) -> std::result::Result<Self, ParameterError> {
        let ConvSettings { padding, pool, dropout, layer } = settings;
        let Place { precision, backend, .. } = *place;
        let act = Activation::Relu;
        let init = Init::FanIn(inputs * 9);
        Ok(Self {
            weight: place.parameter("weight", &[1, outputs, inputs, 3, 3], init)?,
            bias: place.parameter("bias", &[1, outputs], init)?,
            op: Conv3x3 { padding, pool, act, dropout: None, precision, backend },
            dropout,
            layer,
        })
    }

    /// [T or 1, N, Ci, H, W] → [T, N, Co, H', W'].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    pub fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        Self::forward_all(std::slice::from_ref(self), images, passes)
    }

    /// The same through several layers in one op: images pass through all of them a few at a time, while they are in cache.
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn forward_all(convs: &[Self], images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        let ops = convs.iter().map(|conv| conv.op(passes)).collect::<Result<Vec<_>>>()?;
        let parameters: Vec<_> =
            convs.iter().map(|conv| (conv.weight.clone(), conv.bias.clone())).collect();
        Ok(conv3x3_stack(&ops, images, &parameters)?)
    }

    fn op(&self, passes: Passes<'_>) -> Result<Conv3x3> {
        let dropout = match passes {
            Passes::Train(keys) if self.dropout > 0.0 => {
                let own = |key: &StreamKey| StreamKey::derive(key.0, &[self.layer]);
                Some(Dropout::new(self.dropout, keys.iter().map(own).collect())?)
            }
            Passes::Train(_) | Passes::Eval => None,
        };
        Ok(Conv3x3 { dropout, ..self.op.clone() })
    }
}

/// y = x Wᵀ + b.
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
    op: noprop_kernels::Linear,
}

impl Linear {
    /// A layer that starts from [`Init::FanIn`].
    ///
    /// # Errors
    /// [`ParameterError`] if the parameters cannot be made.
    pub fn new(
        place: &Place<'_>,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, ParameterError> {
        Self::starting_from(place, inputs, outputs, Init::FanIn(inputs))
    }

    /// The same with other initial values.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn starting_from(
        place: &Place<'_>,
        inputs: usize,
        outputs: usize,
        init: Init,
    ) -> std::result::Result<Self, ParameterError> {
        let Place { precision, backend, .. } = *place;
        Ok(Self {
            weight: place.parameter("weight", &[1, outputs, inputs], init)?,
            bias: place.parameter("bias", &[1, outputs], init)?,
            op: noprop_kernels::Linear { act: Activation::None, precision, backend },
        })
    }

    /// Weight, [T, O, I], and bias, [T, O].
    pub(crate) fn parameters(&self) -> (&Tensor, &Tensor) {
        (&self.weight, &self.bias)
    }

    /// Sets the weight, [1, O, I].
    pub(crate) fn set_weight(&self, weight: &Tensor) -> Result<()> {
        Var::from_tensor(&self.weight)?.set(weight)
    }

    /// [T or 1, N, I] → [T, N, O].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.op.forward(x, &self.weight, &self.bias)?)
    }

    /// [T or 1, N, I] → [T, N, O], then ReLU.
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        let op = noprop_kernels::Linear { act: Activation::Relu, ..self.op };
        Ok(op.forward(x, &self.weight, &self.bias)?)
    }

    /// [T or 1, N, I₁] and [T, N, I₂] concatenated → [T, N, O]. No gradient is made for a `first` that is data.
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn forward_joined(&self, first: &Tensor, x: &Tensor) -> Result<Tensor> {
        Ok(self.op.forward_joined(first, x, &self.weight, &self.bias)?)
    }
}

/// The share of the batch's statistics in the new running ones.
pub(crate) const MOMENTUM: f64 = 0.1;

/// Batch norm over the rows, then an activation.
pub struct BatchNorm {
    gamma: Tensor,
    beta: Tensor,
    mean: Var,
    var: Var,
    op: noprop_kernels::BatchNorm,
}

impl BatchNorm {
    /// Starts as the identity, but for the normalisation.
    ///
    /// # Errors
    /// [`ParameterError`] if the parameters cannot be made.
    pub fn new(
        place: &Place<'_>,
        features: usize,
        act: Activation,
    ) -> std::result::Result<Self, ParameterError> {
        let shape = [1, features];
        Ok(Self {
            gamma: place.parameter("gamma", &shape, Init::Constant(1.0))?,
            beta: place.parameter("beta", &shape, Init::Constant(0.0))?,
            mean: place.buffer("mean", &shape, Init::Constant(0.0))?,
            var: place.buffer("var", &shape, Init::Constant(1.0))?,
            op: noprop_kernels::BatchNorm { act, backend: place.backend, ..Default::default() },
        })
    }

    /// [T, N, F] → [T, N, F]. In training the running statistics follow the batch's.
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    pub fn forward(&self, x: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        match passes {
            Passes::Train(_) => self.by_batch(x, MOMENTUM),
            Passes::Eval => {
                let mode = BatchNormMode::Eval { mean: &self.mean, var: &self.var };
                Ok(self.op.forward(x, &self.gamma, &self.beta, mode)?.y)
            }
        }
    }

    /// Sets the running statistics to those of `x` [T, N, F], for a layer that is never trained.
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn calibrate(&self, x: &Tensor) -> Result<()> {
        self.by_batch(x, 1.0).map(|_| ())
    }

    fn by_batch(&self, x: &Tensor, momentum: f64) -> Result<Tensor> {
        let out = self.op.forward(x, &self.gamma, &self.beta, BatchNormMode::Train)?;
        out.statistics.update(&self.mean, &self.var, momentum)?;
        Ok(out.y)
    }
}

/// A linear layer `fc`, then a batch norm `norm` with an activation, or ReLU alone.
pub struct Dense {
    linear: Linear,
    norm: Option<BatchNorm>,
}

impl Dense {
    /// A layer with the names `fc` and `norm`, followed by `layer`. `activation` is that of the batch norm.
    ///
    /// # Errors
    /// [`ParameterError`] if the parameters cannot be made.
    pub fn new(
        place: &Place<'_>,
        layer: &str,
        (inputs, outputs): (usize, usize),
        norm: Norm,
        activation: Activation,
    ) -> std::result::Result<Self, ParameterError> {
        let linear = Linear::new(&place.at(&format!("fc{layer}")), inputs, outputs)?;
        let norm = match norm {
            Norm::Batch => {
                Some(BatchNorm::new(&place.at(&format!("norm{layer}")), outputs, activation)?)
            }
            Norm::None => None,
        };
        Ok(Self { linear, norm })
    }

    /// [T or 1, N, I] → [T, N, O].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    pub fn forward(&self, x: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        match &self.norm {
            Some(norm) => norm.forward(&self.linear.forward(x)?, passes),
            None => self.linear.forward_relu(x),
        }
    }

    /// [T or 1, N, I₁] and [T, N, I₂] concatenated → [T, N, O], as [`Linear::forward_joined`].
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn forward_joined(&self, first: &Tensor, x: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        let x = self.linear.forward_joined(first, x)?;
        match &self.norm {
            Some(norm) => norm.forward(&x, passes),
            None => x.relu(),
        }
    }

    /// Sets the running statistics of the batch norm, if there is one, to those for `x` [T, N, I].
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn calibrate(&self, x: &Tensor) -> Result<()> {
        match &self.norm {
            Some(norm) => norm.calibrate(&self.linear.forward(x)?),
            None => Ok(()),
        }
    }
}

//! Layers with named, seeded parameters, each a thin wrapper over one fused op.
//!
//! The ops take a leading block dimension T, and so do the layers: 1 for a block alone, as many as there are for all blocks side by
//! side.

use candle_core::{Result, Tensor, Var};
use noprop_kernels::{
    Activation, Backend, BatchNormMode, Conv3x3, Dropout, Padding, Pool, Precision,
};
use noprop_method::{Init, ParameterBuilder, ParameterError, ParameterKind, Part, Pass, StreamKey};

use crate::image_branch::ImageInput;

/// Where a layer's parameters are made and under which name.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    pub builder: &'a ParameterBuilder,
    pub part: Part,
    pub kind: ParameterKind,
    pub prefix: String,
    pub precision: Precision,
    pub backend: Backend,
}

impl Place<'_> {
    /// The same place, one name further in.
    pub fn at(&self, name: &str) -> Self {
        let prefix = if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        };
        Self { prefix, ..self.clone() }
    }

    fn parameter(
        &self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> std::result::Result<Tensor, ParameterError> {
        let full = self.at(name).prefix;
        match self.kind {
            ParameterKind::Trainable => self.builder.trainable(self.part, &full, shape, init),
            ParameterKind::Buffer => self
                .builder
                .buffer(self.part, &full, shape, init)
                .map(|var| var.as_detached_tensor()),
        }
    }
}

/// [`Pass`] for several blocks.
#[derive(Clone, Copy)]
pub(crate) enum Passes<'a> {
    /// Training, with a stream of dropout a block.
    Train(&'a [StreamKey]),
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

/// A 3×3 convolution, then ReLU, optional 2×2 max pool and dropout.
pub(crate) struct Conv {
    weight: Tensor,
    bias: Tensor,
    padding: Padding,
    pool: Pool,
    dropout: f64,
    /// Tells this layer's dropout from the others' of its block.
    layer: u64,
    precision: Precision,
    backend: Backend,
}

impl Conv {
    pub fn new(
        place: &Place<'_>,
        (inputs, outputs): (usize, usize),
        pool: Pool,
        image: ImageInput,
        layer: u64,
    ) -> std::result::Result<Self, ParameterError> {
        let init = Init::FanIn(inputs * 9);
        Ok(Self {
            weight: place.parameter("weight", &[1, outputs, inputs, 3, 3], init)?,
            bias: place.parameter("bias", &[1, outputs], init)?,
            padding: image.padding,
            pool,
            dropout: image.dropout,
            layer,
            precision: place.precision,
            backend: place.backend,
        })
    }

    /// The layer as an op of one pass.
    pub fn op(&self, passes: Passes<'_>) -> Result<Conv3x3> {
        let dropout = match passes {
            Passes::Train(keys) if self.dropout > 0.0 => {
                let own = |key: &StreamKey| StreamKey::derive(key.0, &[self.layer]);
                Some(Dropout::new(self.dropout, keys.iter().map(own).collect())?)
            }
            Passes::Train(_) | Passes::Eval => None,
        };
        Ok(Conv3x3 {
            padding: self.padding,
            pool: self.pool,
            act: Activation::Relu,
            dropout,
            precision: self.precision,
            backend: self.backend,
        })
    }

    /// Weight [T, Co, Ci, 3, 3] and bias [T, Co].
    pub fn parameters(&self) -> (Tensor, Tensor) {
        (self.weight.clone(), self.bias.clone())
    }
}

/// y = x Wᵀ + b.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
    precision: Precision,
    backend: Backend,
}

impl Linear {
    pub fn new(
        place: &Place<'_>,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, ParameterError> {
        Self::starting_from(place, inputs, outputs, Init::FanIn(inputs))
    }

    /// The same with initial values of its own.
    pub fn starting_from(
        place: &Place<'_>,
        inputs: usize,
        outputs: usize,
        init: Init,
    ) -> std::result::Result<Self, ParameterError> {
        Ok(Self {
            weight: place.parameter("weight", &[1, outputs, inputs], init)?,
            bias: place.parameter("bias", &[1, outputs], init)?,
            precision: place.precision,
            backend: place.backend,
        })
    }

    /// [T or 1, N, I] → [T, N, O].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.op(Activation::None).forward(x, &self.weight, &self.bias)?)
    }

    /// [T or 1, N, I] → [T, N, O], then ReLU.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.op(Activation::Relu).forward(x, &self.weight, &self.bias)?)
    }

    /// [T or 1, N, I₁] and [T, N, I₂] side by side → [T, N, O]; no gradient is made for a `first` that is data.
    pub fn forward_joined(&self, first: &Tensor, x: &Tensor) -> Result<Tensor> {
        Ok(self.op(Activation::None).forward_joined(first, x, &self.weight, &self.bias)?)
    }

    fn op(&self, act: Activation) -> noprop_kernels::Linear {
        noprop_kernels::Linear { act, precision: self.precision, backend: self.backend }
    }
}

/// How fast running statistics follow the batch's.
const MOMENTUM: f64 = 0.1;
const EPSILON: f64 = 1e-5;

/// Batch norm over the rows, then an activation.
pub(crate) struct BatchNorm {
    gamma: Tensor,
    beta: Tensor,
    mean: Var,
    var: Var,
    activation: Activation,
    backend: Backend,
}

/// Where a batch norm's statistics come from and go to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Statistics {
    /// Normalise by the batch; let the running ones follow with this share.
    Batch { momentum: f64 },
    /// Normalise by the running ones.
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

impl BatchNorm {
    pub fn new(
        place: &Place<'_>,
        features: usize,
        activation: Activation,
    ) -> std::result::Result<Self, ParameterError> {
        let running = |name, value| {
            let name = place.at(name).prefix;
            let init = Init::Constant(value);
            place.builder.buffer(place.part, &name, (1, features), init)
        };
        Ok(Self {
            gamma: place.parameter("gamma", &[1, features], Init::Constant(1.0))?,
            beta: place.parameter("beta", &[1, features], Init::Constant(0.0))?,
            mean: running("mean", 0.0)?,
            var: running("var", 1.0)?,
            activation,
            backend: place.backend,
        })
    }

    /// [T, N, F] → [T, N, F].
    pub fn forward(&self, x: &Tensor, statistics: Statistics) -> Result<Tensor> {
        let mode = match statistics {
            Statistics::Batch { .. } => BatchNormMode::Train,
            Statistics::Running => BatchNormMode::Eval { mean: &self.mean, var: &self.var },
        };
        let op =
            noprop_kernels::BatchNorm { eps: EPSILON, act: self.activation, backend: self.backend };
        let out = op.forward(x, &self.gamma, &self.beta, mode)?;
        if let Statistics::Batch { momentum } = statistics {
            out.update(&self.mean, &self.var, momentum)?;
        }
        Ok(out.y)
    }
}

//! The layers with parameters.

use candle_core::{Module, ModuleT, Result, Tensor, Var, bail};
use candle_nn::{BatchNormConfig, Init, VarBuilder, init};

use crate::activation::Activation;
use crate::batch_norm::BatchNormMode;
use crate::conv::Padding;

/// A 3×3 convolution with stride 1, in place of `candle_nn::Conv2d`. Made by [`conv3x3`].
#[derive(Clone, Debug)]
pub struct Conv3x3 {
    weight: Tensor,
    bias: Tensor,
    padding: Padding,
}

/// A 3×3 convolution with stride 1, as `candle_nn::conv2d` makes one for a kernel of 3: "weight" is
/// `[out_channels, in_channels, 3, 3]`, "bias" is `[out_channels]`, and it maps `[N, in_channels, H, W]` to
/// `[N, out_channels, OH, OW]`.
///
/// # Errors
/// The builder's.
pub fn conv3x3(
    in_channels: usize,
    out_channels: usize,
    padding: Padding,
    vb: VarBuilder<'_>,
) -> Result<Conv3x3> {
    let shape = (out_channels, in_channels, 3, 3);
    let weight = vb.get_with_hints(shape, "weight", init::DEFAULT_KAIMING_NORMAL)?;
    let bias = vb.get_with_hints(out_channels, "bias", bias_init(in_channels))?;
    Ok(Conv3x3 { weight, bias, padding })
}

/// candle-nn's initial values of a bias.
fn bias_init(inputs: usize) -> Init {
    let bound = 1.0 / (inputs as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

impl Module for Conv3x3 {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let op = crate::Conv3x3 {
            padding: self.padding,
            act: Activation::None,
            ..crate::Conv3x3::default()
        };
        let (weight, bias) = (self.weight.unsqueeze(0)?, self.bias.unsqueeze(0)?);
        op.forward(&x.unsqueeze(0)?, &weight, &bias)?.squeeze(0)
    }
}

/// A dense layer, in place of `candle_nn::Linear`. Made by [`linear`].
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

/// A dense layer, as `candle_nn::linear` makes it: "weight" is `[out_dim, in_dim]`, "bias" is `[out_dim]`, and it maps
/// `[…, in_dim]` to `[…, out_dim]`.
///
/// # Errors
/// The builder's.
pub fn linear(in_dim: usize, out_dim: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    let shape = (out_dim, in_dim);
    let weight = vb.get_with_hints(shape, "weight", init::DEFAULT_KAIMING_NORMAL)?;
    Ok(Linear { weight, bias: vb.get_with_hints(out_dim, "bias", bias_init(in_dim))? })
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (mut dims, inputs) = (x.dims().to_vec(), self.weight.dim(1)?);
        let Some(last) = dims.last_mut().filter(|last| **last == inputs) else {
            bail!("linear: x has shape {:?}, expected […, {inputs}]", x.shape())
        };
        *last = self.weight.dim(0)?;
        let x = x.reshape((1, x.elem_count() / inputs.max(1), inputs))?;
        let (weight, bias) = (self.weight.unsqueeze(0)?, self.bias.unsqueeze(0)?);
        crate::Linear::default().forward(&x, &weight, &bias)?.reshape(dims)
    }
}

/// A batch normalisation, in place of `candle_nn::BatchNorm`. Made by [`batch_norm`].
#[derive(Clone, Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Var,
    running_var: Var,
    eps: f64,
    momentum: f64,
}

/// A batch normalisation, as `candle_nn::batch_norm` makes it: "running_mean", "running_var", "weight" and "bias" are
/// `[num_features]` (the last two only with `affine`), and it normalises the second dimension of `[N, num_features, …]`.
///
/// In training it normalises by the batch's statistics and moves the running ones towards them; in evaluation it uses the
/// running ones. `config` is candle-nn's, or just an epsilon.
///
/// # Errors
/// The builder's, and for settings that cannot be: an `eps` below 0, a `momentum` outside `[0, 1]`, or `remove_mean` off,
/// which this op does not support.
pub fn batch_norm(
    num_features: usize,
    config: impl Into<BatchNormConfig>,
    vb: VarBuilder<'_>,
) -> Result<BatchNorm> {
    let BatchNormConfig { eps, remove_mean, affine, momentum } = config.into();
    if eps.is_nan() || eps < 0.0 {
        bail!("batch_norm: eps is {eps}, expected 0 or more")
    }
    if !(0.0..=1.0).contains(&momentum) {
        bail!("batch_norm: momentum is {momentum}, expected 0 to 1")
    }
    if !remove_mean {
        bail!("batch_norm: remove_mean = false is not supported")
    }
    let get = |name, value| vb.get_with_hints(num_features, name, Init::Const(value));
    let running_mean = Var::from_tensor(&get("running_mean", 0.0)?)?;
    let running_var = Var::from_tensor(&get("running_var", 1.0)?)?;
    let (weight, bias) = match affine {
        true => (get("weight", 1.0)?, get("bias", 0.0)?),
        false => (running_mean.ones_like()?, running_mean.zeros_like()?),
    };
    Ok(BatchNorm { weight, bias, running_mean, running_var, eps, momentum })
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let features = self.weight.dim(0)?;
        if x.rank() < 2 || x.dim(1)? != features {
            bail!("batch_norm: x has shape {:?}, expected [N, {features}, …]", x.shape())
        }
        // Features last, all other dimensions as rows.
        let (first, last) = (x.dim(0)?, x.flatten_from(1)?.dim(1)? / features.max(1));
        let rows = x.reshape((first, features, last))?.transpose(1, 2)?;
        let rows = rows.reshape((1, first * last, features))?;
        let op = crate::BatchNorm { eps: self.eps, ..crate::BatchNorm::default() };
        let (weight, bias) = (self.weight.unsqueeze(0)?, self.bias.unsqueeze(0)?);
        let y = match train {
            true => {
                let out = op.forward(&rows, &weight, &bias, BatchNormMode::Train)?;
                let (mean, var) = (&self.running_mean, &self.running_var);
                out.statistics.update(mean, var, self.momentum)?;
                out.y
            }
            false => {
                let mean = self.running_mean.as_detached_tensor().unsqueeze(0)?;
                let var = self.running_var.as_detached_tensor().unsqueeze(0)?;
                let mode = BatchNormMode::Eval { mean: &mean, var: &var };
                op.forward(&rows, &weight, &bias, mode)?.y
            }
        };
        y.reshape((first, last, features))?.transpose(1, 2)?.reshape(x.dims())
    }
}

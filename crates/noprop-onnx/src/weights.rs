//! The trained tensors by name, each of which the graph takes once.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;
use noprop_method::{Denoiser, Part};
use noprop_models::Network;

use crate::error::{ExportError, Result};

/// The tensors of a network that have no place in the graph yet.
pub(crate) struct Weights(BTreeMap<String, Tensor>);

/// A dense layer or a convolution: y = W x + b.
pub(crate) struct Layer {
    /// The name of its parameters without the last word.
    pub name: String,
    /// The shape of W, [O, I, …].
    pub shape: Vec<usize>,
    /// W in row-major order.
    pub weight: Vec<f32>,
    /// b, `[O]`.
    pub bias: Vec<f32>,
}

impl Weights {
    /// Those of `network`.
    pub fn of(network: &Network) -> Self {
        Self(network.parameters().tensors().into_iter().collect())
    }

    /// Takes the values of the tensor `name`, which has a leading block dimension of 1. Returns its other dimensions too.
    pub fn take(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let missing = || ExportError::Missing(name.into());
        let tensor = self.0.remove(name).ok_or_else(missing)?;
        match tensor.dims() {
            [1, shape @ ..] => Ok((shape.to_vec(), tensor.flatten_all()?.to_vec1()?)),
            _ => Err(missing()),
        }
    }

    /// Takes a list of `length` numbers.
    fn list(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let (_, values) = self.take(name)?;
        if values.len() == length { Ok(values) } else { Err(ExportError::Missing(name.into())) }
    }

    /// Takes `weight` and `bias` at `place`.
    pub fn linear(&mut self, place: &str) -> Result<Layer> {
        let (shape, weight) = self.take(&format!("{place}.weight"))?;
        let outputs = shape.first().copied().unwrap_or_default();
        let bias = self.list(&format!("{place}.bias"), outputs)?;
        Ok(Layer { name: place.into(), shape, weight, bias })
    }

    /// Takes the `weight` of a layer without a bias at `place`.
    pub fn without_bias(&mut self, place: &str) -> Result<Layer> {
        let (shape, weight) = self.take(&format!("{place}.weight"))?;
        let bias = vec![0.0; shape.first().copied().unwrap_or_default()];
        Ok(Layer { name: place.into(), shape, weight, bias })
    }

    /// Takes the batch norm at `place` and lets `layer` do its work: γ (W x + b − μ) / √(σ² + ε) + β is a layer as well.
    pub fn normed(&mut self, mut layer: Layer, place: &str, eps: f64) -> Result<Layer> {
        let outputs = layer.bias.len();
        let mut list = |word: &str| self.list(&format!("{place}.{word}"), outputs);
        let (gamma, beta) = (list("gamma")?, list("beta")?);
        let (mean, var) = (list("mean")?, list("var")?);
        let inputs = (layer.weight.len() / outputs.max(1)).max(1);
        let rows = layer.weight.chunks_exact_mut(inputs).zip(&mut layer.bias);
        let norms = gamma.iter().zip(&beta).zip(mean.iter().zip(&var));
        for ((row, bias), ((gamma, beta), (mean, var))) in rows.zip(norms) {
            let scale = f64::from(*gamma) / (f64::from(*var) + eps).sqrt();
            for weight in row {
                *weight = (f64::from(*weight) * scale) as f32;
            }
            *bias = ((f64::from(*bias) - f64::from(*mean)) * scale + f64::from(*beta)) as f32;
        }
        Ok(layer)
    }

    /// Leaves out the tensors of `part`: they are not needed to classify, or the graph has constants in their place.
    pub fn leave_out(&mut self, part: Part) {
        self.0.retain(|name, _| Part::parse(name).is_none_or(|(of, _)| of != part));
    }

    /// Refuses a graph that does not use every tensor: it would compute something else.
    pub fn finish(self) -> Result<()> {
        self.0.into_keys().next().map_or(Ok(()), |name| Err(ExportError::Unused(name)))
    }
}

impl Layer {
    /// The columns `of` of W as a matrix [I, O] from the right.
    pub fn columns(&self, of: Range<usize>) -> Vec<f32> {
        let outputs = self.bias.len();
        let inputs = self.weight.len() / outputs.max(1);
        let value = |input: usize, output: usize| self.weight.get(output * inputs + input).copied();
        of.flat_map(|input| (0..outputs).filter_map(move |output| value(input, output))).collect()
    }

    /// The number of its inputs.
    pub fn inputs(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The number of its outputs.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }
}

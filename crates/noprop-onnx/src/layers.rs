//! Layers in a graph.

use noprop_kernels::{Activation, BatchNorm};
use noprop_method::Norm;

use crate::error::Result;
use crate::graph::{Attribute, Graph, Value};
use crate::weights::{Layer, Weights};

/// A graph and the weights that go into it.
pub(crate) struct Builder {
    pub graph: Graph,
    pub weights: Weights,
    /// What stands behind the dense layers of the network.
    pub norm: Norm,
}

/// The constants of a layer in a graph.
pub(crate) struct Affine {
    pub weight: Value,
    pub bias: Value,
    pub outputs: usize,
    pub activation: Activation,
}

impl Builder {
    /// The dense layer `fc` with the batch norm `norm` and an activation, or with ReLU alone, as in noprop-models.
    pub fn dense_layer(&mut self, place: &str, layer: &str) -> Result<Layer> {
        let linear = self.weights.linear(&format!("{place}.fc{layer}"))?;
        match self.norm {
            Norm::Batch => {
                let norm = format!("{place}.norm{layer}");
                self.weights.normed(linear, &norm, BatchNorm::default().eps)
            }
            Norm::None => Ok(linear),
        }
    }

    /// The constants of [`Self::dense_layer`]. `activation` is that of the batch norm.
    pub fn dense(&mut self, place: &str, layer: &str, activation: Activation) -> Result<Affine> {
        let layer = self.dense_layer(place, layer)?;
        let activation = match self.norm {
            Norm::Batch => activation,
            Norm::None => Activation::Relu,
        };
        Ok(self.graph.affine(&layer, activation))
    }

    /// The constants of a linear layer.
    pub fn linear(&mut self, place: &str) -> Result<Affine> {
        let layer = self.weights.linear(place)?;
        Ok(self.graph.affine(&layer, Activation::None))
    }
}

impl Graph {
    /// The constants of a dense layer.
    pub fn affine(&mut self, layer: &Layer, activation: Activation) -> Affine {
        let (inputs, outputs) = (layer.inputs(), layer.outputs());
        let (name, columns) = (format!("{}.weight", layer.name), layer.columns(0..inputs));
        let weight = self.tensor(&name, &[inputs, outputs], &columns);
        Affine { weight, bias: self.bias(layer), outputs, activation }
    }

    /// The constants of a convolution, which is followed by ReLU.
    pub fn kernel(&mut self, layer: &Layer) -> Affine {
        let weight = self.tensor(&format!("{}.weight", layer.name), &layer.shape, &layer.weight);
        let (bias, outputs) = (self.bias(layer), layer.outputs());
        Affine { weight, bias, outputs, activation: Activation::Relu }
    }

    /// The bias of a layer.
    pub fn bias(&mut self, layer: &Layer) -> Value {
        self.tensor(&format!("{}.bias", layer.name), &[layer.outputs()], &layer.bias)
    }

    /// […, I] → […, O].
    pub fn apply(&mut self, layer: &Affine, x: &Value) -> Value {
        let product = self.op("MatMul", &[x, &layer.weight]);
        let sum = self.op("Add", &[&product, &layer.bias]);
        match layer.activation {
            Activation::Relu => self.op("Relu", &[&sum]),
            Activation::None => sum,
        }
    }

    /// A 3×3 convolution with rings of zeros around its input, and ReLU: [N, I, H, W] → [N, O, H', W'].
    pub fn convolve(&mut self, layer: &Affine, x: &Value, rings: usize) -> Value {
        let pads = Attribute::Ints(vec![rings as i64; 4]);
        let kernel = Attribute::Ints(vec![3, 3]);
        let inputs = [x, &layer.weight, &layer.bias];
        let y = self.op_with("Conv", &inputs, [("kernel_shape", kernel), ("pads", pads)]);
        self.op("Relu", &[&y])
    }

    /// The greatest of 2×2 values; rows and columns that fill no window are left out.
    pub fn pool(&mut self, x: &Value) -> Value {
        let two = || Attribute::Ints(vec![2, 2]);
        self.op_with("MaxPool", &[x], [("kernel_shape", two()), ("strides", two())])
    }

    /// [N, …] → [N, values].
    pub fn flatten(&mut self, x: &Value) -> Value {
        self.op_with("Flatten", &[x], [("axis", Attribute::Int(1))])
    }

    /// The mean over axis 1, which is left out.
    pub fn mean(&mut self, x: &Value) -> Value {
        let axes = Attribute::Ints(vec![1]);
        self.op_with("ReduceMean", &[x], [("axes", axes), ("keepdims", Attribute::Int(0))])
    }

    /// Softmax over the last dimension.
    pub fn softmax(&mut self, x: &Value) -> Value {
        self.op_with("Softmax", &[x], [("axis", Attribute::Int(-1))])
    }
}

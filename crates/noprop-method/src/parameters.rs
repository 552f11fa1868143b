//! The named variables of a network.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Shape, Tensor, Var};
use candle_nn::VarMap;

use crate::Part;

/// The role of a parameter in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// The optimizer updates it, so it must receive a gradient.
    Trainable,
    /// It is saved with the weights but not trained, such as the running statistics of a batch norm.
    Buffer,
}

impl ParameterKind {
    /// Returns the role of a tensor by its name in candle-nn: `running_mean` and `running_var` of a batch norm are buffers, all
    /// others are trained.
    pub(crate) fn of_candle(name: &str) -> Self {
        match name.rsplit('.').next() {
            Some("running_mean" | "running_var") => Self::Buffer,
            _ => Self::Trainable,
        }
    }
}

/// A named variable.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The full name, such as `block.3.image.conv1.weight`.
    pub name: String,
    /// The part of the network that owns it.
    pub part: Part,
    /// The role in training.
    pub kind: ParameterKind,
    /// The values, f32.
    pub var: Var,
}

/// An error in building, collecting or setting parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// Stored weights lack the tensor of this name.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// A stored tensor does not have the shape that the network needs.
    #[error("tensor `{name}` has shape {found:?} where the network needs {expected:?}")]
    Misshapen {
        /// The tensor's name.
        name: String,
        /// The shape of the stored tensor.
        found: Vec<usize>,
        /// The shape that the network needs.
        expected: Vec<usize>,
    },
    /// A tensor is not f32.
    #[error("tensor `{name}` is {found:?}, but parameters are F32")]
    WrongType {
        /// The tensor's name.
        name: String,
        /// The tensor's element type.
        found: DType,
    },
    /// Stored weights hold a tensor of this name, which the network does not have.
    #[error("tensor `{0}` does not belong to this network")]
    Extra(String),
    /// Two parameters have this name. This is a fault in the network's code.
    #[error("two parameters are named `{0}`")]
    Duplicate(String),
    /// This name does not begin with a [`Part`].
    #[error(
        "tensor `{0}` belongs to no part: its name must begin with encoder, embedding, schedule, block.T (T from 1) or readout"
    )]
    NoPart(String),
    /// A parameter of this name was requested after all parameters had been collected: it would never be trained.
    #[error("parameter `{0}` was requested after ParameterBuilder::finish")]
    Finished(String),
    /// A thread panicked while it changed a [`VarMap`], which may be inconsistent.
    #[error("a thread panicked while it changed the VarMap")]
    Poisoned,
    /// An error of candle.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl From<ParameterError> for candle_core::Error {
    fn from(error: ParameterError) -> Self {
        match error {
            ParameterError::Tensor(inner) => inner,
            other => Self::wrap(other),
        }
    }
}

/// The variables of a network in a fixed order.
///
/// candle-nn's `VarMap` lists its variables in hash order and draws their values from a generator that cannot be seeded on the
/// CPU, so a run with it could not be repeated. [`ParameterBuilder`](crate::ParameterBuilder) creates variables in the order of
/// the calls, with values that depend only on the seed and the name.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    all: Vec<Parameter>,
}

impl Parameters {
    pub(crate) fn new(all: Vec<Parameter>) -> Self {
        Self { all }
    }

    /// Returns the variables of `map`, not copies, sorted by part and name. Training updates them in place, and `map` saves the
    /// trained values.
    ///
    /// Each name must begin with the part that the variable is trained with. `running_mean` and `running_var` of a batch norm
    /// are buffers.
    ///
    /// # Errors
    /// [`ParameterError::NoPart`] or [`ParameterError::WrongType`] for a variable that cannot be trained.
    pub fn of_var_map(map: &VarMap) -> std::result::Result<Self, ParameterError> {
        let vars = map.data().lock().map_err(|_| ParameterError::Poisoned)?;
        let parameter = |(name, var): (&String, &Var)| {
            let Some((part, _)) = Part::parse(name) else {
                return Err(ParameterError::NoPart(name.clone()));
            };
            fits(name, var, var.shape())?;
            let kind = ParameterKind::of_candle(name);
            Ok(Parameter { name: name.clone(), part, kind, var: var.clone() })
        };
        let mut all = vars.iter().map(parameter).collect::<std::result::Result<Vec<_>, _>>()?;
        all.sort_by(|a, b| (a.part, &a.name).cmp(&(b.part, &b.name)));
        Ok(Self { all })
    }

    /// Returns an iterator over all parameters, buffers included.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.all.iter()
    }

    /// Returns an iterator over the trainable parameters of `parts`, in order.
    pub fn trainable<'a>(&'a self, parts: &'a [Part]) -> impl Iterator<Item = &'a Parameter> {
        self.all.iter().filter(|parameter| {
            parameter.kind == ParameterKind::Trainable && parts.contains(&parameter.part)
        })
    }

    /// Returns the parameters of `parts`, buffers included, in order. They are the same variables.
    pub fn of_parts(&self, parts: &[Part]) -> Self {
        let of_parts = self.all.iter().filter(|parameter| parts.contains(&parameter.part));
        Self { all: of_parts.cloned().collect() }
    }

    /// Returns the number of values in the trainable parameters of one part.
    pub fn count(&self, part: Part) -> usize {
        self.trainable(&[part]).map(|parameter| parameter.var.elem_count()).sum()
    }

    /// Returns the parts that own at least one parameter, in order of first appearance.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for parameter in &self.all {
            if !parts.contains(&parameter.part) {
                parts.push(parameter.part);
            }
        }
        parts
    }

    /// Returns the values of all parameters by full name, buffers included. They share memory with the parameters.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let named =
            |parameter: &Parameter| (parameter.name.clone(), parameter.var.as_detached_tensor());
        self.all.iter().map(named).collect()
    }

    /// Sets all parameters, buffers included, to stored tensors, by full name.
    ///
    /// # Errors
    /// [`ParameterError`] for a tensor that is missing, has the wrong shape, is not f32, or is not a parameter. No parameter is
    /// changed then.
    pub fn set(
        &self,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> std::result::Result<(), ParameterError> {
        let mut values = Vec::with_capacity(self.all.len());
        for Parameter { name, var, .. } in &self.all {
            let tensor = tensors.remove(name);
            let tensor = tensor.ok_or_else(|| ParameterError::Missing(name.clone()))?;
            fits(name, &tensor, var.shape())?;
            values.push(tensor);
        }
        if let Some((name, _)) = tensors.pop_first() {
            return Err(ParameterError::Extra(name));
        }
        for (parameter, tensor) in self.all.iter().zip(values) {
            parameter.var.set(&tensor.to_device(parameter.var.device())?)?;
        }
        Ok(())
    }
}

/// Checks that a tensor can hold the values of the parameter `name`: it is f32 and has this shape.
pub(crate) fn fits(
    name: &str,
    tensor: &Tensor,
    shape: &Shape,
) -> std::result::Result<(), ParameterError> {
    if tensor.dtype() != DType::F32 {
        return Err(ParameterError::WrongType { name: name.into(), found: tensor.dtype() });
    }
    if tensor.shape() != shape {
        return Err(ParameterError::Misshapen {
            name: name.into(),
            found: tensor.dims().to_vec(),
            expected: shape.dims().to_vec(),
        });
    }
    Ok(())
}

/// One parameter of the blocks 1..=T, stacked into one tensor.
#[derive(Debug, Clone)]
pub struct StackedParameter {
    /// The stacked values, `[T, …]`.
    pub var: Var,
    /// The parameters of the blocks, block 1 first, each `[1, …]`.
    pub rows: Vec<Parameter>,
}

impl StackedParameter {
    /// Returns the role in training.
    pub fn kind(&self) -> ParameterKind {
        self.rows.first().map_or(ParameterKind::Buffer, |row| row.kind)
    }

    /// Copies the stacked values back to the blocks' parameters.
    ///
    /// # Errors
    /// candle's.
    pub fn write_back(&self) -> Result<()> {
        for (row, parameter) in self.rows.iter().enumerate() {
            parameter.var.set(&row_of(self.var.as_tensor(), row)?)?;
        }
        Ok(())
    }
}

/// Returns a copy [1, …] of row `row`, counted from 0, of `stacked` [T, …].
///
/// # Errors
/// candle's.
pub fn row_of(stacked: &Tensor, row: usize) -> Result<Tensor> {
    stacked.detach().narrow(0, row, 1)?.copy()
}

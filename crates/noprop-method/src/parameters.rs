//! A network's named variables.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Shape, Tensor, Var};
use candle_nn::VarMap;

use crate::Part;

/// The role of a parameter in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// Moved by the optimizer: it must receive a gradient.
    Trainable,
    /// Saved with the weights but not trained, such as the running statistics of a batch norm.
    Buffer,
}

impl ParameterKind {
    /// The role that candle-nn's name for a tensor stands for: `running_mean` and `running_var` of a batch norm are buffers, and
    /// everything else is trained.
    pub(crate) fn of_candle(name: &str) -> Self {
        match name.rsplit('.').next() {
            Some("running_mean" | "running_var") => Self::Buffer,
            _ => Self::Trainable,
        }
    }
}

/// One named variable.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Full name, such as `block.3.image.conv1.weight`.
    pub name: String,
    /// The part of the network it belongs to.
    pub part: Part,
    /// Its role in training.
    pub kind: ParameterKind,
    /// Its values, f32.
    pub var: Var,
}

/// A failure to build, collect or set parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// Stored weights lack a tensor.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// The tensor's name.
        name: String,
    },
    /// A stored tensor has another shape than the network needs.
    #[error("tensor `{name}` has shape {found:?} where the network needs {expected:?}")]
    Misshapen {
        /// The tensor's name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it must have.
        expected: Vec<usize>,
    },
    /// A tensor is not f32.
    #[error("tensor `{name}` is {found:?}, but parameters are F32")]
    WrongType {
        /// The tensor's name.
        name: String,
        /// Its element type.
        found: DType,
    },
    /// Stored weights hold a tensor that the network does not have.
    #[error("tensor `{name}` does not belong to this network")]
    Extra {
        /// The tensor's name.
        name: String,
    },
    /// Two parameters were given one name: a fault of the network's code.
    #[error("two parameters are named `{name}`")]
    Duplicate {
        /// The name in question.
        name: String,
    },
    /// A name does not begin with a [`Part`].
    #[error(
        "tensor `{name}` belongs to no part: its name must begin with encoder, embedding, schedule, block.T (T from 1) or readout"
    )]
    NoPart {
        /// The name in question.
        name: String,
    },
    /// A parameter was requested after all of them had been collected: it would never be trained.
    #[error("parameter `{name}` was requested after ParameterBuilder::finish")]
    Finished {
        /// The name in question.
        name: String,
    },
    /// A [`VarMap`] was left in the middle of a change.
    #[error("a thread panicked while it changed the VarMap")]
    Poisoned,
    /// candle refused.
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

/// A network's variables in a fixed order.
///
/// candle-nn's `VarMap` lists its variables in hash order and draws their values from a generator that cannot be seeded on the
/// CPU, so a run could not be repeated with it. [`ParameterBuilder`](crate::ParameterBuilder) makes variables in the order of the
/// calls, with values that depend on the seed and the name alone.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    all: Vec<Parameter>,
}

impl Parameters {
    pub(crate) fn new(all: Vec<Parameter>) -> Self {
        Self { all }
    }

    /// The variables of `map` themselves, by part and name: training moves them, and `map` saves what was trained.
    ///
    /// Each name must begin with the part that it is trained with. `running_mean` and `running_var` of a batch norm are buffers.
    ///
    /// # Errors
    /// [`ParameterError::NoPart`] or [`ParameterError::WrongType`] for a variable that cannot be trained.
    pub fn of_var_map(map: &VarMap) -> std::result::Result<Self, ParameterError> {
        let vars = map.data().lock().map_err(|_| ParameterError::Poisoned)?;
        let parameter = |(name, var): (&String, &Var)| {
            let Some((part, _)) = Part::parse(name) else {
                return Err(ParameterError::NoPart { name: name.clone() });
            };
            fits(name, var, var.shape())?;
            let kind = ParameterKind::of_candle(name);
            Ok(Parameter { name: name.clone(), part, kind, var: var.clone() })
        };
        let mut all = vars.iter().map(parameter).collect::<std::result::Result<Vec<_>, _>>()?;
        all.sort_by(|a, b| (a.part, &a.name).cmp(&(b.part, &b.name)));
        Ok(Self { all })
    }

    /// Every parameter, buffers included.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.all.iter()
    }

    /// The trainable parameters of some parts, in order.
    pub fn trainable<'a>(&'a self, parts: &'a [Part]) -> impl Iterator<Item = &'a Parameter> {
        self.all.iter().filter(|parameter| {
            parameter.kind == ParameterKind::Trainable && parts.contains(&parameter.part)
        })
    }

    /// The number of values in the trainable parameters of one part.
    pub fn count(&self, part: Part) -> usize {
        self.trainable(&[part]).map(|parameter| parameter.var.elem_count()).sum()
    }

    /// The parts that own at least one parameter, in order of first appearance.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for parameter in &self.all {
            if !parts.contains(&parameter.part) {
                parts.push(parameter.part);
            }
        }
        parts
    }

    /// The values of all parameters by full name, buffers included. They share memory with the parameters.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let named =
            |parameter: &Parameter| (parameter.name.clone(), parameter.var.as_detached_tensor());
        self.all.iter().map(named).collect()
    }

    /// Sets all parameters, buffers included, to stored tensors, by full name.
    ///
    /// # Errors
    /// [`ParameterError`] for a tensor that is missing, misshapen, not f32 or too many; no parameter is changed then.
    pub fn set(
        &self,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> std::result::Result<(), ParameterError> {
        let mut values = Vec::with_capacity(self.all.len());
        for Parameter { name, var, .. } in &self.all {
            let tensor = tensors.remove(name);
            let tensor = tensor.ok_or_else(|| ParameterError::Missing { name: name.clone() })?;
            fits(name, &tensor, var.shape())?;
            values.push(tensor);
        }
        if let Some((name, _)) = tensors.pop_first() {
            return Err(ParameterError::Extra { name });
        }
        for (parameter, tensor) in self.all.iter().zip(values) {
            parameter.var.set(&tensor.to_device(parameter.var.device())?)?;
        }
        Ok(())
    }
}

/// Refuses a tensor that cannot hold the values of the parameter `name`.
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

/// One parameter of blocks 1..=T in one tensor.
#[derive(Debug, Clone)]
pub struct StackedParameter {
    /// `[T, …]`.
    pub var: Var,
    /// The blocks' own, block 1 first, each `[1, …]`.
    pub rows: Vec<Parameter>,
}

impl StackedParameter {
    /// Its role in training.
    pub fn kind(&self) -> ParameterKind {
        self.rows.first().map_or(ParameterKind::Buffer, |row| row.kind)
    }

    /// Gives every block its values.
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

/// A copy [1, …] of row `row`, from 0, of `stacked` [T, …].
///
/// # Errors
/// candle's.
pub fn row_of(stacked: &Tensor, row: usize) -> Result<Tensor> {
    stacked.detach().narrow(0, row, 1)?.copy()
}

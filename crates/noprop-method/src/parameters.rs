//! Named variables in a fixed order, with initial values that depend on the seed and the name alone.
//!
//! candle's own `VarMap` lists its variables in hash order and draws their values from a generator that
//! cannot be seeded on the CPU, so a run could not be repeated with it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use noprop_kernels::random;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{MethodError, Seed, StackedParameter};

/// The part of a network that a parameter belongs to. Its name is the first word of the parameter's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The image encoder that all blocks share.
    Encoder,
    /// The matrix of class embeddings.
    Embedding,
    /// A noise schedule that is learned.
    Schedule,
    /// Block t, counted from 1.
    Block(usize),
    /// The layer from z_T to class logits.
    Readout,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoder => f.write_str("encoder"),
            Self::Embedding => f.write_str("embedding"),
            Self::Schedule => f.write_str("schedule"),
            Self::Block(t) => write!(f, "block.{t}"),
            Self::Readout => f.write_str("readout"),
        }
    }
}

impl FromStr for Part {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        let block =
            || name.strip_prefix("block.")?.parse().ok().filter(|&t| t > 0).map(Self::Block);
        let named = [Self::Encoder, Self::Embedding, Self::Schedule, Self::Readout];
        named.into_iter().find(|part| part.to_string() == name).or_else(block).ok_or_else(|| {
            MethodError::UnknownName {
                what: "part",
                name: name.into(),
                known: "encoder, embedding, schedule, block.1 and so on, readout",
            }
        })
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Whether the optimizer moves a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// Moved by the optimizer: it must receive a gradient.
    Trainable,
    /// Saved with the weights but not trained, such as the running statistics of a batch norm.
    Buffer,
}

/// Where a parameter's values come from before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// U(−1/√fan_in, 1/√fan_in): what PyTorch does for linear and convolution layers, weight and bias.
    FanIn(usize),
    /// A matrix [R, C] with orthogonal rows of this length, or with orthogonal columns and rows of that mean square length where
    /// R > C.
    Orthogonal(f32),
    /// N(0, length²/C) for a matrix [R, C]: rows of about this length.
    Random(f32),
}

/// One named variable.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Full name, such as `block.3.image.conv1.weight`.
    pub name: String,
    /// The part of the network it belongs to.
    pub part: Part,
    /// Whether it is trained.
    pub kind: ParameterKind,
    /// Its values, f32.
    pub var: Var,
}

/// Why parameters could not be built.
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
    /// A stored tensor is not f32.
    #[error("tensor `{name}` holds {found:?} where the network needs F32")]
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

enum Source {
    Seeded(Seed),
    Stored(BTreeMap<String, Tensor>),
    /// The parameters of so many blocks, to be stacked.
    Blocks(Parameters, usize),
}

struct Store {
    source: Source,
    built: Vec<Parameter>,
    stacked: Vec<StackedParameter>,
}

/// Hands out variables by name while a network is being built.
///
/// From a [`Seed`] the values are fresh; from stored tensors they are those tensors, checked for name, type and
/// shape, so that a network never takes more memory than the file it came from.
#[derive(Clone)]
pub struct ParameterBuilder {
    store: Arc<Mutex<Store>>,
    device: Device,
}

impl ParameterBuilder {
    /// Fresh values from a seed.
    pub fn seeded(seed: Seed, device: &Device) -> Self {
        Self::new(Source::Seeded(seed), device)
    }

    /// Values from stored tensors, by full name.
    pub fn stored(tensors: BTreeMap<String, Tensor>, device: &Device) -> Self {
        Self::new(Source::Stored(tensors), device)
    }

    /// For every parameter that is asked for in the name of block 1, a copy of those of blocks 1..=`blocks` side by side:
    /// [T, …] where [1, …] was asked for.
    pub fn stacking(parameters: &Parameters, blocks: usize, device: &Device) -> Self {
        Self::new(Source::Blocks(parameters.clone(), blocks), device)
    }

    /// What was stacked.
    pub fn into_stacked(self) -> Vec<StackedParameter> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut store.stacked)
    }

    fn new(source: Source, device: &Device) -> Self {
        Self {
            store: Arc::new(Mutex::new(Store { source, built: Vec::new(), stacked: Vec::new() })),
            device: device.clone(),
        }
    }

    /// The device on which variables are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether values are fresh from a seed, and not stored ones.
    pub fn is_fresh(&self) -> bool {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(store.source, Source::Seeded(_))
    }

    /// A variable for the optimizer, `name` given without its part (`image.conv1.weight`).
    ///
    /// # Errors
    /// [`ParameterError`] for a name used twice or a stored tensor that does not fit.
    pub fn trainable(
        &self,
        part: Part,
        name: &str,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Result<Tensor, ParameterError> {
        self.build(part, name, shape.into(), init, ParameterKind::Trainable)
            .map(|var| var.as_tensor().clone())
    }

    /// A variable that is saved but not trained.
    ///
    /// # Errors
    /// As for [`Self::trainable`].
    pub fn buffer(
        &self,
        part: Part,
        name: &str,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Result<Var, ParameterError> {
        self.build(part, name, shape.into(), init, ParameterKind::Buffer)
    }

    fn build(
        &self,
        part: Part,
        name: &str,
        shape: Shape,
        init: Init,
        kind: ParameterKind,
    ) -> Result<Var, ParameterError> {
        let name = format!("{part}.{name}");
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.built.iter().any(|parameter| parameter.name == name) {
            return Err(ParameterError::Duplicate { name });
        }
        let tensor = match &mut store.source {
            Source::Seeded(seed) => initial(*seed, &name, &shape, init, &self.device)?,
            Source::Stored(tensors) => {
                let Some(tensor) = tensors.remove(&name) else {
                    return Err(ParameterError::Missing { name });
                };
                if tensor.dtype() != DType::F32 {
                    let found = tensor.dtype();
                    return Err(ParameterError::WrongType { name, found });
                }
                if tensor.shape() != &shape {
                    return Err(ParameterError::Misshapen {
                        name,
                        found: tensor.dims().to_vec(),
                        expected: shape.into_dims(),
                    });
                }
                tensor.to_device(&self.device)?
            }
            Source::Blocks(parameters, blocks) => {
                let first = Part::Block(1).to_string();
                let rest = name.strip_prefix(&first).unwrap_or(&name);
                let row = |block: usize| {
                    let name = format!("{}{rest}", Part::Block(block));
                    let row = parameters.iter().find(|parameter| parameter.name == name).cloned();
                    row.ok_or(ParameterError::Missing { name })
                };
                let rows = (1..=*blocks).map(row).collect::<Result<Vec<_>, _>>()?;
                let values: Vec<_> = rows.iter().map(|row| row.var.as_detached_tensor()).collect();
                let var = Var::from_tensor(&Tensor::cat(&values, 0)?)?;
                store.stacked.push(StackedParameter { var: var.clone(), rows });
                return Ok(var);
            }
        };
        let var = Var::from_tensor(&tensor)?;
        store.built.push(Parameter { name, part, kind, var: var.clone() });
        Ok(var)
    }

    /// Everything built so far.
    ///
    /// # Errors
    /// [`ParameterError::Extra`] if stored tensors are left that nothing asked for.
    pub fn finish(self) -> Result<Parameters, ParameterError> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Source::Stored(tensors) = &store.source
            && let Some(name) = tensors.keys().next()
        {
            return Err(ParameterError::Extra { name: name.clone() });
        }
        Ok(Parameters { all: store.built.clone() })
    }
}

fn initial(
    seed: Seed,
    name: &str,
    shape: &Shape,
    init: Init,
    device: &Device,
) -> candle_core::Result<Tensor> {
    match init {
        Init::Constant(value) => Tensor::full(value, shape, device),
        Init::FanIn(fan_in) => {
            let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
            random::uniform(seed.init(name), shape.clone(), device)?.affine(2.0 * bound, -bound)
        }
        Init::Random(length) => {
            let (_, columns) = shape.dims2()?;
            random::normal(seed.init(name), shape.clone(), device)?
                * (f64::from(length) / (columns.max(1) as f64).sqrt())
        }
        Init::Orthogonal(length) => {
            let length = f64::from(length);
            let (rows, columns) = shape.dims2()?;
            let draws = random::normal(seed.init(name), shape.clone(), device)?;
            if rows <= columns {
                return orthonormal_rows(&draws)? * length;
            }
            orthonormal_rows(&draws.t()?)?.t()?.contiguous()?
                * (length * (rows as f64 / columns as f64).sqrt())
        }
    }
}

/// Gram and Schmidt's rows, each cleared of those before it, in f64.
fn orthonormal_rows(draws: &Tensor) -> candle_core::Result<Tensor> {
    let mut rows = draws.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    for index in 0..rows.len() {
        let (before, rest) = rows.split_at_mut(index);
        let Some(row) = rest.first_mut() else { continue };
        for other in before {
            let along: f64 = row.iter().zip(&*other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(&*other).for_each(|(a, b)| *a -= along * b);
        }
        let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        row.iter_mut().for_each(|a| *a /= length);
    }
    Tensor::new(rows, draws.device())?.to_dtype(DType::F32)
}

/// A network's variables in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    all: Vec<Parameter>,
}

impl Parameters {
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

    /// How many numbers the trainable parameters of one part hold.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Part = Part::Block(3);

    fn build(builder: &ParameterBuilder) -> Result<Tensor, ParameterError> {
        builder.trainable(BLOCK, "fc.weight", (4, 9), Init::FanIn(9))
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A block must start from the same weights whatever else the network contains.
    #[test]
    fn initial_values_depend_on_seed_and_name_alone() {
        let alone = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        let alone = build(&alone).unwrap();
        let builder = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        builder.trainable(Part::Encoder, "fc.weight", (4, 9), Init::FanIn(9)).unwrap();
        let after_another = build(&builder).unwrap();
        assert_eq!(values(&alone), values(&after_another));
        let other_seed = ParameterBuilder::seeded(Seed(2), &Device::Cpu);
        assert_ne!(values(&alone), values(&build(&other_seed).unwrap()));
        let bound = 1.0 / 3.0;
        assert!(values(&alone).iter().all(|v| v.abs() <= bound));
        assert!(values(&alone).iter().any(|v| v.abs() > bound / 2.0));
    }

    #[test]
    fn orthogonal_rows_are_orthogonal_and_of_length_one() {
        let builder = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        let wide = builder.trainable(Part::Embedding, "a", (4, 9), Init::Orthogonal(1.0)).unwrap();
        let products = wide.matmul(&wide.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
        for (i, row) in products.iter().enumerate() {
            for (j, product) in row.iter().enumerate() {
                assert!((product - if i == j { 1.0 } else { 0.0 }).abs() < 1e-6, "{i} {j}");
            }
        }
        let tall = builder.trainable(Part::Embedding, "b", (9, 4), Init::Orthogonal(1.0)).unwrap();
        let square = tall.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((square - 9.0).abs() < 1e-5, "mean square length 1: {square}");
    }

    #[test]
    fn stored_tensors_must_fit_exactly() {
        let stored = |shape: (usize, usize), name: &str| {
            let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            ParameterBuilder::stored([(name.to_owned(), tensor)].into(), &Device::Cpu)
        };
        let name = "block.3.fc.weight";
        let fits = stored((4, 9), name);
        build(&fits).unwrap();
        fits.finish().unwrap();
        assert!(matches!(
            build(&stored((4, 9), "block.4.fc.weight")),
            Err(ParameterError::Missing { .. })
        ));
        assert!(matches!(build(&stored((9, 4), name)), Err(ParameterError::Misshapen { .. })));
        assert!(matches!(stored((4, 9), name).finish(), Err(ParameterError::Extra { .. })));
    }
}

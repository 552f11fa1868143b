//! Variables by name, created while a network is built.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::parameters::fits;
use crate::{
    Init, Parameter, ParameterError, ParameterKind, Parameters, Part, Seed, StackedParameter,
};

/// The source of the values.
enum Source {
    Seeded(Seed),
    Stored(BTreeMap<String, Tensor>),
    /// The parameters of this number of blocks, which are to be stacked.
    Blocks(Parameters, usize),
    /// No source: all parameters have been collected.
    Finished,
}

struct Store {
    source: Source,
    built: Vec<Parameter>,
    stacked: Vec<StackedParameter>,
}

/// Creates variables by name while a network is built.
///
/// With a [`Seed`] the values are fresh. They depend only on the seed and the full name, not on the order of the calls. With
/// stored tensors the values are those tensors, checked for name, type and shape, so a network never takes more memory than the
/// file that it is loaded from.
///
/// Layers of candle-nn are built through [`Self::var_builder`]:
///
/// ```
/// use candle_core::Device;
/// use candle_nn::{batch_norm, linear};
/// use noprop_method::{ParameterBuilder, Part, Seed};
///
/// let source = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
/// let vb = source.var_builder();
/// let fc = linear(794, 64, vb.pp("block.1.fc"))?;
/// let norm = batch_norm(64, 1e-5, vb.pp("block.1.norm"))?;
/// let readout = linear(10, 10, vb.pp("readout"))?;
/// let parameters = source.finish()?;
/// assert_eq!(parameters.parts(), [Part::Block(1), Part::Readout]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ParameterBuilder {
    store: Arc<Mutex<Store>>,
    device: Device,
}

impl ParameterBuilder {
    /// Returns a builder with fresh values from a seed.
    pub fn seeded(seed: Seed, device: &Device) -> Self {
        Self::new(Source::Seeded(seed), device)
    }

    /// Returns a builder with values from stored tensors, by full name.
    pub fn stored(tensors: BTreeMap<String, Tensor>, device: &Device) -> Self {
        Self::new(Source::Stored(tensors), device)
    }

    /// Returns a builder that stacks blocks. For every requested parameter of block 1, [1, …], it copies this parameter of the
    /// blocks 1..=`blocks` into one tensor [T, …].
    pub fn stacking(parameters: &Parameters, blocks: usize, device: &Device) -> Self {
        Self::new(Source::Blocks(parameters.clone(), blocks), device)
    }

    /// Returns the parameters that a builder made by [`Self::stacking`] has stacked.
    pub fn into_stacked(self) -> Vec<StackedParameter> {
        std::mem::take(&mut self.lock().stacked)
    }

    fn new(source: Source, device: &Device) -> Self {
        Self {
            store: Arc::new(Mutex::new(Store { source, built: Vec::new(), stacked: Vec::new() })),
            device: device.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the device on which variables are created.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns whether values are fresh from a seed.
    pub fn is_fresh(&self) -> bool {
        matches!(self.lock().source, Source::Seeded(_))
    }

    /// Returns a candle-nn `VarBuilder` over the same variables, for `candle_nn::linear`, `conv2d`, `batch_norm` and every
    /// other layer.
    ///
    /// A name must begin with the [`Part`] that the variable is trained with: `block.3.fc.weight`. The same name always gives
    /// the same variable, so layers can share weights. `running_mean` and `running_var` of a batch norm are buffers: they are
    /// saved and restored with the weights, and are not trained. Initial values follow candle-nn's distributions, drawn from
    /// this builder's seed. As with a `VarMap`, `contains_tensor` is true for tensors that are stored or were created before.
    ///
    /// Its calls return candle errors that wrap a [`ParameterError`].
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, self.device.clone())
    }

    /// Creates a variable for the optimizer. `name` is the name without the part (`image.conv1.weight`).
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

    /// Creates a variable that is saved but not trained.
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
        let mut store = self.lock();
        match store.find(&name) {
            Some(_) => Err(ParameterError::Duplicate(name)),
            None => store.make(part, name, shape, init, kind, &self.device),
        }
    }

    /// Returns all parameters created so far. No more can be created afterwards.
    ///
    /// # Errors
    /// [`ParameterError::Extra`] if a stored tensor was not used.
    pub fn finish(self) -> Result<Parameters, ParameterError> {
        let mut store = self.lock();
        if let Source::Stored(tensors) = &store.source
            && let Some(name) = tensors.keys().next()
        {
            return Err(ParameterError::Extra(name.clone()));
        }
        store.source = Source::Finished;
        Ok(Parameters::new(std::mem::take(&mut store.built)))
    }
}

impl Store {
    fn find(&self, name: &str) -> Option<&Parameter> {
        self.built.iter().find(|parameter| parameter.name == name)
    }

    /// Creates the variable `name` (the full name), which must not exist yet.
    fn make(
        &mut self,
        part: Part,
        name: String,
        shape: Shape,
        init: Init,
        kind: ParameterKind,
        device: &Device,
    ) -> Result<Var, ParameterError> {
        let tensor = match &mut self.source {
            Source::Seeded(seed) => init.draw(seed.init(&name), &shape, device)?,
            Source::Stored(tensors) => {
                let Some(tensor) = tensors.remove(&name) else {
                    return Err(ParameterError::Missing(name));
                };
                fits(&name, &tensor, &shape)?;
                tensor.to_device(device)?
            }
            Source::Blocks(parameters, blocks) => {
                let first = Part::Block(1).to_string();
                let rest = name.strip_prefix(&first).unwrap_or(&name);
                let row = |block: usize| {
                    let name = format!("{}{rest}", Part::Block(block));
                    let row = parameters.iter().find(|parameter| parameter.name == name).cloned();
                    row.ok_or(ParameterError::Missing(name))
                };
                let rows = (1..=*blocks).map(row).collect::<Result<Vec<_>, _>>()?;
                let values: Vec<_> = rows.iter().map(|row| row.var.as_detached_tensor()).collect();
                let var = Var::from_tensor(&Tensor::cat(&values, 0)?)?;
                self.stacked.push(StackedParameter { var: var.clone(), rows });
                return Ok(var);
            }
            Source::Finished => return Err(ParameterError::Finished(name)),
        };
        let var = Var::from_tensor(&tensor)?;
        self.built.push(Parameter { name, part, kind, var: var.clone() });
        Ok(var)
    }
}

impl SimpleBackend for ParameterBuilder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: candle_nn::Init,
        dtype: DType,
        _: &Device,
    ) -> candle_core::Result<Tensor> {
        if dtype != DType::F32 {
            return Err(ParameterError::WrongType { name: name.into(), found: dtype }.into());
        }
        let mut store = self.lock();
        if let Some(parameter) = store.find(name) {
            fits(name, &parameter.var, &shape)?;
            return Ok(parameter.var.as_tensor().clone());
        }
        let Some((part, _)) = Part::parse(name) else {
            return Err(ParameterError::NoPart(name.into()).into());
        };
        let (init, kind) = (Init::of_candle(init, &shape), ParameterKind::of_candle(name));
        let var = store.make(part, name.into(), shape, init, kind, &self.device)?;
        Ok(var.as_tensor().clone())
    }

    fn get_unchecked(
        &self,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let shape = {
            let store = self.lock();
            let stored = match &store.source {
                Source::Stored(tensors) => tensors.get(name).map(Tensor::shape),
                Source::Seeded(_) | Source::Blocks(..) | Source::Finished => None,
            };
            let shape = stored.or_else(|| store.find(name).map(|parameter| parameter.var.shape()));
            shape.cloned().ok_or_else(|| ParameterError::Missing(name.into()))?
        };
        self.get(shape, name, candle_nn::Init::default(), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        let store = self.lock();
        let stored = matches!(&store.source, Source::Stored(tensors) if tensors.contains_key(name));
        stored || store.find(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use candle_nn::{Module, ModuleT};

    use super::*;

    const BLOCK: Part = Part::Block(3);

    fn fresh(seed: u64) -> ParameterBuilder {
        ParameterBuilder::seeded(Seed(seed), &Device::Cpu)
    }

    fn build(builder: &ParameterBuilder) -> Result<Tensor, ParameterError> {
        builder.trainable(BLOCK, "fc.weight", (4, 9), Init::FanIn(9))
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A block must start from the same weights for any other content of the network.
    #[test]
    fn initial_values_depend_on_seed_and_name_alone() {
        let alone = build(&fresh(1)).unwrap();
        let builder = fresh(1);
        builder.trainable(Part::Encoder, "fc.weight", (4, 9), Init::FanIn(9)).unwrap();
        let after_another = build(&builder).unwrap();
        assert_eq!(values(&alone), values(&after_another));
        assert_ne!(values(&alone), values(&build(&fresh(2)).unwrap()));
        let bound = 1.0 / 3.0;
        assert!(values(&alone).iter().all(|v| v.abs() <= bound));
        assert!(values(&alone).iter().any(|v| v.abs() > bound / 2.0));
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
            Err(ParameterError::Missing(_))
        ));
        assert!(matches!(build(&stored((9, 4), name)), Err(ParameterError::Misshapen { .. })));
        assert!(matches!(stored((4, 9), name).finish(), Err(ParameterError::Extra(_))));
    }

    /// Builds blocks from candle-nn's layers, and returns the output in training for an input of ones.
    fn candle_network(source: &ParameterBuilder, blocks: &[usize]) -> candle_core::Result<Tensor> {
        let vb = source.var_builder();
        let mut x = Tensor::ones((3, 4), DType::F32, &Device::Cpu)?;
        for block in blocks {
            let vb = vb.pp("block").pp(block);
            let fc = candle_nn::linear(4, 4, vb.pp("fc"))?;
            let norm = candle_nn::batch_norm(4, 1e-5, vb.pp("norm"))?;
            x = norm.forward_t(&fc.forward(&x)?, true)?;
        }
        Ok(x)
    }

    /// Returns the parameters of [`candle_network`] with fresh values.
    fn candle_parameters(seed: u64, blocks: &[usize]) -> Parameters {
        let source = fresh(seed);
        candle_network(&source, blocks).unwrap();
        source.finish().unwrap()
    }

    fn by_name(parameters: &Parameters) -> BTreeMap<String, Vec<f32>> {
        let tensors = parameters.tensors().into_iter();
        tensors.map(|(name, tensor)| (name, values(&tensor))).collect()
    }

    /// A block must start from the same weights for any order in which layers are built.
    #[test]
    fn candles_layers_start_from_seed_and_name_alone() {
        let made = |seed, blocks: &[usize]| by_name(&candle_parameters(seed, blocks));
        let forwards = made(1, &[1, 2]);
        assert_eq!(forwards.len(), 2 * 6);
        let backwards = made(1, &[2, 1]);
        assert!(forwards.keys().eq(backwards.keys()));
        let name = "block.1.fc.weight";
        assert_eq!(forwards[name], backwards[name]);
        assert_ne!(forwards[name], made(2, &[1, 2])[name]);
        assert_ne!(forwards[name], forwards["block.2.fc.weight"]);
    }

    /// If running statistics were trained, weight decay would change them. If they were not saved, evaluation would differ
    /// after a resume.
    #[test]
    fn running_statistics_are_buffers_that_follow_the_batch() {
        let parameters = candle_parameters(1, &[1]);
        let buffers = parameters.iter().filter(|p| p.kind == ParameterKind::Buffer);
        let buffers: Vec<_> = buffers.map(|p| (p.name.as_str(), values(&p.var))).collect();
        assert_eq!(buffers[0].0, "block.1.norm.running_mean");
        assert_eq!(buffers[1].0, "block.1.norm.running_var");
        assert_eq!(buffers.len(), 2);
        // The layer writes into the parameter itself.
        assert!(buffers[0].1.iter().any(|mean| *mean != 0.0), "{buffers:?}");
    }

    #[test]
    fn the_same_name_gives_the_same_variable() {
        let source = fresh(1);
        let vb = source.var_builder();
        let a = vb.get((2, 3), "encoder.tied").unwrap();
        let b = vb.get((2, 3), "encoder.tied").unwrap();
        assert_eq!(a.id(), b.id());
        assert!(vb.contains_tensor("encoder.tied") && !vb.contains_tensor("encoder.other"));
        assert!(vb.get((3, 2), "encoder.tied").is_err(), "another shape");
        assert_eq!(source.finish().unwrap().iter().count(), 1);
    }

    /// A variable that is not in the parameters would never be trained.
    #[test]
    fn names_without_a_part_and_late_names_are_refused() {
        let source = fresh(1);
        let vb = source.var_builder();
        let error = vb.get(3, "fc.weight").unwrap_err().to_string();
        assert!(error.contains("must begin with encoder"), "{error}");
        assert!(vb.to_dtype(DType::F64).get(3, "encoder.fc").is_err());
        source.finish().unwrap();
        let error = vb.get(3, "encoder.fc").unwrap_err().to_string();
        assert!(error.contains("after ParameterBuilder::finish"), "{error}");
    }

    /// Stored weights must give the network from which they were saved.
    #[test]
    fn candles_layers_are_built_from_stored_tensors() {
        let tensors: BTreeMap<_, _> = candle_parameters(1, &[1, 2]).tensors().into_iter().collect();
        let stored = ParameterBuilder::stored(tensors.clone(), &Device::Cpu);
        let unchecked = stored.var_builder().get_unchecked("block.2.fc.bias").unwrap();
        assert_eq!(unchecked.dims(), [4]);
        let out = candle_network(&stored, &[1, 2]).unwrap();
        let again = ParameterBuilder::stored(tensors, &Device::Cpu);
        assert_eq!(values(&out), values(&candle_network(&again, &[1, 2]).unwrap()));
        assert_eq!(stored.finish().unwrap().iter().count(), 12);
    }

    /// candle-nn's map lists variables in a different order in every process; training must use a fixed order.
    #[test]
    fn a_var_map_is_trained_in_a_fixed_order() {
        let map = candle_nn::VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        for prefix in ["readout", "block.10.fc", "block.2.fc", "encoder.fc"] {
            candle_nn::linear(2, 2, vb.pp(prefix)).unwrap();
        }
        candle_nn::batch_norm(2, 1e-5, vb.pp("block.2.norm")).unwrap();
        let parameters = Parameters::of_var_map(&map).unwrap();
        let names: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let expected = [
            "encoder.fc.bias",
            "encoder.fc.weight",
            "block.2.fc.bias",
            "block.2.fc.weight",
            "block.2.norm.bias",
            "block.2.norm.running_mean",
            "block.2.norm.running_var",
            "block.2.norm.weight",
            "block.10.fc.bias",
            "block.10.fc.weight",
            "readout.bias",
            "readout.weight",
        ];
        assert_eq!(names, expected);
        assert_eq!(parameters.trainable(&[Part::Block(2)]).count(), 4);
        // The variables are those of the map, not copies.
        let ones = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
        parameters.iter().next().unwrap().var.set(&ones).unwrap();
        let bias = map.data().lock().unwrap()["encoder.fc.bias"].as_detached_tensor();
        assert_eq!(values(&bias), [1.0, 1.0]);

        candle_nn::linear(2, 2, vb.pp("fc")).unwrap();
        let refused = Parameters::of_var_map(&map);
        assert!(matches!(refused, Err(ParameterError::NoPart(_))), "{refused:?}");
    }

    /// A file that does not fit must not change some of the network's parameters.
    #[test]
    fn parameters_are_set_all_or_none() {
        let (one, two) = (candle_parameters(1, &[1]), candle_parameters(2, &[1]));
        let tensors: BTreeMap<_, _> = two.tensors().into_iter().collect();
        let before = by_name(&one);
        let last = "block.1.norm.bias".to_owned();
        let changed = |value: Option<Tensor>| {
            let mut tensors = tensors.clone();
            match value {
                Some(value) => tensors.insert(last.clone(), value),
                None => tensors.remove(&last),
            };
            one.set(tensors)
        };
        let shaped = |dtype| Tensor::zeros(4, dtype, &Device::Cpu).unwrap();
        assert!(matches!(changed(None), Err(ParameterError::Missing(_))));
        assert!(matches!(
            changed(Some(Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap())),
            Err(ParameterError::Misshapen { .. })
        ));
        assert!(matches!(changed(Some(shaped(DType::F64))), Err(ParameterError::WrongType { .. })));
        let mut more = tensors.clone();
        more.insert("block.2.fc.weight".into(), shaped(DType::F32));
        assert!(matches!(one.set(more), Err(ParameterError::Extra(_))));
        assert_eq!(by_name(&one), before);
        one.set(tensors).unwrap();
        assert_eq!(by_name(&one), by_name(&two));
    }
}

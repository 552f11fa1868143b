//! The tensors of a checkpoint: a unit's weights, buffers and moments, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use noprop_kernels::optim::Moments;
use noprop_method::{Denoiser, Parameter, Part};

use crate::unit_state::UnitState;
use crate::{TrainError, Unit, WeightsError, read_weights};

/// The tensors of a file that are not yet restored.
pub(crate) struct Stored {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    /// The text that was written with the tensors.
    pub metadata: Option<String>,
}

impl Stored {
    /// Reads a weights file or a unit's state file.
    ///
    /// # Errors
    /// [`WeightsError`].
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let stored = read_weights(path)?;
        Ok(Self { path: path.into(), tensors: stored.tensors, metadata: stored.metadata })
    }

    /// Sets `parameters` to the stored values.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] for a tensor that is missing or has the wrong shape.
    pub fn restore(&mut self, parameters: &[Parameter]) -> Result<(), TrainError> {
        for parameter in parameters {
            let tensor = self.take(&parameter.name)?;
            if tensor.shape() != parameter.var.shape() {
                let (name, found, expected) =
                    (&parameter.name, tensor.dims(), parameter.var.dims());
                return Err(self.mismatch(format!(
                    "tensor `{name}` has shape {found:?} where {expected:?} is needed"
                )));
            }
            parameter.var.set(&tensor.to_device(parameter.var.device())?)?;
        }
        Ok(())
    }

    /// Restores the weights, buffers and moments of a unit, and sets it to `position`. An epoch has `steps` steps.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] unless the file holds the unit's tensors and nothing else.
    pub fn restore_unit(
        &mut self,
        network: &dyn Denoiser,
        state: &mut UnitState,
        position: u64,
        steps: u32,
    ) -> Result<(), TrainError> {
        self.restore(&owned(network, state.unit))?;
        let done: Vec<u64> =
            state.parts.iter().map(|part| state.steps_of(part.part, position, steps)).collect();
        for (part, done) in state.parts.iter_mut().zip(done) {
            let mut moments = Vec::with_capacity(part.trained.len());
            for Parameter { name, .. } in &part.trained {
                let first = self.take(&moment("m", name))?;
                let second = self.take(&moment("v", name))?;
                moments.push(Moments { name: name.clone(), first, second });
            }
            part.adam.restore(done, moments)?;
        }
        if let Some(name) = self.tensors.keys().next() {
            return Err(self.mismatch(format!("tensor `{name}` does not belong to it")));
        }
        state.position = position;
        Ok(())
    }

    fn take(&mut self, name: &str) -> Result<Tensor, TrainError> {
        let tensor = self.tensors.remove(name);
        tensor.ok_or_else(|| self.mismatch(format!("tensor `{name}` is missing")))
    }

    fn mismatch(&self, reason: String) -> TrainError {
        WeightsError::Mismatch { path: self.path.clone(), reason }.into()
    }
}

/// Returns the weights, buffers and moments of a unit.
pub(crate) fn tensors(network: &dyn Denoiser, state: &UnitState) -> Vec<(String, Tensor)> {
    let mut tensors: Vec<_> = owned(network, state.unit).iter().map(named).collect();
    for (name, m, v) in state.parts.iter().flat_map(|part| part.adam.moments()) {
        tensors.push((moment("m", name), m.clone()));
        tensors.push((moment("v", name), v.clone()));
    }
    tensors
}

/// Returns all parameters of the parts that a unit owns, buffers included.
pub(crate) fn owned(network: &dyn Denoiser, unit: Unit) -> Vec<Parameter> {
    let parts: Vec<Part> = unit.parts();
    let all = network.parameters().iter();
    all.filter(|parameter| parts.contains(&parameter.part)).cloned().collect()
}

/// Returns the name and the values of a parameter.
pub(crate) fn named(parameter: &Parameter) -> (String, Tensor) {
    (parameter.name.clone(), parameter.var.as_detached_tensor())
}

fn moment(which: &str, name: &str) -> String {
    format!("adam.{which}.{name}")
}

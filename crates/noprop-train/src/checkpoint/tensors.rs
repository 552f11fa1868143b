//! The tensors of a unit's checkpoint: weights, buffers and moments, by name.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use noprop_kernels::optim::Moments;
use noprop_method::{Denoiser, Parameter};

use crate::unit_state::UnitState;
use crate::{TrainError, WeightsError};

/// Restores the weights, buffers and moments of a unit from `tensors`, which were read from the file `path`, and sets it to
/// `position`. An epoch has `steps` steps.
///
/// # Errors
/// [`WeightsError::Mismatch`] unless the file holds the unit's tensors and nothing else.
pub(super) fn restore_unit(
    path: &Path,
    mut tensors: BTreeMap<String, Tensor>,
    network: &dyn Denoiser,
    state: &mut UnitState,
    position: u64,
    steps: u32,
) -> Result<(), TrainError> {
    let mismatch = |reason| WeightsError::Mismatch { path: path.into(), reason };
    let mut take = |which: &str, name: &str| {
        let name = moment(which, name);
        tensors.remove(&name).ok_or_else(|| mismatch(format!("tensor `{name}` is missing")))
    };
    for index in 0..state.parts.len() {
        let done = state.steps_of(state.parts[index].part, position, steps);
        let part = &mut state.parts[index];
        let done = done.saturating_sub(part.missed);
        let mut moments = Vec::with_capacity(part.trained.len());
        for Parameter { name, .. } in &part.trained {
            let (first, second) = (take("m", name)?, take("v", name)?);
            moments.push(Moments { name: name.clone(), first, second });
        }
        part.adam.restore(done, moments)?;
    }
    let owned = network.parameters().of_parts(&state.unit.parts());
    owned.set(tensors).map_err(|error| mismatch(error.to_string()))?;
    state.position = position;
    Ok(())
}

/// Returns the weights, buffers and moments of a unit.
pub(super) fn tensors(network: &dyn Denoiser, state: &UnitState) -> Vec<(String, Tensor)> {
    let mut tensors = network.parameters().of_parts(&state.unit.parts()).tensors();
    for (name, m, v) in state.parts.iter().flat_map(|part| part.adam.moments()) {
        tensors.push((moment("m", name), m.clone()));
        tensors.push((moment("v", name), v.clone()));
    }
    tensors
}

fn moment(which: &str, name: &str) -> String {
    format!("adam.{which}.{name}")
}

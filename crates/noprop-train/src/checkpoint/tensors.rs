//! The tensors of a unit's checkpoint: weights, buffers, moments and averages, by name.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use noprop_kernels::optim::{Averages, Moments};
use noprop_method::{Denoiser, Parameter};

use crate::unit_state::UnitState;
use crate::{TrainError, WeightsError};

/// Restores the weights, buffers, moments and averages of a unit from `tensors`, which were read from the file `path`, and sets
/// it to `position`. An epoch has `steps` steps.
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
    let mut take = |name: String| {
        tensors.remove(&name).ok_or_else(|| mismatch(format!("tensor `{name}` is missing")))
    };
    for index in 0..state.parts.len() {
        let done = state.steps_of(state.parts[index].part, position, steps);
        let part = &mut state.parts[index];
        let done = done.saturating_sub(part.missed);
        let mut moments = Vec::with_capacity(part.trained.len());
        for Parameter { name, .. } in &part.trained {
            let (first, second) = (take(moment("m", name))?, take(moment("v", name))?);
            moments.push(Moments { name: name.clone(), first, second });
        }
        part.adam.restore(done, moments)?;
        if let Some(averages) = &mut part.averages {
            let names = averages.iter().map(|(name, _)| name.to_owned());
            let saved = names.map(|name| Ok((name.clone(), take(average(&name))?)));
            let saved = saved.collect::<Result<_, WeightsError>>()?;
            averages.restore(saved)?;
        }
    }
    let owned = network.parameters().of_parts(&state.unit.parts());
    owned.set(tensors).map_err(|error| mismatch(error.to_string()))?;
    state.position = position;
    Ok(())
}

/// Returns the weights, buffers, moments and averages of a unit.
pub(super) fn tensors(network: &dyn Denoiser, state: &UnitState) -> Vec<(String, Tensor)> {
    let mut tensors = network.parameters().of_parts(&state.unit.parts()).tensors();
    for (name, m, v) in state.parts.iter().flat_map(|part| part.adam.moments()) {
        tensors.push((moment("m", name), m.clone()));
        tensors.push((moment("v", name), v.clone()));
    }
    let averages = state.parts.iter().filter_map(|part| part.averages.as_ref());
    for (name, value) in averages.flat_map(Averages::iter) {
        tensors.push((average(name), value.clone()));
    }
    tensors
}

fn moment(which: &str, name: &str) -> String {
    format!("adam.{which}.{name}")
}

fn average(name: &str) -> String {
    format!("average.{name}")
}

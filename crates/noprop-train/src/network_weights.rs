//! Saves and loads the weights of an existing network, in place.

use std::path::Path;

use noprop_method::Parameters;

use crate::{WeightsError, read_weights, write_weights};

/// Writes all parameters, buffers included, to a safetensors file, by full name and atomically. The same values give the same
/// bytes.
///
/// # Errors
/// [`WeightsError::Write`]. An existing file is then unchanged.
pub fn save_weights(path: &Path, parameters: &Parameters) -> Result<(), WeightsError> {
    write_weights(path, &parameters.tensors(), "")
}

/// Sets all parameters, buffers included, to the tensors of a safetensors file, by full name. The parameters stay on their
/// device.
///
/// # Errors
/// [`WeightsError`], which names the file and the fault, for example [`WeightsError::Mismatch`] for a tensor that is missing,
/// has the wrong shape or is not a parameter. No parameter is changed then.
pub fn load_weights(path: &Path, parameters: &Parameters) -> Result<(), WeightsError> {
    let stored = read_weights(path)?;
    parameters
        .set(stored.tensors)
        .map_err(|error| WeightsError::Mismatch { path: path.into(), reason: error.to_string() })
}

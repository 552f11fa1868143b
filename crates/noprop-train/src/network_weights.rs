//! The weights of a network that is already built, saved and loaded in place.

use std::path::Path;

use noprop_method::Parameters;

use crate::{WeightsError, read_weights, write_weights};

/// Writes all parameters, buffers included, to a safetensors file, by full name and atomically. The same values give the same bytes.
///
/// # Errors
/// [`WeightsError::Write`]; a file that was there is then untouched.
pub fn save_weights(path: &Path, parameters: &Parameters) -> Result<(), WeightsError> {
    write_weights(path, &parameters.tensors(), "")
}

/// Sets all parameters, buffers included, to the tensors of a safetensors file, by full name. The parameters stay on their device.
///
/// # Errors
/// [`WeightsError`], naming the file and what is wrong with it: among others [`WeightsError::Mismatch`] for a tensor that is missing,
/// misshapen or too many. No parameter is changed then.
pub fn load_weights(path: &Path, parameters: &Parameters) -> Result<(), WeightsError> {
    let stored = read_weights(path)?;
    parameters
        .set(stored.tensors)
        .map_err(|error| WeightsError::Mismatch { path: path.into(), reason: error.to_string() })
}

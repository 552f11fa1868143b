//! The digits that are part of the package.

use noprop_data::{DataError, Dataset, Split};
use numpy::ndarray::{Array1, Array3};
use numpy::{IntoPyArray, PyArray1, PyArray3};
use pyo3::prelude::*;

use crate::errors::NoPropError;

/// Images [n, 28, 28] and labels [n].
type Images<'py> = (Bound<'py, PyArray3<u8>>, Bound<'py, PyArray1<u32>>);

/// The bundled digits of MNIST: images [4000, 28, 28] of bytes and labels [4000] to train on, and 1,000 of each to test on.
#[pyfunction]
pub fn mnist_sample(py: Python<'_>) -> PyResult<(Images<'_>, Images<'_>)> {
    let failed = |error: DataError| NoPropError::new_err(error.to_string());
    let Dataset { train, test, .. } = py.detach(Dataset::mnist_sample).map_err(failed)?;
    let arrays = |split: &Split| -> PyResult<Images<'_>> {
        let (_, height, width) = split.image_shape().map_err(failed)?;
        let labels = split.labels.to_vec1::<u32>().map_err(|error| failed(error.into()))?;
        let mut pixels = Vec::with_capacity(split.len() * height * width);
        for (image, _) in (0..).zip(&labels) {
            pixels.extend(split.picture(image).map_err(failed)?);
        }
        let images = Array3::from_shape_vec((split.len(), height, width), pixels)
            .map_err(|error| NoPropError::new_err(error.to_string()))?;
        Ok((images.into_pyarray(py), Array1::from_vec(labels).into_pyarray(py)))
    };
    Ok((arrays(&train)?, arrays(&test)?))
}

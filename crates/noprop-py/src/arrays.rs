//! NumPy's arrays as images. An array is read where it is, whatever its strides; the images are a copy, because a tensor owns its memory.

use std::ops::Range;

use noprop_experiment::candle_core::{self, Device, Tensor};
use noprop_train::free_memory_bytes;
use numpy::ndarray::{ArrayView2, Axis};
use numpy::{PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

use crate::errors::NoPropError;

/// A shape (C, H, W).
pub type Shape = (usize, usize, usize);

/// The pixels of images, [N, C · H · W].
#[derive(FromPyObject)]
pub enum Pixels<'py> {
    /// Bytes.
    #[pyo3(transparent)]
    Bytes(PyReadonlyArray2<'py, u8>),
    /// Numbers.
    #[pyo3(transparent)]
    Singles(PyReadonlyArray2<'py, f32>),
    /// Numbers.
    #[pyo3(transparent)]
    Doubles(PyReadonlyArray2<'py, f64>),
}

/// The numbers for which the pixels 0 and 1 stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    factor: f64,
}

impl Scale {
    /// The scale of `low` and `high`. If they are equal, all pixels that are equal to them are 0.
    pub fn new((low, high): (f64, f64)) -> PyResult<Self> {
        if !(low.is_finite() && high.is_finite() && low <= high) {
            let reason = format!("pixel_range must be two rising numbers, got {low} and {high}");
            return Err(PyValueError::new_err(reason));
        }
        let factor = if high > low { (high - low).recip() } else { 1.0 };
        Ok(Self { low, factor })
    }

    fn of(self, value: f64) -> f32 {
        // As candle divides bytes, so that numbers from 0 to 255 are the same pixels.
        (value - self.low) as f32 * self.factor as f32
    }
}

impl Pixels<'_> {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.shape()[0]
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Bytes(array) => array.shape(),
            Self::Singles(array) => array.shape(),
            Self::Doubles(array) => array.shape(),
        }
    }

    /// Refuses images of another number of pixels.
    pub fn check(&self, (channels, height, width): Shape) -> PyResult<()> {
        let pixels = self.shape()[1];
        let wanted = channels.checked_mul(height).and_then(|area| area.checked_mul(width));
        if wanted == Some(pixels) {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "images of {channels} x {height} x {width} cannot be made of {pixels} numbers each"
        )))
    }

    /// Refuses an array whose copy, with `size` bytes a pixel, does not fit into the memory that is free.
    pub fn fit_into_memory(&self, size: usize) -> PyResult<()> {
        let needed = self.shape().iter().fold(size, |product, &side| product.saturating_mul(side));
        fit_into_memory("a copy of X", needed)
    }

    /// Refuses an array whose answers, with `size` bytes an image, do not fit into the memory that is free.
    pub fn answers_fit_into_memory(&self, size: usize) -> PyResult<()> {
        fit_into_memory("an answer to each sample of X", self.len().saturating_mul(size))
    }

    /// The bytes of the array, if it holds bytes.
    pub fn bytes(&self) -> Option<ArrayView2<'_, u8>> {
        match self {
            Self::Bytes(array) => Some(array.as_array()),
            Self::Singles(_) | Self::Doubles(_) => None,
        }
    }

    /// All images [N, C, H, W] as the array's bytes.
    pub fn copied(&self, bytes: ArrayView2<'_, u8>, shape: Shape) -> PyResult<Tensor> {
        tensor(bytes.iter().copied().collect(), self.len(), shape)
    }

    /// The images `rows` [n, C, H, W], f32 in 0..=1 if they are within the scale.
    ///
    /// # Errors
    /// `ValueError` for a number that is too far outside.
    pub fn scaled(&self, rows: Range<usize>, scale: Scale, shape: Shape) -> PyResult<Tensor> {
        fn of<T: Copy + Into<f64>>(
            array: ArrayView2<'_, T>,
            rows: Range<usize>,
            scale: Scale,
        ) -> Vec<f32> {
            let some = array.slice_axis(Axis(0), rows.into());
            some.iter().map(|&value| scale.of(value.into())).collect()
        }
        let count = rows.len();
        let values = match self {
            Self::Bytes(array) => of(array.as_array(), rows, scale),
            Self::Singles(array) => of(array.as_array(), rows, scale),
            Self::Doubles(array) => of(array.as_array(), rows, scale),
        };
        if !values.iter().all(|value| value.is_finite()) {
            let reason = "Input X contains NaN, infinity or a value too large for float32";
            return Err(PyValueError::new_err(reason));
        }
        tensor(values, count, shape)
    }
}

/// Refuses `what` if its bytes are more than are free: an allocation that fails would end the process.
fn fit_into_memory(what: &str, needed: usize) -> PyResult<()> {
    match free_memory_bytes() {
        Some(free) if needed as u64 > free => {
            Err(PyMemoryError::new_err(format!("{what} takes {needed} bytes, and {free} are free")))
        }
        _ => Ok(()),
    }
}

fn tensor<T: candle_core::WithDType>(
    values: Vec<T>,
    count: usize,
    (channels, height, width): Shape,
) -> PyResult<Tensor> {
    Tensor::from_vec(values, (count, channels, height, width), &Device::Cpu)
        .map_err(|error| NoPropError::new_err(error.to_string()))
}

//! A trained network that answers.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use noprop_experiment::candle_core::{Device, Tensor};
use noprop_experiment::{AlongChain, Classifier, Existing, Result};
use numpy::ndarray::{Array2, Array3, ShapeError};
use numpy::{IntoPyArray, PyArray2, PyArray3};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::{Pixels, Scale, Shape};
use crate::call::Threads;
use crate::errors::{NoPropError, of_input, of_work, of_writing};

/// Images that are classified between two looks at Python's signals.
const AT_ONCE: usize = 64;

/// A trained network that answers. Every image is classified by itself, so its answer does not depend on the images beside it.
#[pyclass(frozen, module = "noprop._noprop")]
pub struct Model(Classifier);

#[pymethods]
impl Model {
    /// Opens the bytes of model.safetensors. Errors call them `name`.
    #[new]
    #[pyo3(signature = (weights, name="model.safetensors"))]
    fn new(py: Python<'_>, weights: &Bound<'_, PyBytes>, name: &str) -> PyResult<Self> {
        let bytes = weights.as_bytes();
        let open = || Classifier::of_weights(name, bytes, &Device::Cpu);
        Threads::new(Some(NonZeroUsize::MIN))?.detached(py, open)?.map(Self).map_err(of_work)
    }

    /// The bytes of model.safetensors.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.weights().map_err(of_work)?))
    }

    /// Pickles the bytes of model.safetensors.
    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((py.get_type::<Self>().into_any(), (self.weights(py)?,)))
    }

    /// Writes the folder of a run, with the files `beside` (names and content), for this package and for the program noprop.
    /// `replace` replaces a run, and nothing else.
    #[pyo3(signature = (path, replace, beside))]
    fn save(
        &self,
        py: Python<'_>,
        path: PathBuf,
        replace: bool,
        beside: Vec<(String, Vec<u8>)>,
    ) -> PyResult<()> {
        let existing = if replace { Existing::Replace } else { Existing::Refuse };
        py.detach(|| self.0.save(&path, existing, &beside)).map_err(of_writing)
    }

    /// The (C, H, W) of the images.
    #[getter]
    fn shape(&self) -> Shape {
        self.0.shape()
    }

    /// The names of the classes in the order of their labels.
    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.0.class_names().to_vec()
    }

    /// The numbers for which the pixels 0 and 1 stand; None for a run of the program, whose pixels are bytes.
    #[getter]
    fn pixel_range(&self) -> Option<(f64, f64)> {
        self.0.experiment().images.range.map(|[low, high]| (low, high))
    }

    /// The settings as a JSON object, with names as in config.toml.
    #[getter]
    fn settings(&self) -> PyResult<String> {
        self.0.experiment().to_json().map_err(of_work)
    }

    /// The class probabilities [N, classes] of the images `pixels` [N, C * H * W].
    #[pyo3(signature = (pixels, pixel_range, threads=None))]
    fn classify<'py>(
        &self,
        py: Python<'py>,
        pixels: Pixels<'_>,
        pixel_range: (f64, f64),
        threads: Option<NonZeroUsize>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let classes = self.0.class_names().len();
        pixels.answers_fit_into_memory(classes * size_of::<f32>())?;
        let values = self.each(py, &pixels, pixel_range, threads, |images| {
            let answers = self.0.classify(images)?.into_iter();
            Ok(answers.flat_map(|answer| answer.probabilities).collect())
        })?;
        let shape = (pixels.len(), classes);
        Ok(Array2::from_shape_vec(shape, values).map_err(misshapen)?.into_pyarray(py))
    }

    /// The class probabilities [N, steps, classes] along the chain: those that the block of each step gives, or None if a single block
    /// gives none, and those of the embedding after each step.
    #[pyo3(signature = (pixels, pixel_range, threads=None))]
    #[expect(clippy::type_complexity, reason = "a pair of arrays")]
    fn denoise<'py>(
        &self,
        py: Python<'py>,
        pixels: Pixels<'_>,
        pixel_range: (f64, f64),
        threads: Option<NonZeroUsize>,
    ) -> PyResult<(Option<Bound<'py, PyArray3<f32>>>, Bound<'py, PyArray3<f32>>)> {
        let classes = self.0.class_names().len();
        // Each step gives two rows of numbers, which are copied into arrays.
        let row = size_of::<Vec<f32>>() + 2 * classes * size_of::<f32>();
        let steps = self.0.experiment().setup.steps;
        pixels.answers_fit_into_memory(steps.saturating_mul(2 * row))?;
        let paths =
            self.each(py, &pixels, pixel_range, threads, |images| self.0.along_chain(images))?;
        let images = paths.len();
        let (guesses, answers): (Vec<_>, Vec<_>) =
            paths.into_iter().map(|AlongChain { guesses, answers }| (guesses, answers)).unzip();
        let array = |rows: Vec<Vec<Vec<f32>>>| {
            let steps = rows.first().map_or(0, Vec::len);
            let values = rows.into_iter().flatten().flatten().collect();
            let array = Array3::from_shape_vec((images, steps, classes), values);
            array.map(|array| array.into_pyarray(py)).map_err(misshapen)
        };
        let has_guesses = guesses.first().is_some_and(|guesses| !guesses.is_empty());
        Ok((has_guesses.then(|| array(guesses)).transpose()?, array(answers)?))
    }
}

impl Model {
    /// Calls `answer` with a few images at a time while other threads of Python run, and looks at Python's signals in between. Returns
    /// the answers one after another.
    fn each<T: Send>(
        &self,
        py: Python<'_>,
        pixels: &Pixels<'_>,
        pixel_range: (f64, f64),
        threads: Option<NonZeroUsize>,
        answer: impl Fn(&Tensor) -> Result<Vec<T>> + Sync,
    ) -> PyResult<Vec<T>> {
        let shape = self.0.shape();
        pixels.check(shape)?;
        let (scale, threads) = (Scale::new(pixel_range)?, Threads::new(threads)?);
        let mut answers = Vec::new();
        for start in (0..pixels.len()).step_by(AT_ONCE) {
            let images = pixels.scaled(start..pixels.len().min(start + AT_ONCE), scale, shape)?;
            answers.extend(threads.detached(py, || answer(&images))?.map_err(of_input)?);
            py.check_signals()?;
        }
        Ok(answers)
    }
}

fn misshapen(error: ShapeError) -> PyErr {
    NoPropError::new_err(error.to_string())
}

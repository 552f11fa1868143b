//! A training on arrays.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use noprop_data::{DataError, Split};
use noprop_experiment::candle_core::{Device, Tensor};
use noprop_experiment::watch::settings;
use noprop_experiment::{Error, InMemory, Remark, Result, Stepped, Stepwise};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::{Pixels, Scale, Shape};
use crate::call::Threads;
use crate::errors::{of_input, of_work};

/// A training on arrays, which ends early when Python has a signal or a callback raises.
#[pyclass(frozen, module = "noprop._noprop")]
pub struct Training {
    /// Locked for a step at a time.
    training: Mutex<Stepwise>,
    threads: Threads,
}

/// The outcome of a step: epoch, step of the epoch, mean loss, and after an epoch the accuracy on the held-out images and the seconds.
type Report = (u64, u64, f64, Option<f64>, f64);

#[pymethods]
impl Training {
    /// Begins a training on `pixels` [N, C * H * W] of images of `shape` (C, H, W), with `labels` [N], which are indices of `class_names`.
    /// Bytes are used as they are; of other numbers `pixel_range` becomes 0 to 1. `settings` are a JSON object with names as in config.toml.
    #[new]
    #[pyo3(signature = (pixels, labels, shape, class_names, pixel_range, settings, threads=None))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn new(
        py: Python<'_>,
        pixels: Pixels<'_>,
        labels: PyReadonlyArray1<'_, u32>,
        shape: Shape,
        class_names: Vec<String>,
        pixel_range: (f64, f64),
        settings: &str,
        threads: Option<NonZeroUsize>,
    ) -> PyResult<Self> {
        pixels.check(shape)?;
        let scale = Scale::new(pixel_range)?;
        let bytes = pixels.bytes().filter(|_| pixel_range == (0.0, 255.0));
        pixels.fit_into_memory(if bytes.is_some() { 1 } else { size_of::<f32>() })?;
        let images = match bytes {
            Some(bytes) => pixels.copied(bytes, shape)?,
            None => pixels.scaled(0..pixels.len(), scale, shape)?,
        };
        let labels: Vec<u32> = labels.as_array().iter().copied().collect();
        let threads = Threads::new(threads)?;
        let training =
            threads.detached(py, || begin(images, labels, class_names, pixel_range, settings))?;
        Ok(Self { training: Mutex::new(training.map_err(of_input)?), threads })
    }

    /// Makes all steps. After each, `report` is called with the epoch, the step of the epoch, the mean loss, and, after an epoch, the
    /// accuracy on the held-out images, else None, and the seconds of the epoch.
    #[pyo3(signature = (report=None))]
    fn run(&self, py: Python<'_>, report: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        py.check_signals()?;
        while let Some(made) = self.with(py, step)?.map_err(of_work)? {
            py.check_signals()?;
            if let Some(report) = report {
                report.call1(made)?;
            }
        }
        Ok(())
    }

    /// The number of epochs, the steps of an epoch, and the steps that are made.
    fn length(&self, py: Python<'_>) -> PyResult<(u32, u32, u64)> {
        let length = self.with(py, |training| training.length())?;
        Ok((length.epochs, length.steps_per_epoch, length.done))
    }

    /// The sentences that a person should know of the settings and the data, each with whether it is a warning.
    fn remarks(&self, py: Python<'_>) -> PyResult<Vec<(bool, String)>> {
        let is_warning = |remark: &Remark| !matches!(remark, Remark::Fitted(_) | Remark::Note(_));
        let remarks = self.with(py, |training| {
            let remarks = training.remarks().iter();
            remarks.map(|remark| (is_warning(remark), remark.to_string())).collect::<Vec<_>>()
        })?;
        Ok(remarks.into_iter().filter(|(_, remark)| !remark.is_empty()).collect())
    }

    /// The bytes of model.safetensors: the weights of the best epoch so far.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let weights = self.with(py, |training| training.weights())?;
        Ok(PyBytes::new(py, &weights.map_err(of_work)?))
    }
}

impl Training {
    /// Calls `work` with the training, while other threads of Python run.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Stepwise) -> T + Send,
    ) -> PyResult<T> {
        self.threads.detached(py, || {
            // After a panic the best weights so far are as whole as before.
            work(&mut self.training.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

fn begin(
    images: Tensor,
    labels: Vec<u32>,
    class_names: Vec<String>,
    (low, high): (f64, f64),
    json: &str,
) -> Result<Stepwise> {
    let given = settings(json.as_bytes())?;
    if given.dataset.is_some() {
        return Err(Error::Refused("dataset cannot be set: the images are given".into()));
    }
    let labels = Tensor::new(labels, &Device::Cpu).map_err(DataError::from)?;
    let train = Split::new(images, labels, class_names.len())?;
    let range = Some([low, high]);
    Stepwise::of_images(given, InMemory { train, validation: None, class_names, range })
}

/// Makes the next step, if there is one.
fn step(training: &mut Stepwise) -> Result<Option<Report>> {
    if training.is_done() {
        return Ok(None);
    }
    let steps = u64::from(training.length().steps_per_epoch).max(1);
    let before = training.length().done;
    let Stepped { reports, epoch } = training.step(&[])?;
    let mean = |losses: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = losses.fold((0.0, 0_u32), |(sum, count), loss| (sum + loss, count + 1));
        sum / f64::from(count.max(1))
    };
    let (number, step) = (before / steps + 1, before % steps + 1);
    Ok::<_, Error>(Some(match &epoch {
        Some(epoch) => {
            let loss = mean(&mut epoch.losses.iter().map(|loss| loss.loss));
            let accuracy = epoch.validation.as_ref().map(|validation| validation.accuracy);
            (number, step, loss, accuracy, epoch.seconds)
        }
        None => {
            let losses =
                &mut reports.iter().flat_map(|report| &report.losses).map(|loss| loss.loss);
            (number, step, mean(losses), None, 0.0)
        }
    }))
}

//! A trained model that answers requests: its facts, its test images, and its walk from noise to an answer.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Instant;

use axum::body::Bytes;
use noprop_data::{Presence, Split, picture};
use noprop_experiment::candle_core::{Device, Tensor};
use noprop_experiment::{Classifier, Experiment, Polarity, SamplerKind, Solver, Source};
use noprop_method::Time;
use noprop_train::{Event, MetricsLog};
use serde_json::{Value, json};

use crate::error::Refusal;

/// An image to classify.
pub(crate) enum Image {
    /// Ink on a square, `side` × `side` bytes.
    Drawing { ink: Bytes, side: usize },
    /// A file of a PNG or JPEG picture.
    Picture { file: Bytes, polarity: Polarity },
    /// A test image by its number.
    Sample(usize),
}

/// The way to classify.
#[derive(Debug)]
pub(crate) struct Options {
    pub sampler: SamplerKind,
    pub runs: NonZeroU32,
    pub seed: u64,
    /// The steps to take, counted from 1, in this order; all in their order without it.
    pub route: Option<Vec<usize>>,
    pub steps: Option<usize>,
    pub solver: Option<Solver>,
}

/// A trained model, and test images of its data set if they are there.
pub(crate) struct Model {
    classifier: Classifier,
    facts: Value,
    test: Option<Split>,
}

impl Model {
    /// Opens a run. Its test images are looked for in `data_dir`.
    pub fn of_run(id: &str, run: &Path, data_dir: &Path, device: &Device) -> Result<Self, Refusal> {
        let classifier = Classifier::open(run, device)?;
        let experiment = Experiment::read(&run.join("config.toml"))?;
        let test = test_images(&experiment.setup.dataset, data_dir);
        let events = MetricsLog::read(&run.join("metrics.jsonl")).unwrap_or_default();
        let setup = &experiment.setup;
        let discrete = setup.method.time == Time::Discrete;
        let blocks = if discrete { setup.steps } else { setup.intervals };
        let tested = events.iter().rev().find_map(|event| match event {
            Event::Test { accuracy, per_block, .. } => Some((*accuracy, per_block.clone())),
            _ => None,
        });
        let (channels, height, width) = classifier.shape();
        let step_blocks: Vec<usize> =
            (0..setup.steps).map(|step| step * blocks / setup.steps.max(1) + 1).collect();
        let times: Vec<f64> =
            (0..=setup.steps).map(|step| step as f64 / setup.steps.max(1) as f64).collect();
        let card = std::fs::read_to_string(run.join("README.md")).ok();
        let facts = json!({
            "id": id,
            "title": run.file_name().map_or(id.into(), |name| name.to_string_lossy()),
            "method": setup.method.name,
            "method_title": setup.method.title,
            "dataset": setup.dataset.name(),
            "classes": classifier.class_names(),
            "shape": { "channels": channels, "height": height, "width": width },
            "samplers": setup.method.samplers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "solvers": setup.method.solvers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "settings": setup,
            "steps": setup.steps,
            "blocks": blocks,
            "step_blocks": step_blocks,
            "times": times,
            "alpha_bar": null,
            "block_accuracy": tested.as_ref().map(|(_, per_block)| per_block),
            "test_accuracy": tested.as_ref().map(|(accuracy, _)| accuracy),
            "samples": test.as_ref().map_or(0, Split::len),
            "drawing": (channels, height, width) == (1, 28, 28),
            "card": card,
        });
        Ok(Self { classifier, facts, test })
    }

    /// The facts that are shown of the model.
    pub fn facts(&self) -> &Value {
        &self.facts
    }

    /// Test image `index`.
    pub fn sample(&self, index: usize) -> Result<Value, Refusal> {
        let (pixels, label) = self.test_image(index)?;
        Ok(json!({ "pixels": pixels, "label": label }))
    }

    /// Classifies `image`.
    pub fn walk(&mut self, image: &Image, options: &Options) -> Result<Value, Refusal> {
        let began = Instant::now();
        let _ = options;
        let (channels, height, width) = self.classifier.shape();
        let pixels: Vec<u8> = match image {
            Image::Drawing { ink, side } => {
                if channels != 1 || height != width {
                    return Err(Refusal::bad("this model does not take drawings"));
                }
                picture::drawing(ink, *side, height).map_err(Refusal::bad)?
            }
            Image::Picture { file, polarity } => {
                let image = picture::of_bytes(file, (channels, height, width), *polarity);
                let image = image.map_err(|fault| Refusal::bad(format!("the picture {fault}")))?;
                let shades = image.flatten_all().and_then(|image| image.to_vec1::<f32>());
                let shades = shades.map_err(Refusal::failed)?;
                shades.into_iter().map(|shade| (255.0 * shade).round() as u8).collect()
            }
            Image::Sample(index) => self.test_image(*index)?.0,
        };
        let shades: Vec<f32> = pixels.iter().map(|&shade| f32::from(shade) / 255.0).collect();
        let image = Tensor::from_vec(shades, (1, channels, height, width), &Device::Cpu);
        let answers = self.classifier.classify(&image.map_err(Refusal::failed)?)?;
        let answer = answers.first().ok_or_else(|| Refusal::failed("there is no answer"))?;
        Ok(json!({
            "label": answer.label,
            "class": answer.class,
            "probabilities": answer.probabilities,
            "input": { "channels": channels, "height": height, "width": width, "pixels": pixels },
            "opposite": null,
            "steps": [],
            "milliseconds": began.elapsed().as_secs_f64() * 1e3,
        }))
    }

    /// The shades and the label of a test image.
    fn test_image(&self, index: usize) -> Result<(Vec<u8>, u32), Refusal> {
        let gone = || Refusal::missing("there is no such test image");
        let test = self.test.as_ref().filter(|test| index < test.len()).ok_or_else(gone)?;
        let number = u32::try_from(index).map_err(|_| gone())?;
        let label = test.labels.get(index).and_then(|label| label.to_scalar());
        Ok((test.picture(number).map_err(Refusal::failed)?, label.map_err(Refusal::failed)?))
    }
}

/// The test images of a known data set, if its files are there.
fn test_images(source: &Source, data_dir: &Path) -> Option<Split> {
    let Source::Known(name) = source else { return None };
    match name.presence(data_dir) {
        Presence::Incomplete { .. } => None,
        Presence::Bundled | Presence::Complete { .. } => {
            noprop_data::load(*name, data_dir).ok().map(|data| data.test)
        }
    }
}

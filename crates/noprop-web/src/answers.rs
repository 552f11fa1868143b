//! A trained model that answers: its facts, its test images, and its walk from noise to an answer.

use noprop_data::{Dataset, Split, picture};
use noprop_experiment::candle_core::{Device, Tensor};
use noprop_experiment::{Classifier, DatasetName, Polarity, Source};
use serde::Deserialize;
use serde_json::{Value, json};
use web_time::Instant;

use crate::error::{Error, Result};

/// A trained model, and test images if its data set is the bundled sample or MNIST.
pub struct Answers {
    classifier: Classifier,
    test: Option<Split>,
}

/// A request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// The side of a drawing.
    side: usize,
    invert: bool,
    /// The number of a test image.
    index: usize,
}

impl Answers {
    /// Opens the bytes of `model.safetensors`.
    ///
    /// # Errors
    /// If they are not the weights of a run.
    pub fn open(bytes: &[u8]) -> Result<Self> {
        let classifier = Classifier::of_weights("model.safetensors", bytes, &Device::Cpu)?;
        let test = match classifier.experiment().setup.dataset {
            Source::Known(DatasetName::Mnist | DatasetName::MnistSample) => {
                Some(Dataset::mnist_sample()?.test)
            }
            _ => None,
        };
        Ok(Self { classifier, test })
    }

    /// The facts that are shown of the model.
    pub fn facts(&self) -> Value {
        let setup = &self.classifier.experiment().setup;
        json!({ "settings": setup, "samples": self.test.as_ref().map_or(0, Split::len) })
    }

    /// Test image `index`.
    ///
    /// # Errors
    /// If there is none.
    pub fn sample(&self, index: usize) -> Result<Value> {
        let (pixels, label) = self.test_image(index)?;
        Ok(json!({ "pixels": pixels, "label": label }))
    }

    fn test_image(&self, index: usize) -> Result<(Vec<u8>, u32)> {
        let there = self.test.as_ref().filter(|test| index < test.len());
        let test = there.ok_or_else(|| Error::Refused("there is no such test image".into()))?;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        Ok((test.picture(number)?, test.labels.get(index)?.to_scalar()?))
    }

    /// Classifies an image.
    ///
    /// # Errors
    /// If the image or the options cannot be used.
    pub fn classify(&self, kind: &str, bytes: &[u8], options: &str) -> Result<Value> {
        let began = Instant::now();
        let asked: Asked = serde_json::from_str(options)?;
        let (channels, height, width) = self.classifier.shape();
        let pixels = match kind {
            "drawing" => picture::drawing(bytes, asked.side, height)?,
            "picture" => {
                let polarity = if asked.invert { Polarity::Inverted } else { Polarity::AsIs };
                let image = picture::of_bytes(bytes, (channels, height, width), polarity)?;
                let shades = image.flatten_all()?.to_vec1::<f32>()?;
                shades.into_iter().map(|shade| (255.0 * shade).round() as u8).collect()
            }
            "sample" => self.test_image(asked.index)?.0,
            other => return Err(Error::Refused(format!("{other} is no kind of image"))),
        };
        let shades: Vec<f32> = pixels.iter().map(|&shade| f32::from(shade) / 255.0).collect();
        let image = Tensor::from_vec(shades, (1, channels, height, width), &Device::Cpu)?;
        let answers = self.classifier.classify(&image)?;
        let answer = answers.first().ok_or_else(|| Error::Refused("there is no answer".into()))?;
        Ok(json!({
            "label": answer.label, "class": answer.class, "probabilities": answer.probabilities,
            "input": { "channels": channels, "height": height, "width": width, "pixels": pixels },
            "milliseconds": began.elapsed().as_secs_f64() * 1e3,
        }))
    }
}


//! What JavaScript sees. Requests and answers are JSON, as the page's engine interface has them; errors are sentences.

use std::time::Duration;

use noprop_experiment::watch::Pause;
use wasm_bindgen::prelude::*;

use crate::answers::Answers;
use crate::error::Result;
use crate::training::Sliced;

/// An error as JavaScript's `Error`.
fn thrown<T>(done: Result<T>) -> Result<T, JsError> {
    done.map_err(|error| JsError::new(&error.to_string()))
}

fn json(value: &impl serde::Serialize) -> Result<String, JsError> {
    thrown(serde_json::to_string(value).map_err(Into::into))
}

/// A trained model that answers.
#[wasm_bindgen]
pub struct Model(Answers);

#[wasm_bindgen]
impl Model {
    /// Opens the bytes of `model.safetensors`.
    pub fn open(bytes: &[u8]) -> Result<Self, JsError> {
        thrown(Answers::open(bytes)).map(Self)
    }

    /// The facts that are shown of the model.
    pub fn facts(&self) -> Result<String, JsError> {
        json(&self.0.facts())
    }

    /// Test image `index`, `{pixels, label}`.
    pub fn sample(&self, index: u32) -> Result<String, JsError> {
        json(&thrown(self.0.sample(index))?)
    }

    /// Classifies a `drawing`, a `picture` or a `sample`.
    pub fn classify(&self, kind: &str, bytes: &[u8], options: &str) -> Result<String, JsError> {
        json(&thrown(self.0.classify(kind, bytes, options))?)
    }
}

/// A training on the bundled sample.
#[wasm_bindgen]
pub struct Training(Sliced);

#[wasm_bindgen]
impl Training {
    /// Begins a training with the settings in a JSON object.
    pub fn start(settings: &str) -> Result<Self, JsError> {
        thrown(Sliced::start(settings)).map(Self)
    }

    /// Trains for about `milliseconds`, and returns the training as it is then.
    pub fn step(&mut self, milliseconds: f64) -> Result<String, JsError> {
        let slice = Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default();
        thrown(self.0.advance(slice))?;
        json(self.0.watched())
    }

    /// Pauses block `block`, counted from 1, or lets it go on.
    pub fn pause(&mut self, block: usize, paused: bool) -> Result<(), JsError> {
        thrown(self.0.pause(block, if paused { Pause::Hold } else { Pause::GoOn }))
    }

    /// The bytes of `model.safetensors`.
    pub fn weights(&self) -> Result<Vec<u8>, JsError> {
        thrown(self.0.weights())
    }
}

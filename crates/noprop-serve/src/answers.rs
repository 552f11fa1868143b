//! A trained model that answers requests: its facts, its test images, and its walk from noise to an answer.

use std::path::Path;
use std::time::Instant;

use axum::body::Bytes;
use noprop_data::{DatasetName, Presence, Split};
use noprop_experiment::candle_core::Device;
use noprop_experiment::{Classifier, Image, ModelFacts, Moved, Polarity, Sampling, Source};
use noprop_method::Route;
use noprop_train::{Event, MetricsLog};
use serde_json::{Value, json};

use crate::error::Refusal;
use crate::runs::card;

/// An image to classify, as a request sends it.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Ink on a square, `side` × `side` bytes.
    Drawing { ink: Bytes, side: usize },
    /// A file of a PNG or JPEG picture.
    Picture { file: Bytes, polarity: Polarity },
    /// A test image by its number.
    Sample(u32),
}

/// A trained model, and the test images of its data set if they are there.
pub(crate) struct Model {
    classifier: Classifier,
    facts: ModelFacts,
    /// The facts that the files of a run hold.
    kept: Kept,
    test: Option<Split>,
}

/// The record of a model.
#[derive(Default)]
struct Kept {
    title: String,
    card: Option<String>,
    /// Accuracy on the test images, and of each block.
    tested: Option<(f64, Vec<f64>)>,
    /// A sentence on its test images.
    remark: Option<String>,
}

impl Model {
    /// Opens a run. Its test images are looked for in `data_dir`, and then where they were in its training.
    pub fn of_run(run: &Path, data_dir: &Path, device: &Device) -> Result<Self, Refusal> {
        let classifier = Classifier::open(run, device)?;
        let events = MetricsLog::read(&run.join("metrics.jsonl")).unwrap_or_default();
        let tested = match Event::final_test(&events) {
            Some(Event::Test { accuracy, per_block, .. }) => Some((*accuracy, per_block.clone())),
            _ => None,
        };
        let title = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let card = card(run);
        // Data sets that are here now, and else where the run had its data.
        let place = match &classifier.experiment().setup.dataset {
            Source::Known(name) if is_there(*name, data_dir) => Some(data_dir.to_path_buf()),
            _ => None,
        };
        let place = Moved { data_dir: place, ..Moved::default() };
        let (test, remark) = match noprop_experiment::test_images(run, &place) {
            Ok(test) => (Some(test), None),
            Err(error) => (None, Some(format!("There are no test images to show: {error}"))),
        };
        Self::new(classifier, Kept { title, card, tested, remark }, test)
    }

    /// Opens the model that is part of the program. Its images are those of MNIST, or where that is not there, of the bundled sample of it.
    pub fn pretrained(data_dir: &Path, device: &Device) -> Result<Self, Refusal> {
        let weights = noprop_pretrained::MNIST;
        let classifier = Classifier::of_weights("the pretrained model", weights, device)?;
        let title = "Pretrained on MNIST".into();
        let tested =
            Some((noprop_pretrained::TEST_ACCURACY, noprop_pretrained::BLOCK_ACCURACY.into()));
        let card = Some(noprop_pretrained::CARD.into());
        let kept = Kept { title, card, tested, remark: None };
        let images = |name| noprop_data::load(name, data_dir).ok().map(|data| data.test);
        if is_there(DatasetName::Mnist, data_dir)
            && let Some(test) = images(DatasetName::Mnist)
        {
            return Self::new(classifier, kept, Some(test));
        }
        let kept = Kept { remark: Some(noprop_pretrained::SAMPLE_REMARK.into()), ..kept };
        Self::new(classifier, kept, images(DatasetName::MnistSample))
    }

    fn new(classifier: Classifier, kept: Kept, test: Option<Split>) -> Result<Self, Refusal> {
        Ok(Self { facts: classifier.facts()?, classifier, kept, test })
    }

    /// The facts that are shown of the model, which is known as `id`.
    pub fn facts(&self, id: &str) -> Value {
        let Kept { title, card, tested, remark } = &self.kept;
        let mut facts = json!(self.facts);
        facts["id"] = json!(id);
        facts["title"] = json!(title);
        facts["card"] = json!(card);
        facts["remark"] = json!(remark);
        facts["test_accuracy"] = json!(tested.as_ref().map(|(accuracy, _)| accuracy));
        facts["block_accuracy"] = json!(tested.as_ref().map(|(_, per_block)| per_block));
        facts["samples"] = json!(self.test.as_ref().map_or(0, Split::len));
        facts
    }

    /// Test image `number`: its shades and its label.
    pub fn sample(&self, number: u32) -> Result<Value, Refusal> {
        let test = self.test_image(number)?;
        let label = test.labels.get(number as usize).and_then(|label| label.to_scalar::<u32>());
        Ok(json!({
            "pixels": test.picture(number).map_err(Refusal::failed)?,
            "label": label.map_err(Refusal::failed)?,
        }))
    }

    /// Classifies an image along `route`, or along the whole chain.
    pub fn walk(
        &self,
        image: &Sent,
        sampling: &Sampling,
        route: Option<&[usize]>,
    ) -> Result<Value, Refusal> {
        let began = Instant::now();
        let image = match image {
            Sent::Drawing { ink, side } => Image::Drawing { ink, side: *side },
            Sent::Picture { file, polarity } => Image::Picture { file, polarity: *polarity },
            Sent::Sample(number) => Image::Sample(self.test_image(*number)?, *number),
        };
        let route = route.map_or(Route::Whole, Route::Steps);
        let mut walk = json!(self.classifier.walk(image, sampling, route)?);
        walk["milliseconds"] = json!(1e3 * began.elapsed().as_secs_f64());
        Ok(walk)
    }

    /// The test images, which have one of that number.
    fn test_image(&self, number: u32) -> Result<&Split, Refusal> {
        let test = self.test.as_ref().filter(|test| (number as usize) < test.len());
        test.ok_or_else(|| Refusal::missing("there is no such test image"))
    }
}

/// Whether the files of a data set are in `data_dir`.
fn is_there(name: DatasetName, data_dir: &Path) -> bool {
    matches!(name.presence(data_dir), Presence::Bundled | Presence::Complete { .. })
}

//! A trained model that answers: its facts, its test images, and its walk from noise to an answer.

use std::num::NonZeroU32;

use noprop_data::{Dataset, Split};
use noprop_experiment::candle_core::Device;
use noprop_experiment::{
    Classifier, DatasetName, Image, ModelFacts, Polarity, Route, SamplerKind, Sampling, Solver,
    Source, Walk,
};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::error::{Error, Result};

/// The most chains that are averaged, steps of a solver, and steps of a route: a page must not wait for minutes.
const MOST_RUNS: u32 = 100;
const MOST_STEPS: usize = 1000;

/// A trained model, and the test images of the bundled sample if it was trained on them or on MNIST.
pub struct Answers {
    classifier: Classifier,
    facts: ModelFacts,
    pretrained: bool,
    test: Option<Split>,
}

/// The facts that a page shows of a model. Weights carry their settings, but not the accuracy that was measured with them: that of the
/// pretrained network alone is known.
#[derive(Debug, Serialize)]
pub struct Facts<'a> {
    title: &'a str,
    #[serde(flatten)]
    facts: &'a ModelFacts,
    block_accuracy: Option<&'a [f64]>,
    test_accuracy: Option<f64>,
    /// The number of test images.
    samples: usize,
    card: Option<&'a str>,
    /// A sentence on the test images.
    remark: Option<&'a str>,
}

/// A test image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The shades, channel by channel.
    pub pixels: Vec<u8>,
    /// Its label.
    pub label: u32,
}

/// A walk, and the time that it took.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The walk.
    #[serde(flatten)]
    pub walk: Walk,
    /// The time that it took.
    pub milliseconds: f64,
}

/// The rest of a request beside the kind and the bytes of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// The side of a drawing.
    side: Option<usize>,
    /// Whether light and dark of a picture change places.
    invert: Option<bool>,
    /// The number of a test image.
    index: Option<u32>,
    sampler: Option<SamplerKind>,
    runs: Option<NonZeroU32>,
    seed: Option<u64>,
    /// The steps to make, from 1; all without it.
    route: Option<Vec<usize>>,
    steps: Option<usize>,
    solver: Option<Solver>,
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
            Source::Known(_) | Source::Folder(_) | Source::Memory => None,
        };
        let facts = classifier.facts()?;
        Ok(Self { classifier, facts, pretrained: is_pretrained(bytes), test })
    }

    /// The facts of the model.
    pub fn facts(&self) -> Facts<'_> {
        let known = self.pretrained;
        Facts {
            title: if known { "Pretrained on MNIST" } else { self.facts.method_title },
            facts: &self.facts,
            block_accuracy: known.then_some(&noprop_pretrained::BLOCK_ACCURACY),
            test_accuracy: known.then_some(noprop_pretrained::TEST_ACCURACY),
            samples: self.test.as_ref().map_or(0, Split::len),
            card: known.then_some(noprop_pretrained::CARD),
            remark: known.then_some(noprop_pretrained::SAMPLE_REMARK),
        }
    }

    /// Test image `index`.
    ///
    /// # Errors
    /// If there is none.
    pub fn sample(&self, index: u32) -> Result<Sample> {
        let test = self.test_images()?;
        if index as usize >= test.len() {
            return Err(Error::Refused(format!("there is no test image {index}")));
        }
        Ok(Sample {
            pixels: test.picture(index)?,
            label: test.labels.get(index as usize)?.to_scalar()?,
        })
    }

    /// Classifies an image: the `bytes` of a `drawing` or of a `picture`, or a `sample`. `asked` is a JSON object with the options of
    /// the page's engine interface.
    ///
    /// # Errors
    /// If the image or the options cannot be used.
    pub fn classify(&self, kind: &str, bytes: &[u8], asked: &str) -> Result<Answer> {
        let began = Instant::now();
        let asked: Asked = serde_json::from_str(asked)?;
        let image = match kind {
            "drawing" => Image::Drawing { ink: bytes, side: asked.side.unwrap_or_default() },
            "picture" => {
                let inverted = asked.invert.unwrap_or_default();
                let polarity = if inverted { Polarity::Inverted } else { Polarity::AsIs };
                Image::Picture { file: bytes, polarity }
            }
            "sample" => Image::Sample(self.test_images()?, asked.index.unwrap_or_default()),
            other => return Err(Error::Refused(format!("{other} is no kind of image"))),
        };
        let route = match &asked.route {
            None => Route::Whole,
            Some(steps) => Route::Steps(steps),
        };
        let walk = self.classifier.walk(image, &asked.sampling()?, route)?;
        Ok(Answer { walk, milliseconds: 1e3 * began.elapsed().as_secs_f64() })
    }

    fn test_images(&self) -> Result<&Split> {
        let none = || Error::Refused("there are no test images of this model's data".into());
        self.test.as_ref().ok_or_else(none)
    }
}

/// Returns whether `bytes` are the pretrained network. A few bytes are compared, so that the module need not hold all of them.
fn is_pretrained(bytes: &[u8]) -> bool {
    const LENGTH: usize = noprop_pretrained::MNIST.len();
    const PROBES: usize = 64;
    const PROBED: [u8; PROBES] = {
        let mut probed = [0; PROBES];
        let mut probe = 0;
        while probe < PROBES {
            probed[probe] = noprop_pretrained::MNIST[probe * (LENGTH / PROBES)];
            probe += 1;
        }
        probed
    };
    let probes = bytes.iter().step_by(LENGTH / PROBES);
    bytes.len() == LENGTH && probes.zip(&PROBED).all(|(a, b)| a == b)
}

impl Asked {
    fn sampling(&self) -> Result<Sampling> {
        let usual = Sampling::default();
        let runs = self.runs.unwrap_or(usual.runs);
        let longest = self.route.as_ref().map_or(0, Vec::len).max(self.steps.unwrap_or_default());
        if runs.get() > MOST_RUNS || longest > MOST_STEPS {
            let reason = format!("a page makes at most {MOST_RUNS} runs of {MOST_STEPS} steps");
            return Err(Error::Refused(reason));
        }
        Ok(Sampling {
            kind: self.sampler.unwrap_or(usual.kind),
            runs,
            seed: self.seed.unwrap_or(usual.seed),
            solver: self.solver,
            steps: self.steps,
        })
    }
}

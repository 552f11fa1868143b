//! The way of one image through the chain, step by step, as numbers that a page can show.

use candle_core::{D, Tensor};
use noprop_data::picture::{self, Polarity};
use noprop_data::{DataError, Split};
use noprop_method::{
    ChainStep, Denoiser, Encoded, Made, MethodError, Route, SamplerKind, classify_along,
};
use serde::Serialize;

use crate::classifier::{Classifier, top};
use crate::error::{Result, ensure};
use crate::evaluate::Sampling;
use crate::ink::Ground;

/// The most steps that are kept of a walk.
const MOST_STEPS: usize = 200;
/// The numbers that are kept of an embedding.
const SHOWN: usize = 16;

/// An image that is classified.
#[derive(Debug, Clone, Copy)]
pub enum Image<'a> {
    /// A drawing of a digit: `side` × `side` values, 0 for no ink and 255 for full ink.
    Drawing {
        /// The values, row by row.
        ink: &'a [u8],
        /// The length of a row.
        side: usize,
    },
    /// The bytes of a PNG or JPEG file.
    Picture {
        /// The bytes.
        file: &'a [u8],
        /// The sense of light and dark.
        polarity: Polarity,
    },
    /// The image with this number of a split of pixels before normalisation, such as the test images.
    Sample(&'a Split, u32),
}

/// An image, its answer, and the steps that led to it.
#[derive(Debug, Clone, Serialize)]
pub struct Walk {
    /// The label of the most probable class.
    pub label: u32,
    /// Its name.
    pub class: String,
    /// The probabilities of all classes, averaged over runs.
    pub probabilities: Vec<f32>,
    /// The image as the network was given it, before normalisation.
    pub input: Input,
    /// A sentence, if light and dark seem to be the opposite of those that the run learned.
    pub opposite: Option<String>,
    /// The steps of the first run, at most 200. Of more, those at equal distances.
    pub steps: Vec<Step>,
}

/// An image as the network was given it.
#[derive(Debug, Clone, Serialize)]
pub struct Input {
    /// The number of channels.
    pub channels: usize,
    /// The height in pixels.
    pub height: usize,
    /// The width in pixels.
    pub width: usize,
    /// The shades, channel by channel.
    pub pixels: Vec<u8>,
}

/// A step from one embedding to the next.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The number of the step, from 1.
    pub step: usize,
    /// The block that made it, from 1.
    pub block: usize,
    /// The time at which it began, in 0..=1.
    pub time: f64,
    /// The time at which it ended.
    pub next: f64,
    /// The distances ‖z − u‖ from the embedding before the step to the embeddings of all classes.
    pub distances: Vec<f32>,
    /// The class probabilities that the block gave; `None` if a single block gives no class probabilities.
    pub guess: Option<Vec<f32>>,
    /// The class probabilities of the embedding after the step.
    pub answer: Vec<f32>,
    /// The first numbers of the embedding before the step.
    pub z: Vec<f32>,
    /// The first numbers of û, if the step is one of Eq. 3.
    pub clean: Option<Vec<f32>>,
    /// The first numbers of ε, if noise was drawn.
    pub noise: Option<Vec<f32>>,
    /// The first numbers of the embedding after the step.
    pub next_z: Vec<f32>,
    /// a, b and c of Eq. 3.
    pub coefficients: Option<Coefficients>,
}

/// The factors of z_t = a û + b z_{t−1} + √c ε (Eq. 3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Coefficients {
    /// The factor of û.
    pub a: f64,
    /// The factor of z.
    pub b: f64,
    /// The variance of the noise.
    pub c: f64,
}

/// The facts of a model that are the same for every image.
#[derive(Debug, Clone, Serialize)]
pub struct ModelFacts {
    /// The method by its short name.
    pub method: &'static str,
    /// The method by its long name.
    pub method_title: &'static str,
    /// The data set that it was trained on.
    pub dataset: String,
    /// The classes in the order of their labels.
    pub classes: Vec<String>,
    /// The images that it takes.
    pub shape: Shape,
    /// The samplers that differ for it.
    pub samplers: Vec<String>,
    /// The solvers that it can use; empty where time is discrete.
    pub solvers: Vec<String>,
    /// The settings as `config.toml` has them.
    pub settings: serde_json::Value,
    /// The number of steps of its chain.
    pub steps: usize,
    /// The number of its blocks.
    pub blocks: usize,
    /// The block of each step.
    pub step_blocks: Vec<usize>,
    /// The time at which each step begins, and 1.
    pub times: Vec<f64>,
    /// ᾱ before the first step and after each; `None` if the method has no noise schedule.
    pub alpha_bar: Option<Vec<f64>>,
    /// `true` for images like MNIST's digits, which a drawing can become.
    pub drawing: bool,
}

/// A shape of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// The number of channels.
    pub channels: usize,
    /// The height in pixels.
    pub height: usize,
    /// The width in pixels.
    pub width: usize,
}

impl Classifier {
    /// The facts of the model.
    ///
    /// # Errors
    /// If the network does not fit the method.
    pub fn facts(&self) -> Result<ModelFacts> {
        let setup = &self.experiment().setup;
        let (channels, height, width) = self.shape();
        let (network, method) = self.model();
        let features = |_: usize| network.class_embeddings().clone();
        let chain = method.chain(network, &features, &setup.sampler())?;
        let steps = chain.steps();
        let times = (1..=steps).map(|step| chain.times(step).0).chain([1.0]).collect();
        let levels = method.noise_levels(network, steps)?;
        // A method without noise between its steps has one sampler, by whatever name.
        let samplers = match setup.method.samplers {
            [_] => &[SamplerKind::Mean][..],
            _ => &[SamplerKind::Mean, SamplerKind::Stochastic],
        };
        Ok(ModelFacts {
            method: setup.method.name,
            method_title: setup.method.title,
            dataset: setup.dataset.name(),
            classes: self.class_names().to_vec(),
            shape: Shape { channels, height, width },
            samplers: samplers.iter().map(ToString::to_string).collect(),
            solvers: setup.method.solvers.iter().map(ToString::to_string).collect(),
            settings: serde_json::to_value(self.experiment())?,
            steps,
            blocks: network.blocks(),
            step_blocks: (1..=steps).map(|step| chain.block(step)).collect(),
            times,
            alpha_bar: levels.map(|levels| levels.schedule.alpha_bars().to_vec()),
            drawing: (channels, height, width) == (1, 28, 28),
        })
    }

    /// Classifies an image along `route`, and keeps the steps of the first run.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] if it is not an image that can be used, or a drawing for a network of other images;
    /// [`crate::Error::Method`] if the route has steps that the chain does not have.
    pub fn walk(&self, image: Image<'_>, sampling: &Sampling, route: Route<'_>) -> Result<Walk> {
        let pixels = self.pixels(image)?;
        let shades = pixels.flatten_all()?.to_vec1::<f32>()?;
        let shades: Vec<u8> = shades.iter().map(|shade| (255.0 * shade).round() as u8).collect();
        let (channels, height, width) = self.shape();
        let sampler = sampling.of(&self.experiment().setup)?;
        let (network, method) = self.model();
        let encoded = Encoded::new(network, &self.seen(&pixels)?)?;
        let features = |_: usize| network.class_embeddings().clone();
        let length = match route {
            Route::Whole => method.chain(network, &features, &sampler)?.steps(),
            Route::Steps(steps) => steps.len(),
        };
        let every = length.div_ceil(MOST_STEPS).max(1);
        let (mut steps, mut seen) = (Vec::new(), 0_usize);
        let mut see = |run: u32, made: Made<'_>| -> Result<(), MethodError> {
            if run == 0 {
                if seen.is_multiple_of(every) {
                    steps.push(self.step(&made)?);
                }
                seen += 1;
            }
            Ok(())
        };
        let answer = classify_along(network, method, &encoded, &[0], &sampler, route, &mut see)?;
        let label = top(&answer.probabilities)?;
        Ok(Walk {
            label,
            class: self.class_names().get(label as usize).cloned().unwrap_or_default(),
            probabilities: row(&answer.probabilities)?,
            opposite: self.opposite(picture::ground(&shades, self.shape())),
            input: Input { channels, height, width, pixels: shades },
            steps,
        })
    }

    /// Returns an image [1, C, H, W] of pixels in 0..=1.
    fn pixels(&self, image: Image<'_>) -> Result<Tensor> {
        let wanted @ (channels, height, width) = self.shape();
        match image {
            Image::Drawing { ink, side } => {
                ensure!(
                    channels == 1 && height == width,
                    "a drawing needs a network of square grey images, and this one takes {channels} x {height} x {width}"
                );
                let shades = picture::drawing(ink, side, width).map_err(refused("the drawing"))?;
                let pixels: Vec<f32> =
                    shades.into_iter().map(|shade| f32::from(shade) / 255.0).collect();
                Ok(Tensor::from_vec(pixels, (1, 1, height, width), &candle_core::Device::Cpu)?)
            }
            Image::Picture { file, polarity } => {
                Ok(picture::of_bytes(file, wanted, polarity).map_err(refused("the picture"))?)
            }
            Image::Sample(split, number) => {
                ensure!(
                    (number as usize) < split.len(),
                    "there is no image {number}: there are {}, counted from 0",
                    split.len()
                );
                let (images, _) = split.batch(&[number])?;
                ensure!(
                    split.image_shape()? == wanted,
                    "the images have another shape than those that the network takes"
                );
                Ok(images)
            }
        }
    }

    fn step(&self, made: &Made<'_>) -> Result<Step, MethodError> {
        let (network, method) = self.model();
        let Made { chain, step, z, result } = made;
        let ChainStep { z: next_z, guess, update } = result;
        let (time, next) = chain.times(*step);
        let distances =
            network.class_embeddings().broadcast_sub(z)?.sqr()?.sum(D::Minus1)?.sqrt()?;
        Ok(Step {
            step: *step,
            block: chain.block(*step),
            time,
            next,
            distances: distances.to_vec1()?,
            guess: guess.as_ref().map(row).transpose()?,
            answer: row(&method.answer(network, next_z)?)?,
            z: first(z)?,
            clean: update.as_ref().map(|update| first(&update.clean)).transpose()?,
            noise: update.as_ref().and_then(|u| u.noise.as_ref()).map(first).transpose()?,
            next_z: first(next_z)?,
            coefficients: update.as_ref().map(|update| {
                let noprop_schedule::Posterior { a, b, c } = update.factors;
                Coefficients { a, b, c }
            }),
        })
    }

    /// A sentence on a picture whose ground is the opposite of those that the run learned.
    fn opposite(&self, ground: u8) -> Option<String> {
        let (learned, seen) = (Ground::of(self.ground()?)?, Ground::of(ground)?);
        let (opposite, own) = learned.opposite_and_own();
        (learned != seen)
            .then(|| format!("This looks like {opposite}, and the network learned {own}."))
    }
}

/// Returns the error of a picture without a path.
fn refused(name: &'static str) -> impl FnOnce(picture::PictureFault) -> DataError {
    move |fault| DataError::Picture { path: name.into(), fault }
}

/// Returns the numbers of a single row [1, n].
fn row(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.squeeze(0)?.to_vec1()
}

/// Returns the first numbers of a single row [1, n].
fn first(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    row(&tensor.narrow(1, 0, tensor.dim(1)?.min(SHOWN))?)
}

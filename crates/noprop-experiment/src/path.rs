//! The beliefs of a chain on its way from noise to an answer, for many images.

use candle_core::Tensor;
use noprop_method::{Encoded, Made, MethodError, Route, classify_along};

use crate::classifier::Classifier;
use crate::error::Result;

/// The beliefs along the chain of one image, step by step. Where several chains are averaged, these are those of the first.
#[derive(Debug, Clone, PartialEq)]
pub struct AlongChain {
    /// The class probabilities that the block of each step gave; empty if a single block gives no class probabilities.
    pub guesses: Vec<Vec<f32>>,
    /// The class probabilities of the embedding after each step. The last are those of [`Classifier::classify`], for one chain.
    pub answers: Vec<Vec<f32>>,
}

impl Classifier {
    /// The beliefs along the chains of `images` [N, C, H, W] f32 of pixels in 0..=1, before normalisation, in their order. Every image goes
    /// its way by itself, as in [`Self::classify`].
    ///
    /// # Errors
    /// [`crate::Error::Refused`] if they have another shape.
    pub fn along_chain(&self, images: &Tensor) -> Result<Vec<AlongChain>> {
        self.one_by_one(images, |image| {
            let (network, method) = self.model();
            let encoded = Encoded::new(network, image)?;
            let (mut guesses, mut answers) = (Vec::new(), Vec::new());
            let mut see = |run: u32, made: Made<'_>| -> Result<(), MethodError> {
                if run == 0 {
                    guesses.extend(made.result.guess.as_ref().map(row).transpose()?);
                    answers.push(row(&method.answer(network, &made.result.z)?)?);
                }
                Ok(())
            };
            let (sampler, route) = (self.sampler(), Route::Whole);
            classify_along(network, method, &encoded, &[0], sampler, route, &mut see)?;
            Ok(AlongChain { guesses, answers })
        })
    }
}

/// The numbers of a single row [1, n].
fn row(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.squeeze(0)?.to_vec1()
}

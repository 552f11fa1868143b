//! Evaluation: how well a trained network classifies. Labels count hits and do nothing else.

use std::num::NonZeroU32;
use std::path::Path;

use candle_core::Device;
use noprop_data::Half;
use noprop_method::{Sampler, SamplerKind, Seed, Solver};
use noprop_train::{ClassScores, Evaluation, Keep, evaluate_keeping};

use crate::answers::AnswersFile;
use crate::error::Result;
use crate::eval_images::{Asked, EvalImages};
use crate::progress::Progress;
use crate::settings::Setup;
use crate::trained::Trained;

/// Top-5 accuracy is given where there are more classes than this.
const FEW_CLASSES: usize = 10;

/// The way to classify with a trained network.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// The sampler.
    pub kind: SamplerKind,
    /// Chains to average.
    pub runs: NonZeroU32,
    /// The seed of the chains' noise.
    pub seed: u64,
    /// The solver where time is continuous; without it the run's.
    pub solver: Option<Solver>,
    /// Its steps; without them the run's.
    pub steps: Option<usize>,
}

impl Default for Sampling {
    /// One chain without noise between its steps.
    fn default() -> Self {
        let (kind, runs) = (SamplerKind::Mean, NonZeroU32::MIN);
        Self { kind, runs, seed: 0, solver: None, steps: None }
    }
}

impl Sampling {
    /// The sampler for a network that was trained with `setup`.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] if a solver or its steps are given and the method has no solver; [`crate::Error::Method`] if the number of
    /// steps is out of bounds.
    pub fn of(&self, setup: &Setup) -> Result<Sampler> {
        let integration = setup.integration_of(self.solver, self.steps)?;
        let &Self { kind, runs, seed, .. } = self;
        Ok(Sampler { kind, runs, seed: Seed(seed), integration })
    }
}

/// The numbers of an evaluation.
#[derive(Debug)]
pub struct Evaluated {
    /// The images of the data set.
    pub half: Half,
    /// The name of the data set.
    pub data: String,
    /// The classes in the order of their labels.
    pub class_names: Vec<String>,
    /// Hits, and which class was taken for which.
    pub evaluation: Evaluation,
    /// Recall, precision and F1 of every class.
    pub scores: ClassScores,
    /// The sampler.
    pub sampler: Sampler,
    found: EvalImages,
}

impl Evaluated {
    /// The share of images whose true class is among the five most probable; `None` where there are few classes.
    pub fn top_5(&self) -> Option<f64> {
        let many = self.class_names.len() > FEW_CLASSES;
        many.then(|| self.evaluation.accuracy_within(5)).flatten()
    }

    /// Writes the answer to each image, if the probabilities of all classes were kept.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_answers(&self, file: &AnswersFile<'_>) -> Result<()> {
        file.write(&self.class_names, &self.evaluation, &|number| self.found.picture(number))
    }
}

/// Classifies images with the trained network in `run`. For a file of answers the probabilities of all classes must be kept.
///
/// # Errors
/// If the run or the images cannot be opened, or do not go together.
pub fn evaluate(
    run: &Path,
    asked: &Asked,
    sampling: &Sampling,
    keep: Keep,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Evaluated> {
    let trained = Trained::open(run, device)?;
    let sampler = sampling.of(&trained.experiment.setup)?;
    let found = EvalImages::open(&trained, asked, progress)?;
    let images = trained.experiment.seen(&found.part.images)?.to_device(device)?;
    let class_names = trained.experiment.images.class_names;
    let keep = if class_names.len() > FEW_CLASSES { Keep::Probabilities } else { keep };
    let evaluation = evaluate_keeping(keep, &trained.network, &*trained.method, &images, &sampler)?;
    let scores = ClassScores::of(&evaluation.confusion);
    let (half, data) = (asked.half, found.name.clone());
    Ok(Evaluated { half, data, class_names, evaluation, scores, sampler, found })
}

//! Ablation: the accuracy of a trained chain without one of its blocks, with the first of them alone, in another order, from other noise.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use candle_core::Device;
use noprop_data::picked;
use noprop_method::{
    Denoiser, Encoded, Made, Method, MethodError, Route, Sampler, Seed, classify_along,
    most_probable,
};
use noprop_plot::{Series, SeriesAxes, SeriesFigure, save};
use noprop_train::in_chunks;
use serde::Serialize;

use crate::error::{Error, Result, ensure};
use crate::eval_images::{Asked, EvalImages};
use crate::evaluate::Sampling;
use crate::progress::Progress;
use crate::trained::Trained;

/// The most parts of the time where a chain has a single block.
const TENTHS: usize = 10;
/// Random orders, and other starting noises.
const DRAWS: usize = 5;
/// Test images where time is continuous, whose chains are long.
const FEW_IMAGES: usize = 1000;

/// The request of an ablation.
#[derive(Debug, Clone)]
pub struct AblationRequest {
    /// The images.
    pub asked: Asked,
    /// The sampler.
    pub sampling: Sampling,
    /// The number of images, drawn at random; without it all, and 1,000 where time is continuous.
    pub images: Option<NonZeroUsize>,
}

/// The accuracies of changed chains, all on the same images. Shares are 0..=1.
#[derive(Debug, Clone, Serialize)]
pub struct Ablation {
    /// The data set.
    pub data: String,
    /// The number of images.
    pub images: usize,
    /// `block`, or `part of the time` where the chain has a single block: a tenth, if the chain has ten steps or more.
    pub part: &'static str,
    /// The chain as it was trained.
    pub whole: f64,
    /// The chain without each part, part 1 first.
    pub without: Vec<f64>,
    /// Parts 1 to k alone, for each k.
    pub first: Vec<f64>,
    /// Each part alone, from noise: the answer that the part itself gives. The embedding after it would still be mostly noise.
    pub alone: Vec<f64>,
    /// All parts in reverse order.
    pub reversed: f64,
    /// All parts in random orders, drawn with seeds 0 to 4.
    pub shuffled: Vec<f64>,
    /// The whole chain from other starting noise: the five seeds after the sampler's.
    pub other_noise: Vec<f64>,
    /// The share of images that are answered in more than one way by the whole chain from the six starting noises.
    pub undecided: f64,
    /// The changes of the answer after each part; the first is 0, because nothing was answered before it.
    pub changed: Vec<Changed>,
}

/// The share of images whose answer after a part is another than before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Changed {
    /// All of them.
    pub all: f64,
    /// Those that were wrong and became right.
    pub mended: f64,
    /// Those that were right and became wrong.
    pub spoiled: f64,
}

/// Measures the trained run in `run`.
///
/// # Errors
/// If the run or the images cannot be opened, or do not go together.
pub fn ablate(
    run: &Path,
    request: &AblationRequest,
    device: &Device,
    progress: &mut dyn Progress,
) -> Result<Ablation> {
    let trained = Trained::open(run, device)?;
    let sampler = request.sampling.of(&trained.experiment.setup)?;
    if sampler.runs != NonZeroU32::MIN {
        // The answers along the chain are those of one chain, and would stand beside means of several.
        return Err(Error::setting("runs", "must be 1: an ablation follows one chain"));
    }
    let found = EvalImages::open(&trained, &request.asked, progress)?;
    let images = trained.experiment.seen(&found.part.images)?.to_device(device)?;
    let usual = trained.method.partition().map(|_| FEW_IMAGES);
    let images = match request.images.map(NonZeroUsize::get).or(usual) {
        Some(count) if count < images.len() => {
            images.select(&picked(trained.experiment.setup.seed, images.len(), count))?
        }
        _ => images,
    };
    ensure!(!images.is_empty(), "there are no images to classify");
    let (network, method): (&dyn Denoiser, &dyn Method) = (&trained.network, &*trained.method);
    let chain = Parts::of(network, method, &sampler)?;
    ensure!(
        !chain.parts.is_empty(),
        "the method {} has no chain, so there is no block to leave out",
        trained.experiment.setup.method
    );

    let routes = chain.routes();
    let answers: Vec<Answers> = in_chunks(&images, |images, rows| {
        let encoded = Encoded::new(network, images)?;
        let classify = |route: &[usize], sampler: &Sampler| {
            let route = Route::Steps(route);
            let see = &mut |_, _: Made<'_>| Ok(());
            classify_along(network, method, &encoded, rows, sampler, route, see)
        };
        let answer = |route: &Vec<usize>, sampler: &Sampler| -> Result<Vec<u32>, MethodError> {
            most_probable(&classify(route, sampler)?.probabilities)
        };
        let mut after: Vec<Vec<u32>> = Vec::new();
        let mut see = |run: u32, made: Made<'_>| -> Result<(), MethodError> {
            if run == 0 && chain.ends.contains(&made.step) {
                let answer = method.answer(network, &made.result.z)?;
                after.push(most_probable(&answer)?);
            }
            Ok(())
        };
        let route = Route::Whole;
        let whole = classify_along(network, method, &encoded, rows, &sampler, route, &mut see)?;
        let others = (1..=DRAWS as u64).map(|more| {
            let seed = Seed(sampler.seed.0.wrapping_add(more));
            answer(&chain.all(), &Sampler { seed, ..sampler })
        });
        let other_noise = others.collect::<Result<_, _>>()?;
        let alone = chain.parts.iter().map(|part| -> Result<Vec<u32>, MethodError> {
            let answer = classify(part, &sampler)?;
            most_probable(answer.per_block.first().unwrap_or(&answer.probabilities))
        });
        let alone = alone.collect::<Result<_, _>>()?;
        let routes = routes.iter().map(|route| answer(route, &sampler));
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Answers {
            whole: most_probable(&whole.probabilities)?,
            after,
            other_noise,
            alone,
            routes,
        })
    })?;

    let truth = images.labels.to_vec1::<u32>()?;
    let together = Answers::join(answers);
    let right = |labels: &Vec<u32>| share(labels.iter().zip(&truth).map(|(a, b)| a == b));
    let by_route: Vec<f64> = together.routes.iter().map(right).collect();
    let (without, rest) = by_route.split_at(chain.parts.len());
    let (reversed, shuffled) = rest.split_at(1);
    let undecided = (0..truth.len()).map(|image| {
        together.other_noise.iter().any(|labels| labels[image] != together.whole[image])
    });
    Ok(Ablation {
        data: found.name,
        images: truth.len(),
        part: chain.name,
        whole: right(&together.whole),
        without: without.to_vec(),
        first: together.after.iter().map(right).collect(),
        alone: together.alone.iter().map(right).collect(),
        reversed: reversed[0],
        shuffled: shuffled.to_vec(),
        other_noise: together.other_noise.iter().map(right).collect(),
        undecided: share(undecided),
        changed: changes(&together.after, &truth),
    })
}

impl Ablation {
    /// Draws the accuracies by part into `stem` with `.png` and `.svg` added.
    ///
    /// # Errors
    /// [`crate::Error::Plot`] if a file cannot be written.
    pub fn draw(&self, stem: &Path) -> Result<[PathBuf; 2]> {
        let line = |name: &str, shares: &[f64]| Series {
            name: name.into(),
            points: (1..).map(f64::from).zip(shares.iter().copied()).collect(),
        };
        let whole = vec![self.whole; self.without.len()];
        let axes = match self.part {
            "block" => SeriesAxes::AccuracyByBlock,
            _ => SeriesAxes::AccuracyByTime,
        };
        let series = vec![
            line("whole chain", &whole),
            line("without this one", &self.without),
            line("up to this one", &self.first),
            line("this one alone", &self.alone),
        ];
        let title = format!("What each {} adds: {}, {} images", self.part, self.data, self.images);
        Ok(save(&SeriesFigure { title, axes, series }, stem)?)
    }
}

/// The parts of a chain that an ablation leaves out and moves.
struct Parts {
    name: &'static str,
    /// The steps of each part.
    parts: Vec<Vec<usize>>,
    /// The last step of each part.
    ends: Vec<usize>,
}

impl Parts {
    /// The blocks of a chain, or the parts of its time if it has a single block.
    fn of(network: &dyn Denoiser, method: &dyn Method, sampler: &Sampler) -> Result<Self> {
        let features = |_: usize| network.class_embeddings().clone();
        let chain = method.chain(network, &features, sampler)?;
        let steps = chain.steps();
        let (name, part_of): (_, &dyn Fn(usize) -> usize) =
            match (method.partition(), method.blocks()) {
                (Some(_), 1) => {
                    ("part of the time", &|step| (step - 1) * TENTHS.min(steps) / steps)
                }
                _ => ("block", &|step| chain.block(step)),
            };
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for step in 1..=steps {
            match parts.last_mut() {
                Some((part, steps)) if *part == part_of(step) => steps.push(step),
                _ => parts.push((part_of(step), vec![step])),
            }
        }
        let parts: Vec<Vec<usize>> = parts.into_iter().map(|(_, steps)| steps).collect();
        let ends = parts.iter().filter_map(|steps| steps.last().copied()).collect();
        Ok(Self { name, parts, ends })
    }

    fn all(&self) -> Vec<usize> {
        self.parts.concat()
    }

    /// Without each part, all reversed, and all in random orders.
    fn routes(&self) -> Vec<Vec<usize>> {
        let count = self.parts.len();
        let in_order = |order: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
            order.flat_map(|part| self.parts[part].iter().copied()).collect()
        };
        let without = (0..count).map(|left| in_order(&mut (0..count).filter(|part| *part != left)));
        let reversed = std::iter::once(in_order(&mut (0..count).rev()));
        let shuffled = (0..DRAWS as u64).map(|seed| {
            in_order(&mut picked(seed, count, count).iter().map(|&part| part as usize))
        });
        without.chain(reversed).chain(shuffled).collect()
    }
}

/// The answers to some images: a label for each.
#[derive(Default)]
struct Answers {
    whole: Vec<u32>,
    /// After each part of the whole chain.
    after: Vec<Vec<u32>>,
    other_noise: Vec<Vec<u32>>,
    /// By each part alone.
    alone: Vec<Vec<u32>>,
    /// Of each route.
    routes: Vec<Vec<u32>>,
}

impl Answers {
    fn join(all: Vec<Self>) -> Self {
        let mut joined = Self::default();
        for more in all {
            joined.whole.extend(more.whole);
            for (to, from) in [
                (&mut joined.after, more.after),
                (&mut joined.other_noise, more.other_noise),
                (&mut joined.alone, more.alone),
                (&mut joined.routes, more.routes),
            ] {
                to.resize_with(from.len(), Vec::new);
                to.iter_mut().zip(from).for_each(|(all, labels)| all.extend(labels));
            }
        }
        joined
    }
}

/// The changes of the answers from one part to the next.
fn changes(after: &[Vec<u32>], truth: &[u32]) -> Vec<Changed> {
    let pairs = after.windows(2).map(|pair| {
        let images = || pair[0].iter().zip(&pair[1]).zip(truth);
        Changed {
            all: share(images().map(|((before, now), _)| before != now)),
            mended: share(images().map(|((before, now), t)| before != t && now == t)),
            spoiled: share(images().map(|((before, now), t)| before == t && now != t)),
        }
    });
    std::iter::once(Changed::default()).chain(pairs).collect()
}

fn share(cases: impl ExactSizeIterator<Item = bool>) -> f64 {
    let all = cases.len().max(1) as f64;
    cases.filter(|case| *case).count() as f64 / all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Routes hold whole parts, each once.
    #[test]
    fn parts_are_left_out_and_moved_as_wholes() {
        let parts = vec![vec![1, 2], vec![3], vec![4, 5]];
        let chain = Parts { name: "block", ends: vec![2, 3, 5], parts };
        let routes = chain.routes();
        assert_eq!(routes.len(), 3 + 1 + DRAWS);
        assert_eq!(routes[0], [3, 4, 5]);
        assert_eq!(routes[1], [1, 2, 4, 5]);
        assert_eq!(routes[3], [4, 5, 3, 1, 2]);
        for shuffled in &routes[4..] {
            let mut sorted = shuffled.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, chain.all());
            let at = |step| shuffled.iter().position(|s| *s == step).unwrap();
            assert_eq!((at(2), at(5)), (at(1) + 1, at(4) + 1), "a part stays together");
        }
    }

    /// A wrong answer that becomes another wrong one is a change, and neither mends nor spoils.
    #[test]
    fn changes_are_counted_by_their_worth() {
        let truth = [0, 1, 2, 3];
        let found = changes(&[vec![0, 0, 0, 0], vec![0, 1, 1, 0], vec![1, 1, 1, 0]], &truth);
        let expected = [(0.0, 0.0, 0.0), (0.5, 0.25, 0.0), (0.25, 0.0, 0.25)];
        assert_eq!(
            found.iter().map(|c| (c.all, c.mended, c.spoiled)).collect::<Vec<_>>(),
            expected
        );
    }
}

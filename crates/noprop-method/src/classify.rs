//! Classification: from noise to class probabilities. No function here takes a label.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{D, Tensor};
use noprop_kernels::random;

use crate::{Denoiser, Made, Method, MethodError, Noise, Part, Pass, Route, Sampler, walk};

/// The class probabilities of a batch.
#[derive(Debug, Clone)]
pub struct Classification {
    /// The result of the chain: softmax of the readout of z_T, averaged over runs, [N, classes].
    pub probabilities: Tensor,
    /// The class probabilities of each block: softmax of its logits, averaged over runs, B tensors [N, classes]. Empty if a
    /// single block gives no class probabilities.
    pub per_block: Vec<Tensor>,
}

/// The outputs of the image branches for a batch of images. They are computed once, and the batch can be classified any number
/// of times.
#[derive(Debug, Clone)]
pub struct Encoded {
    by_part: BTreeMap<Part, Tensor>,
}

impl Encoded {
    /// Runs each image branch on `images` [N, C, H, W] once.
    ///
    /// # Errors
    /// candle's, for images of the wrong shape.
    pub fn new(network: &dyn Denoiser, images: &Tensor) -> Result<Self, MethodError> {
        let mut by_part = BTreeMap::new();
        for block in 1..=network.blocks() {
            let part = network.encoder_part(block);
            if let Entry::Vacant(slot) = by_part.entry(part) {
                slot.insert(network.encode(part, images, Pass::Eval)?.detach());
            }
        }
        Ok(Self { by_part })
    }
}

/// Returns the most probable class of each row of `probabilities` [N, classes], the first of equal ones.
///
/// # Errors
/// [`MethodError::NoAnswer`] if there is NaN, which candle's `argmax` takes for class 0.
pub fn most_probable(probabilities: &Tensor) -> Result<Vec<u32>, MethodError> {
    if probabilities.sum_all()?.to_scalar::<f32>()?.is_nan() {
        return Err(MethodError::NoAnswer);
    }
    Ok(probabilities.argmax(D::Minus1)?.to_vec1()?)
}

/// Classifies `images` [N, C, H, W]: starts from z_0 ~ N(0, I) unless the chain has another start, refines it with the blocks, and
/// reads out the class.
///
/// `rows` holds one id for each image. An image's noise depends on its id and not on its position in the batch. Labels are not
/// an argument, so no label can leak. Each image branch runs once, for any number of steps and runs.
///
/// # Errors
/// [`MethodError`] if the network does not fit the method, or `rows` does not fit the images.
pub fn classify(
    network: &dyn Denoiser,
    method: &dyn Method,
    images: &Tensor,
    rows: &[u32],
    sampler: &Sampler,
) -> Result<Classification, MethodError> {
    classify_encoded(network, method, &Encoded::new(network, images)?, rows, sampler)
}

/// As [`classify`], for images that have already gone through the image branches.
///
/// # Errors
/// As for [`classify`].
pub fn classify_encoded(
    network: &dyn Denoiser,
    method: &dyn Method,
    encoded: &Encoded,
    rows: &[u32],
    sampler: &Sampler,
) -> Result<Classification, MethodError> {
    classify_along(network, method, encoded, rows, sampler, Route::Whole, &mut |_, _| Ok(()))
}

/// As [`classify_encoded`], along `route`. Every step of every run is shown to `see`, with the number of the run from 0.
///
/// # Errors
/// As for [`classify`] and [`walk`].
pub fn classify_along(
    network: &dyn Denoiser,
    method: &dyn Method,
    encoded: &Encoded,
    rows: &[u32],
    sampler: &Sampler,
    route: Route<'_>,
    see: &mut dyn FnMut(u32, Made<'_>) -> Result<(), MethodError>,
) -> Result<Classification, MethodError> {
    let features = |block: usize| encoded.by_part[&network.encoder_part(block)].clone();
    let embeddings = network.class_embeddings();
    let (width, device) = (embeddings.dim(1)?, embeddings.device());
    let chain = method.chain(network, &features, sampler)?;

    let mut classify = |run: u32| -> Result<Classification, MethodError> {
        let z = match chain.start() {
            Some(start) => start.clone(),
            None => random::normal_rows(sampler.seed.sampler_start(run), rows, width, device)?,
        };
        let noise = Noise { sampler, run, rows };
        let path = walk(&*chain, route, z, noise, &mut |made| see(run, made))?;
        Ok(Classification {
            probabilities: method.answer(network, &path.z)?.detach(),
            per_block: path.per_block.iter().map(Tensor::detach).collect(),
        })
    };
    let mut sum = classify(0)?;
    for run in 1..sampler.runs.get() {
        sum = add(&sum, &classify(run)?)?;
    }
    scaled(&sum, 1.0 / f64::from(sampler.runs.get()))
}

fn add(a: &Classification, b: &Classification) -> Result<Classification, MethodError> {
    let per_block = a.per_block.iter().zip(&b.per_block);
    Ok(Classification {
        probabilities: (&a.probabilities + &b.probabilities)?,
        per_block: per_block.map(|(x, y)| x + y).collect::<Result<_, _>>()?,
    })
}

fn scaled(sum: &Classification, scale: f64) -> Result<Classification, MethodError> {
    Ok(Classification {
        probabilities: (&sum.probabilities * scale)?,
        per_block: sum.per_block.iter().map(|x| x * scale).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::atomic::Ordering::Relaxed;

    use candle_core::{DType, Device};

    use super::*;
    use crate::toy::Toy;
    use crate::{
        Adjoint, ContinuousTime, EncoderKind, FlowMatching, Integration, LossWeight, OdeSolver,
        SamplerKind, Solver,
    };

    /// candle takes NaN for class 0, which would be counted as an answer.
    #[test]
    fn not_a_number_is_no_answer() {
        let rows = |rows: [[f32; 3]; 2]| most_probable(&Tensor::new(&rows, &Device::Cpu).unwrap());
        assert_eq!(rows([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0]]).unwrap(), [1, 0]);
        let nan = rows([[0.2, 0.4, 0.4], [f32::NAN; 3]]);
        assert!(matches!(nan, Err(MethodError::NoAnswer)), "{nan:?}");
    }

    /// Returns a network whose block b predicts class b − 1. As a velocity its logits lead to that class.
    fn network(blocks: usize, encoder: EncoderKind) -> Toy {
        let network = Toy::new(blocks, 3, |input| {
            let sure: Vec<f32> =
                (1..=3).map(|class| if class == input.block { 40.0 } else { 0.0 }).collect();
            let target = Tensor::from_vec(sure, (1, 3), &Device::Cpu)?;
            let left = input.time.affine(-1.0, 1.0)?.maximum(1e-3)?.unsqueeze(1)?;
            target.broadcast_sub(input.z)?.broadcast_div(&left)
        });
        Toy { encoder, ..network }
    }

    fn integration(solver: Solver, steps: u32) -> Integration {
        Integration { solver, steps: NonZeroU32::new(steps).unwrap() }
    }

    fn images() -> Tensor {
        Tensor::zeros((2, 1), DType::F32, &Device::Cpu).unwrap()
    }

    /// A thousand steps run each image branch once, and each solver evaluates the block as often as documented.
    #[test]
    fn a_thousand_steps_encode_the_images_once() {
        let sampler = Sampler::once(SamplerKind::Mean);
        let check = |method: &dyn Method, encoder, branches, asked| {
            let network = network(method.blocks(), encoder);
            let answer = classify(&network, method, &images(), &[0, 1], &sampler).unwrap();
            assert_eq!(answer.probabilities.dims(), [2, 3]);
            assert_eq!(network.encoded.load(Relaxed), branches);
            assert_eq!(network.asked.load(Relaxed), asked);
        };
        let (own, shared) = (EncoderKind::PerBlock, EncoderKind::Shared);
        let euler = integration(Solver::EULER, 1000);
        let ode = |solver| Integration { solver, steps: euler.steps };
        let start = network(1, own).schedule;
        let ct = ContinuousTime::new(1.0, LossWeight::Clipped(5.0), euler).unwrap();
        check(&ct, own, 1, 1000);
        check(&ct.divided(3, &start).unwrap(), own, 3, 1000);
        let fm = FlowMatching::new(LossWeight::Snr, ode(OdeSolver::Heun));
        check(&fm, own, 1, 2000);
        check(&fm.clone().divided(3).unwrap(), own, 3, 2000);
        check(&fm.divided(3).unwrap(), shared, 1, 2000);
        check(&Adjoint::new(ode(OdeSolver::Euler)), own, 1, 1000);
    }

    /// Each step evaluates the block that owns its time, each block reports its own prediction, and a block without a step is
    /// refused.
    #[test]
    fn each_block_is_asked_in_its_interval_and_reports_its_own_belief() {
        let network = network(3, EncoderKind::Shared);
        let thousand = integration(Solver::EULER, 1000);
        let ct = ContinuousTime::new(1.0, LossWeight::Clipped(5.0), thousand).unwrap();
        let ct = ct.divided(3, &network.schedule).unwrap();
        let fm =
            FlowMatching::new(LossWeight::Snr, thousand.try_into().unwrap()).divided(3).unwrap();
        let ask = |method: &dyn Method, solver, steps| {
            let integration = Some(integration(solver, steps));
            let sampler = Sampler { integration, ..Sampler::once(SamplerKind::Mean) };
            classify(&network, method, &images(), &[0, 1], &sampler)
        };
        let (posterior, euler, heun) = (Solver::Posterior, Solver::EULER, Solver::HEUN);
        let cases: [(&dyn Method, Solver); 5] =
            [(&ct, posterior), (&ct, euler), (&ct, heun), (&fm, euler), (&fm, heun)];
        for (method, solver) in cases {
            for steps in [20, 50, 1000] {
                let answer = ask(method, solver, steps).unwrap();
                assert_eq!(answer.per_block.len(), 3);
                for (class, believed) in (0u32..).zip(&answer.per_block) {
                    let top = believed.argmax(1).unwrap().to_vec1::<u32>().unwrap();
                    assert_eq!(top, [class, class], "{solver} {steps}");
                }
            }
        }
        let refused = ask(&fm, euler, 2);
        assert!(matches!(refused, Err(MethodError::FewSteps { steps: 2, fewest: 3, .. })));
    }
}

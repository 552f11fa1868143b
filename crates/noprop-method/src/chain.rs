//! The chain that classifies: steps from noise to an embedding, and a walk along them.

use candle_core::Tensor;
use noprop_schedule::Posterior;

use crate::{MethodError, Noise};

/// The chain of a method for one batch of images. Its S steps are counted from 1, and each is made by one block.
pub trait Chain {
    /// Returns S, the number of steps.
    fn steps(&self) -> usize;

    /// Returns z before the first step, [N, …]; `None` if the chain starts from noise, z_0 ~ N(0, I).
    fn start(&self) -> Option<&Tensor> {
        None
    }

    /// Returns the block that makes step `step`. In discrete time it is the block of that number.
    fn block(&self, step: usize) -> usize {
        step
    }

    /// Returns the times in 0..=1 at which step `step` begins and ends.
    fn times(&self, step: usize) -> (f64, f64) {
        let steps = self.steps() as f64;
        ((step as f64 - 1.0) / steps, step as f64 / steps)
    }

    /// Makes step `step` from `z` [N, d].
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn step(&self, step: usize, z: &Tensor, noise: Noise<'_>) -> Result<ChainStep, MethodError>;
}

/// The result of one step.
#[derive(Debug, Clone)]
pub struct ChainStep {
    /// z after the step, [N, d].
    pub z: Tensor,
    /// The class probabilities that the block gives, [N, classes]; `None` if a single block gives no class probabilities.
    pub guess: Option<Tensor>,
    /// The terms of Eq. 3; `None` for a step of another kind.
    pub update: Option<Update>,
}

/// The terms of z_t = a û + b z_{t−1} + √c ε (Eq. 3).
#[derive(Debug, Clone)]
pub struct Update {
    /// a, b and c.
    pub factors: Posterior,
    /// û, the embedding that the block predicts, [N, d].
    pub clean: Tensor,
    /// ε, [N, d]; `None` if the sampler leaves it out.
    pub noise: Option<Tensor>,
}

/// A step that was made.
pub struct Made<'a> {
    /// The chain.
    pub chain: &'a dyn Chain,
    /// The number of the step.
    pub step: usize,
    /// z before the step, [N, d].
    pub z: &'a Tensor,
    /// The result.
    pub result: &'a ChainStep,
}

/// The steps that are made, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Route<'a> {
    /// All steps, as in training.
    #[default]
    Whole,
    /// These steps by number. A step keeps its block, its time and its factors wherever it stands. A step may be missing or be there
    /// twice.
    Steps(&'a [usize]),
}

/// The end of a walk along a chain.
#[derive(Debug, Clone)]
pub struct Trajectory {
    /// The last embedding, [N, d].
    pub z: Tensor,
    /// The class probabilities of each block in its last step, in the order of blocks, tensors [N, classes]. A block without a step on
    /// the route has none, and the list is empty if a single block gives no class probabilities.
    pub per_block: Vec<Tensor>,
}

/// The most steps of a route.
const MOST_STEPS: usize = 100_000;

/// Leads the noise `z` [N, d] along `route`, and shows every step to `see`. `noise` holds the ids of the images, so an image's draws do not
/// depend on its position in the batch.
///
/// # Errors
/// [`MethodError::OutOfRange`] if the route has a step that the chain does not have, or too many; those of the chain and of `see`.
pub fn walk(
    chain: &dyn Chain,
    route: Route<'_>,
    mut z: Tensor,
    noise: Noise<'_>,
    see: &mut dyn FnMut(Made<'_>) -> Result<(), MethodError>,
) -> Result<Trajectory, MethodError> {
    let all: Vec<usize> = (1..=chain.steps()).collect();
    let steps = match route {
        Route::Whole => &all,
        Route::Steps(steps) => steps,
    };
    let wrong = |value: usize| MethodError::OutOfRange {
        name: "route",
        expected: "steps of the chain, 100000 at most",
        value: value.to_string(),
    };
    if steps.len() > MOST_STEPS {
        return Err(wrong(steps.len()));
    }
    if let Some(&step) = steps.iter().find(|step| !(1..=chain.steps()).contains(step)) {
        return Err(wrong(step));
    }
    let blocks = steps.iter().map(|&step| chain.block(step)).max().unwrap_or(0);
    let mut last = vec![None; blocks];
    for &step in steps {
        let made = chain.step(step, &z, noise)?;
        see(Made { chain, step, z: &z, result: &made })?;
        last[chain.block(step) - 1] = made.guess;
        z = made.z;
    }
    Ok(Trajectory { z, per_block: last.into_iter().flatten().collect() })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{Sampler, SamplerKind};

    /// Step t of five makes 10 z + t, by block 1 up to step 3 and then by block 2.
    struct Digits;

    impl Chain for Digits {
        fn steps(&self) -> usize {
            5
        }

        fn block(&self, step: usize) -> usize {
            if step <= 3 { 1 } else { 2 }
        }

        fn step(&self, step: usize, z: &Tensor, _: Noise<'_>) -> Result<ChainStep, MethodError> {
            let z = z.affine(10.0, step as f64)?;
            Ok(ChainStep { guess: Some(z.clone()), z, update: None })
        }
    }

    /// Returns the digits of the steps that were made, those that were shown, and the end of each block.
    fn walked(route: Route<'_>) -> Result<(f64, Vec<usize>, Vec<f64>), MethodError> {
        let sampler = Sampler::once(SamplerKind::Mean);
        let noise = Noise { sampler: &sampler, run: 0, rows: &[0] };
        let mut shown = Vec::new();
        let z = Tensor::new(0f64, &Device::Cpu)?;
        let path = walk(&Digits, route, z, noise, &mut |made| {
            shown.push(made.step);
            Ok(())
        })?;
        let number = |tensor: &Tensor| tensor.to_scalar::<f64>();
        let blocks = path.per_block.iter().map(number).collect::<candle_core::Result<_>>()?;
        Ok((number(&path.z)?, shown, blocks))
    }

    /// A route makes its steps and no others, in its order, and a block answers with its last one.
    #[test]
    fn a_route_is_walked_as_it_is_written() {
        assert_eq!(
            walked(Route::Whole).unwrap(),
            (12345.0, vec![1, 2, 3, 4, 5], vec![123.0, 12345.0])
        );
        let reversed = walked(Route::Steps(&[5, 2, 1])).unwrap();
        assert_eq!(reversed, (521.0, vec![5, 2, 1], vec![521.0, 5.0]));
        assert_eq!(walked(Route::Steps(&[4, 4])).unwrap(), (44.0, vec![4, 4], vec![44.0]));
        assert_eq!(walked(Route::Steps(&[])).unwrap(), (0.0, vec![], vec![]));
        for wrong in [&[0][..], &[6], &[1; 100_001]] {
            assert!(matches!(walked(Route::Steps(wrong)), Err(MethodError::OutOfRange { .. })));
        }
        assert_eq!((Digits.times(1), Digits.times(5)), ((0.0, 0.2), (0.8, 1.0)));
    }
}

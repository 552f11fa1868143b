//! Moving averages of variables, in place.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;

use super::{OptimError, fits, in_range, one_of_each};
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::simd::Float;
use crate::cpu::storage::{elements, with_elements_mut};
use crate::threads::grain;

/// The elements that one thread averages at a stretch: two arrays of them fit its second-level cache.
const CHUNK: usize = 16 * 1024;

/// Exponential moving averages of a fixed list of named variables (Polyak and Juditsky 1992 average evenly; this form is that of
/// the class ExponentialMovingAverage of TensorFlow).
///
/// After step n = 1, 2, … of the variables: `a ← a + (1 − d) (θ − a)`, which is `d a + (1 − d) θ`, with
/// `d = min(rate, (1 + n) / (10 + n))`. In the first steps d is small, so that the values from before training do not stay in the
/// average. An average of values that do not change is exactly their value.
///
/// On the CPU in f32 and f64 averages are updated in place in one pass, each element on its own, so the result does not depend on
/// the number of threads.
///
/// ```
/// use candle_core::{Device, Var};
/// use noprop_kernels::optim::Averages;
///
/// let x = Var::new(&[0.0_f32], &Device::Cpu)?;
/// let mut averages = Averages::new(vec![("x".to_owned(), x.clone())], 0.99)?;
/// x.set(&(x.as_tensor() + 11.0)?)?;
/// averages.update(1)?; // d = 2/11
/// averages.exchange()?;
/// assert_eq!(x.to_vec1::<f32>()?, [9.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Averages {
    slots: Vec<Slot>,
    rate: f64,
}

#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    average: Tensor,
}

impl Averages {
    /// Averages of `vars` that begin at their present values.
    ///
    /// # Errors
    /// [`OptimError::Config`] unless `rate` is at least 0 and below 1, [`OptimError::DuplicateName`] when two variables have one name.
    pub fn new(vars: Vec<(String, Var)>, rate: f64) -> Result<Self, OptimError> {
        in_range("rate", rate, (0.0..1.0).contains(&rate), "at least 0 and below 1")?;
        one_of_each(&vars)?;
        let slots = vars.into_iter().map(|(name, var)| {
            let average = own_copy(&var, var.as_tensor())?;
            Ok(Slot { name, var, average })
        });
        Ok(Self { slots: slots.collect::<Result<_, OptimError>>()?, rate })
    }

    /// Moves the averages towards the variables, which have made `step` steps.
    ///
    /// # Errors
    /// candle's.
    pub fn update(&mut self, step: u64) -> Result<(), OptimError> {
        let n = step as f64;
        let share = 1.0 - self.rate.min((1.0 + n) / (10.0 + n));
        for Slot { var, average, .. } in &mut self.slots {
            match (var.device(), var.dtype()) {
                (Device::Cpu, DType::F32) => in_place::<f32>(average, var, share)?,
                (Device::Cpu, DType::F64) => in_place::<f64>(average, var, share)?,
                _ => {
                    let apart = (var.as_detached_tensor() - &*average)?;
                    *average = (&*average + (apart * share)?)?;
                }
            }
        }
        Ok(())
    }

    /// Gives every variable the value of its average, and the average that of the variable. A second call undoes the first.
    ///
    /// # Errors
    /// candle's.
    pub fn exchange(&mut self) -> Result<(), OptimError> {
        for Slot { var, average, .. } in &mut self.slots {
            let value = own_copy(var, var.as_tensor())?;
            var.set(average)?;
            *average = value;
        }
        Ok(())
    }

    /// The name and the average of every variable, in the order given to [`Averages::new`].
    ///
    /// The tensors are the live ones, which a later step changes. Copy those that must stay.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.slots.iter().map(|slot| (slot.name.as_str(), &slot.average))
    }

    /// Restores the averages of an earlier training of variables of the same names and shapes.
    ///
    /// # Errors
    /// [`OptimError::StateNames`] when a name is missing or unknown, [`OptimError::Mismatch`] when a tensor does not have its variable's
    /// shape and type. Nothing is changed then.
    pub fn restore(&mut self, mut averages: BTreeMap<String, Tensor>) -> Result<(), OptimError> {
        let refused =
            |name: &str, problem| OptimError::StateNames { name: name.to_owned(), problem };
        let restored = self.slots.iter().map(|Slot { name, var, .. }| {
            let average = averages.remove(name).ok_or_else(|| refused(name, "is missing"))?;
            fits("average", name, var, &average)?;
            Ok(own_copy(var, &average)?)
        });
        let restored = restored.collect::<Result<Vec<_>, OptimError>>()?;
        if let Some((name, _)) = averages.first_key_value() {
            return Err(refused(name, "is not a variable here"));
        }
        for (slot, average) in self.slots.iter_mut().zip(restored) {
            slot.average = average;
        }
        Ok(())
    }
}

/// A copy of `tensor` that may be changed in place, on the device of `var`.
fn own_copy(var: &Var, tensor: &Tensor) -> candle_core::Result<Tensor> {
    Ok(tensor.to_device(var.device())?.force_contiguous()?.copy()?.detach())
}

fn in_place<F: Float>(average: &Tensor, value: &Tensor, share: f64) -> candle_core::Result<()> {
    let value = elements::<F>(value)?;
    let arch = instruction_set::current();
    with_elements_mut(average, |average: &mut [F]| {
        let chunks = average.par_chunks_mut(CHUNK).zip(value.par_chunks(CHUNK));
        chunks.with_min_len(grain()).for_each(|(average, value)| {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    let share = F::constant(share);
                    for (average, value) in average.iter_mut().zip(value) {
                        *average = *average + share * (*value - *average);
                    }
                },
            );
        });
        Ok(())
    })
}

//! One variable's update: in place on the CPU, in plain candle ops elsewhere.

use candle_core::{DType, Device, Result, Storage, Tensor, Var};
use rayon::prelude::*;

use super::coefficients::Coefficients;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::simd::Float;
use crate::cpu::storage::{elements, with_elements_mut};
use crate::threads::grain;

/// The elements that one thread updates at a stretch: four arrays of them fit its second-level cache.
const CHUNK: usize = 16 * 1024;

/// Updates `var`, `m` and `v`, which have one shape, type and device.
pub(super) fn apply(
    var: &Var,
    m: &mut Tensor,
    v: &mut Tensor,
    grad: &Tensor,
    c: &Coefficients,
) -> Result<()> {
    let grad = grad.contiguous()?;
    match (var.device(), var.dtype()) {
        #[cfg(feature = "cuda")]
        (Device::Cuda(_), DType::F32) => crate::gpu::adam::step(var.as_tensor(), m, v, &grad, c),
        (Device::Cpu, DType::F32) => in_place::<f32>(var, m, v, &grad, c),
        (Device::Cpu, DType::F64) => in_place::<f64>(var, m, v, &grad, c),
        _ => plain(var, m, v, &grad, c),
    }
}

fn plain(var: &Var, m: &mut Tensor, v: &mut Tensor, grad: &Tensor, c: &Coefficients) -> Result<()> {
    let theta = var.as_detached_tensor();
    let grad = match c.penalty == 0.0 {
        true => grad.clone(),
        false => (grad + (&theta * c.penalty)?)?,
    };
    *m = ((&*m * c.beta1)? + (&grad * (1.0 - c.beta1))?)?;
    *v = ((&*v * c.beta2)? + (grad.sqr()? * (1.0 - c.beta2))?)?;
    let root = (v.sqrt()? * c.root_scale)?;
    let step = ((&*m * c.rate)? / (root + c.eps)?)?;
    var.set(&((theta * c.shrink)? - step)?)
}

/// Returns whether both tensors have the same storage.
fn share_memory(a: &Tensor, b: &Tensor) -> bool {
    // One lock at a time: both may be the same.
    let place = |tensor: &Tensor| {
        let (storage, _) = tensor.storage_and_layout();
        std::ptr::from_ref::<Storage>(&storage)
    };
    std::ptr::eq(place(a), place(b))
}

fn in_place<F: Float>(
    theta: &Tensor,
    m: &Tensor,
    v: &Tensor,
    grad: &Tensor,
    c: &Coefficients,
) -> Result<()> {
    // A gradient in memory that the step writes would hold the lock for which the step waits.
    let grad = match [theta, m, v].into_iter().any(|changed| share_memory(changed, grad)) {
        true => &grad.copy()?,
        false => grad,
    };
    let grad = elements::<F>(grad)?;
    let arch = instruction_set::current();
    let update = |theta: &mut [F], m: &mut [F], v: &mut [F]| {
        theta
            .par_chunks_mut(CHUNK)
            .zip(grad.par_chunks(CHUNK))
            .zip(m.par_chunks_mut(CHUNK))
            .zip(v.par_chunks_mut(CHUNK))
            .with_min_len(grain())
            .for_each(|(((theta, grad), m), v)| {
                vectorised(
                    arch,
                    #[inline(always)]
                    || update_chunk(theta, grad, m, v, c),
                );
            });
    };
    with_elements_mut(theta, |theta| {
        with_elements_mut(m, |m| {
            with_elements_mut(v, |v| {
                update(theta, m, v);
                Ok(())
            })
        })
    })
}

#[inline(always)]
fn update_chunk<F: Float>(theta: &mut [F], grad: &[F], m: &mut [F], v: &mut [F], c: &Coefficients) {
    let (beta1, rest1) = (F::constant(c.beta1), F::constant(1.0 - c.beta1));
    let (beta2, rest2) = (F::constant(c.beta2), F::constant(1.0 - c.beta2));
    let (rate, root_scale) = (F::constant(c.rate), F::constant(c.root_scale));
    let (eps, shrink) = (F::constant(c.eps), F::constant(c.shrink));
    let penalty = F::constant(c.penalty);
    for (((theta, grad), m), v) in theta.iter_mut().zip(grad).zip(m).zip(v) {
        let g = *grad + penalty * *theta;
        *m = beta1 * *m + rest1 * g;
        *v = beta2 * *v + rest2 * g * g;
        *theta = shrink * *theta - rate * *m / (v.root() * root_scale + eps);
    }
}

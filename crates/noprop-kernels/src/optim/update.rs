//! One variable's update: in place on the CPU, in plain candle ops elsewhere.

use std::cell::RefCell;

use candle_core::{
    CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, WithDType, bail,
};
use rayon::prelude::*;

use super::coefficients::Coefficients;
use crate::cpu::instruction_set::{self, vectorised};
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
    #[cfg(feature = "cuda")]
    if var.device().is_cuda() && var.dtype() == candle_core::DType::F32 {
        return crate::gpu::adam::step(var.as_tensor(), m, v, &grad, c);
    }
    let in_place = var.device().is_cpu()
        && matches!(var.dtype(), candle_core::DType::F32 | candle_core::DType::F64);
    if in_place { var.inplace_op2(&grad, &Step { m, v, c }) } else { plain(var, m, v, &grad, c) }
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

/// The update as an op on the parameters, with the gradient as its source. Parameters and both moments are written together,
/// but candle lends one tensor's memory at a time, so each op passes the memory that it holds to the next op.
struct Step<'a> {
    m: &'a Tensor,
    v: &'a Tensor,
    c: &'a Coefficients,
}

struct WithFirst<'a, 'b, F> {
    held: RefCell<Option<(&'b mut [F], &'b [F])>>,
    v: &'a Tensor,
    c: &'a Coefficients,
}

struct WithBoth<'a, 'b, F> {
    held: RefCell<Option<Held<'b, F>>>,
    c: &'a Coefficients,
}

/// Parameters, gradient and first moment.
type Held<'b, F> = (&'b mut [F], &'b [F], &'b mut [F]);

const NAME: &str = "adam";

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        theta_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        match (theta, grad) {
            (CpuStorage::F32(theta), CpuStorage::F32(grad)) => {
                self.run::<f32>(theta, theta_layout, grad, grad_layout)
            }
            (CpuStorage::F64(theta), CpuStorage::F64(grad)) => {
                self.run::<f64>(theta, theta_layout, grad, grad_layout)
            }
            _ => bail!("{NAME}: parameters and gradient must both be f32 or both f64"),
        }
    }
}

impl Step<'_> {
    fn run<F: Moment>(
        &self,
        theta: &mut [F],
        theta_layout: &Layout,
        grad: &[F],
        grad_layout: &Layout,
    ) -> Result<()> {
        let held = (contiguous_mut(theta, theta_layout)?, contiguous(grad, grad_layout)?);
        self.m.inplace_op1(&WithFirst { held: RefCell::new(Some(held)), v: self.v, c: self.c })
    }
}

impl<F: Moment> InplaceOp1 for WithFirst<'_, '_, F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, m: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((theta, grad)) = self.held.take() else {
            bail!("{NAME}: the op ran twice");
        };
        let m = contiguous_mut(F::of(m)?, layout)?;
        self.v.inplace_op1(&WithBoth { held: RefCell::new(Some((theta, grad, m))), c: self.c })
    }
}

impl<F: Moment> InplaceOp1 for WithBoth<'_, '_, F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, v: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((theta, grad, m)) = self.held.take() else {
            bail!("{NAME}: the op ran twice");
        };
        let v = contiguous_mut(F::of(v)?, layout)?;
        let arch = instruction_set::current();
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
                    || F::update(theta, grad, m, v, self.c),
                );
            });
        Ok(())
    }
}

/// The memory of a contiguous tensor.
fn contiguous<'a, F>(data: &'a [F], layout: &Layout) -> Result<&'a [F]> {
    match layout.contiguous_offsets() {
        Some((start, end)) if end <= data.len() => Ok(&data[start..end]),
        _ => bail!("{NAME}: gradient memory is not contiguous"),
    }
}

fn contiguous_mut<'a, F>(data: &'a mut [F], layout: &Layout) -> Result<&'a mut [F]> {
    match layout.contiguous_offsets() {
        Some((start, end)) if end <= data.len() => Ok(&mut data[start..end]),
        _ => bail!("{NAME}: parameters or moments are not contiguous"),
    }
}

/// The float types that are updated in place.
trait Moment: WithDType {
    fn of(storage: &mut CpuStorage) -> Result<&mut [Self]>;
    fn update(theta: &mut [Self], grad: &[Self], m: &mut [Self], v: &mut [Self], c: &Coefficients);
}

macro_rules! moment {
    ($float:ty, $variant:ident) => {
        impl Moment for $float {
            fn of(storage: &mut CpuStorage) -> Result<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(data) => Ok(data),
                    _ => bail!("{NAME}: moments must have the type of the parameters"),
                }
            }

            #[inline(always)]
            fn update(
                theta: &mut [Self],
                grad: &[Self],
                m: &mut [Self],
                v: &mut [Self],
                c: &Coefficients,
            ) {
                let (beta1, rest1) = (c.beta1 as $float, (1.0 - c.beta1) as $float);
                let (beta2, rest2) = (c.beta2 as $float, (1.0 - c.beta2) as $float);
                let (rate, root_scale) = (c.rate as $float, c.root_scale as $float);
                let (eps, shrink) = (c.eps as $float, c.shrink as $float);
                let penalty = c.penalty as $float;
                for (((theta, grad), m), v) in theta.iter_mut().zip(grad).zip(m).zip(v) {
                    let g = *grad + penalty * *theta;
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *theta = shrink * *theta - rate * *m / (v.sqrt() * root_scale + eps);
                }
            }
        }
    };
}

moment!(f32, F32);
moment!(f64, F64);

//! The fused layer as a candle op.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor};
use pulp::Arch;

use super::backward::{self, Images, Inputs};
use super::forward::{self, Keep};
use super::geometry::Geometry;
use super::{Conv3x3, Pool, Sizes};
use crate::cpu::simd::Float;
use crate::cpu::storage::{contiguous, is_f32, with_elements};
use crate::dropout::Dropout;

/// See [`Conv3x3::forward`]; the arguments have been checked against `s`.
pub(super) fn forward(
    layer: &Conv3x3,
    s: Sizes,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
) -> crate::Result<Tensor> {
    let tracked = [x, w, b].iter().any(|t| t.track_op());
    let keep = match (layer.pool, tracked) {
        (Pool::Max2, true) => Keep::Winners,
        _ => Keep::Nothing,
    };
    let op = FusedConv {
        geometry: Geometry::new(&s, layer.padding, layer.pool),
        sizes: s,
        dropout: layer.dropout.clone(),
        keep,
        winners: Mutex::new(Vec::new()),
    };
    Ok(x.contiguous()?
        .apply_op3(&w.contiguous()?, &b.contiguous()?, op)?)
}

struct FusedConv {
    sizes: Sizes,
    geometry: Geometry,
    dropout: Option<Dropout>,
    keep: Keep,
    /// Written by forward, read by backward.
    winners: Mutex<Vec<u8>>,
}

impl FusedConv {
    fn result_shape(&self) -> Shape {
        let s = &self.sizes;
        Shape::from((s.blocks, s.images, s.c_out, s.out_height, s.out_width))
    }

    fn run_forward<F: Float>(&self, parts: [(&CpuStorage, &Layout); 3]) -> Result<CpuStorage> {
        let [x, w, b] = parts;
        let parts = [
            contiguous::<F>(x.0, x.1)?,
            contiguous::<F>(w.0, w.1)?,
            contiguous::<F>(b.0, b.1)?,
        ];
        let (result, winners) = forward::run(
            Arch::new(),
            &self.sizes,
            &self.geometry,
            self.dropout.as_ref(),
            self.keep,
            parts,
        );
        *self.winners.lock().unwrap_or_else(PoisonError::into_inner) = winners;
        Ok(F::storage(result))
    }

    fn run_backward<F: Float>(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let images = if x.track_op() {
            Images::Wanted
        } else {
            Images::Skip
        };
        let winners = self.winners.lock().unwrap_or_else(PoisonError::into_inner);
        let scale = self.dropout.as_ref().map_or(1.0, Dropout::scale);
        let gradient = gradient.contiguous()?;
        let gradients = with_elements(x, |x| {
            with_elements(w, |w| {
                with_elements(result, |result| {
                    with_elements(&gradient, |gradient| {
                        let inputs = Inputs {
                            x,
                            w,
                            result,
                            gradient,
                            winners: &winners,
                            scale: F::constant(scale),
                        };
                        let (sizes, geometry) = (&self.sizes, &self.geometry);
                        Ok(backward::run(Arch::new(), sizes, geometry, images, &inputs))
                    })
                })
            })
        })?;
        let tensor = |elements, like: &Tensor| {
            Tensor::from_vec(elements, like.shape(), &Device::Cpu).map(Some)
        };
        Ok((
            gradients.x.map_or(Ok(None), |dx| tensor(dx, x))?,
            tensor(gradients.w, w)?,
            tensor(gradients.b, b)?,
        ))
    }
}

impl CustomOp3 for FusedConv {
    fn name(&self) -> &'static str {
        super::OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let parts = [(x, x_layout), (w, w_layout), (b, b_layout)];
        let result = if is_f32(x) {
            self.run_forward::<f32>(parts)?
        } else {
            self.run_forward::<f64>(parts)?
        };
        Ok((result, self.result_shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if x.dtype() == DType::F32 {
            self.run_backward::<f32>(x, w, b, result, gradient)
        } else {
            self.run_backward::<f64>(x, w, b, result, gradient)
        }
    }
}

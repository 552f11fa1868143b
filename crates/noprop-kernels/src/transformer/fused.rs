//! The layer on the CPU: the kernels of its parts one after another. What they pass to each other never becomes a tensor, since candle would add
//! the gradient of each to zeros, on one thread.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::{PARAMETERS, Sizes, TransformerLayer};
use crate::attention::fused::Images;
use crate::backend::Precision;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::gelu;
use crate::layer_norm::fused::Norm;
use crate::linear::fused::Dense;
use crate::linear::terms::{Bf16, Terms};
use crate::linear::{self, Linear};
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// See [`TransformerLayer::forward`]; the arguments have been checked against `sizes`.
pub(super) fn apply(
    layer: TransformerLayer,
    sizes: Sizes,
    x: &Tensor,
    parameters: [&Tensor; PARAMETERS],
) -> Result<Tensor> {
    let precision = layer.precision;
    let layer = Layer::new(layer, sizes, parameters.map(Tensor::elem_count));
    let flat = parameters.map(Tensor::flatten_all).into_iter().collect::<Result<Vec<_>>>()?;
    // A candle op takes three arguments at most.
    let packed = Tensor::cat(&flat, 0)?;
    match (x.dtype(), precision) {
        (DType::F32, Precision::F32 | Precision::Tf32) => layer.apply::<f32>(x, &packed),
        (DType::F32, Precision::Bf16) => layer.apply::<Bf16>(x, &packed),
        _ => layer.apply::<f64>(x, &packed),
    }
}

struct Layer {
    eps: f64,
    rows: usize,
    width: usize,
    attention: Images,
    qkv: Dense,
    out: Dense,
    fc1: Dense,
    fc2: Dense,
    /// The elements of each parameter.
    lengths: [usize; PARAMETERS],
}

/// The values that the forward pass leaves for the backward pass.
struct Kept<F> {
    normal1: Vec<F>,
    qkv: Vec<F>,
    mixed: Vec<F>,
    between: Vec<F>,
    normal2: Vec<F>,
    wide: Vec<F>,
    bent: Vec<F>,
}

impl Layer {
    fn new(layer: TransformerLayer, sizes: Sizes, lengths: [usize; PARAMETERS]) -> Self {
        let Sizes { attention, width, inner } = sizes;
        let (blocks, rows) = (attention.blocks, attention.images * attention.tokens);
        let dense = |inputs, outputs| Dense {
            layer: Linear { precision: layer.precision, ..Linear::default() },
            sizes: linear::Sizes { x_blocks: blocks, blocks, rows, inputs, outputs },
        };
        Self {
            eps: layer.eps,
            rows,
            width,
            attention: Images::new(attention),
            qkv: dense(width, 3 * width),
            out: dense(width, width),
            fc1: dense(width, inner),
            fc2: dense(inner, width),
            lengths,
        }
    }

    fn apply<T: Terms>(self, x: &Tensor, packed: &Tensor) -> Result<Tensor> {
        let arguments = [x, packed];
        let (x, parameters) = (x.detach().contiguous()?, packed.detach());
        let (y, kept) = self.forward::<T>(&elements(&x)?, &elements(&parameters)?);
        node(super::OP, &arguments, on_cpu(y, x.shape()), move |_, dy| {
            let dy = dy.contiguous()?;
            let (dx, found) =
                self.backward::<T>(&elements(&x)?, &elements(&parameters)?, &kept, &elements(&dy)?);
            Ok([gradient(dx, x.shape())?, gradient(found.concat(), parameters.shape())?, None])
        })
    }

    fn norm<F: Float>(&self) -> Norm<F> {
        Norm::new(self.eps, self.rows, self.width)
    }

    /// The parameters, in the order of [`super::TransformerParameters`].
    fn split<'a, F>(&self, packed: &'a [F]) -> [&'a [F]; PARAMETERS] {
        let mut rest = packed;
        self.lengths.map(|length| {
            let (parameter, behind) = rest.split_at(length);
            rest = behind;
            parameter
        })
    }

    fn forward<T: Terms>(
        &self,
        x: &[T::Number],
        packed: &[T::Number],
    ) -> (Vec<T::Number>, Kept<T::Number>) {
        let [gamma1, beta1, w_qkv, b_qkv, w_out, b_out, gamma2, beta2, w_fc1, b_fc1, w_fc2, b_fc2] =
            self.split(packed);
        let normal1 = self.norm().forward(x, gamma1, beta1);
        let qkv = self.qkv.forward::<T>(&normal1, w_qkv, b_qkv);
        let mixed = self.attention.forward(&qkv);
        let mut between = self.out.forward::<T>(&mixed, w_out, b_out);
        add(&mut between, x);
        let normal2 = self.norm().forward(&between, gamma2, beta2);
        let wide = self.fc1.forward::<T>(&normal2, w_fc1, b_fc1);
        let bent = gelu::values(&wide);
        let mut y = self.fc2.forward::<T>(&bent, w_fc2, b_fc2);
        add(&mut y, &between);
        (y, Kept { normal1, qkv, mixed, between, normal2, wide, bent })
    }

    /// The gradients of x and of the parameters.
    fn backward<T: Terms>(
        &self,
        x: &[T::Number],
        packed: &[T::Number],
        kept: &Kept<T::Number>,
        dy: &[T::Number],
    ) -> (Vec<T::Number>, [Vec<T::Number>; PARAMETERS]) {
        let [gamma1, _, w_qkv, _, w_out, _, gamma2, _, w_fc1, _, w_fc2, _] = self.split(packed);
        let Kept { normal1, qkv, mixed, between, normal2, wide, bent } = kept;
        // Without an activation, the result of a dense layer is not needed.
        let (dbent, dw_fc2, db_fc2) = self.fc2.backward::<T>(0, [bent, w_fc2, &[], dy]);
        let dwide = gelu::gradients(wide, &dbent);
        drop(dbent);
        let (dnormal2, dw_fc1, db_fc1) = self.fc1.backward::<T>(0, [normal2, w_fc1, &[], &dwide]);
        drop(dwide);
        let (mut dbetween, dgamma2, dbeta2) = self.norm().backward(between, gamma2, &dnormal2);
        add(&mut dbetween, dy);
        let (dmixed, dw_out, db_out) = self.out.backward::<T>(0, [mixed, w_out, &[], &dbetween]);
        let dqkv = self.attention.backward(qkv, &dmixed);
        let (dnormal1, dw_qkv, db_qkv) = self.qkv.backward::<T>(0, [normal1, w_qkv, &[], &dqkv]);
        let (mut dx, dgamma1, dbeta1) = self.norm().backward(x, gamma1, &dnormal1);
        add(&mut dx, &dbetween);
        let parameters = [
            dgamma1, dbeta1, dw_qkv, db_qkv, dw_out, db_out, dgamma2, dbeta2, dw_fc1, db_fc1,
            dw_fc2, db_fc2,
        ];
        (dx, parameters)
    }
}

/// Elements that a task adds.
const PIECE: usize = 64 * 1024;

/// Adds `more` to `to`.
fn add<F: Float>(to: &mut [F], more: &[F]) {
    let arch = instruction_set::current();
    let pieces = to.par_chunks_mut(PIECE).zip(more.par_chunks(PIECE)).with_min_len(grain());
    pieces.for_each(|(to, more)| {
        vectorised(
            arch,
            #[inline(always)]
            || to.iter_mut().zip(more).for_each(|(to, more)| *to += *more),
        );
    });
}

//! The layer on the CPU: the kernels of its parts one after another, for a few images at a time, so that what a part reads is still in the cache.
//!
//! The values between two parts never become tensors. candle adds the gradient of each tensor to zeros, on one thread.

use candle_core::{DType, Result, Tensor};

use super::{OP, PARAMETERS, Sizes, TransformerLayer};
use crate::attention::fused::Heads;
use crate::backend::Precision;
use crate::cpu::scratch::{Pooled, Scratch};
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::gelu;
use crate::layer_norm::fused::Norm;
use crate::linear::fused::Dense;
use crate::linear::terms::{Bf16, Terms};
use crate::linear::{self, Linear};
use crate::node::{gradient, node, on_cpu};
use crate::threads::{Workers, fold_side_by_side, side_by_side};

/// Images are grouped until they have this many tokens; the last group of a block may have fewer. The gradients of parameters are added group
/// by group, so the size does not depend on the number of threads.
const GROUP: usize = 192;

/// See [`TransformerLayer::forward`]; the arguments have been checked against `sizes`.
pub(super) fn apply(
    layer: TransformerLayer,
    sizes: Sizes,
    x: &Tensor,
    parameters: [&Tensor; PARAMETERS],
) -> Result<Tensor> {
    let blocks = sizes.attention.blocks;
    let flat = parameters.map(|parameter| parameter.reshape((blocks, ())));
    // A candle op takes three arguments at most.
    let packed = Tensor::cat(&flat.into_iter().collect::<Result<Vec<_>>>()?, 1)?.contiguous()?;
    let lengths = parameters.map(|parameter| parameter.elem_count() / blocks.max(1));
    let precision = layer.precision;
    let layer = Layer { layer, sizes, lengths };
    match (x.dtype(), precision) {
        (DType::F32, Precision::F32 | Precision::Tf32) => layer.apply::<f32>(x, &packed),
        (DType::F32, Precision::Bf16) => layer.apply::<Bf16>(x, &packed),
        _ => layer.apply::<f64>(x, &packed),
    }
}

struct Layer {
    layer: TransformerLayer,
    sizes: Sizes,
    /// The elements of each parameter of a block.
    lengths: [usize; PARAMETERS],
}

impl Layer {
    fn apply<T: Terms>(self, x: &Tensor, packed: &Tensor) -> Result<Tensor> {
        let arguments = [x, packed];
        let (x, parameters) = (x.detach().contiguous()?, packed.detach());
        let (y, kept) = self.forward::<T>(&elements(&x)?, &elements(&parameters)?);
        node(OP, &arguments, on_cpu(y, x.shape()), move |_, dy| {
            let dy = dy.contiguous()?;
            let (dx, found) =
                self.backward::<T>(&elements(&x)?, &elements(&parameters)?, &kept, &elements(&dy)?);
            Ok([gradient(dx, x.shape())?, gradient(found, parameters.shape())?, None])
        })
    }

    /// The elements of an image.
    fn image(&self) -> usize {
        self.sizes.attention.tokens * self.sizes.width
    }

    /// The images in `x` and the places of their results, a group at a time.
    fn groups<'a, F>(&self, x: &'a [F], out: &'a mut [F]) -> impl Iterator<Item = Piece<'a, F>> {
        let block = (self.sizes.attention.images * self.image()).max(1);
        let piece = GROUP.div_ceil(self.sizes.attention.tokens.max(1)) * self.image();
        let blocks = x.chunks(block).zip(out.chunks_mut(block)).enumerate();
        blocks.flat_map(move |(block, (x, out))| {
            let pieces = x.chunks(piece).zip(out.chunks_mut(piece));
            pieces.map(move |(x, out)| Piece { block, x, out })
        })
    }

    /// The kernels for a group of this many elements.
    fn group(&self, elements: usize) -> Group {
        Group::new(self.layer, self.sizes, elements / self.sizes.width)
    }

    /// The parameters of a block, in the order of [`super::TransformerParameters`].
    fn parameters<'a, F>(&self, packed: &'a [F], block: usize) -> [&'a [F]; PARAMETERS] {
        let each: usize = self.lengths.iter().sum();
        let mut rest = &packed[block * each..][..each];
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
    ) -> (Vec<T::Number>, Vec<Kept<T::Number>>) {
        let mut y = vec![T::Number::default(); x.len()];
        let tasks = self.groups(x, &mut y).collect();
        let kept = side_by_side(Workers::Auto, tasks, |piece: Piece<'_, _>| {
            let parameters = self.parameters(packed, piece.block);
            self.group(piece.x.len()).forward::<T>(piece, &parameters)
        });
        (y, kept)
    }

    /// The gradients of x and of the packed parameters.
    fn backward<T: Terms>(
        &self,
        x: &[T::Number],
        packed: &[T::Number],
        kept: &[Kept<T::Number>],
        dy: &[T::Number],
    ) -> (Vec<T::Number>, Vec<T::Number>) {
        let mut dx = vec![T::Number::default(); x.len()];
        let mut sums = vec![T::Number::default(); packed.len()];
        let each: usize = self.lengths.iter().sum();
        let mut rest = dy;
        let tasks = self.groups(x, &mut dx).zip(kept).map(|(piece, kept)| {
            let (dy, behind) = rest.split_at(piece.x.len());
            rest = behind;
            (piece, kept, dy)
        });
        let group = |(piece, kept, dy): (Piece<'_, _>, &Kept<_>, &[_])| {
            let (block, parameters) = (piece.block, self.parameters(packed, piece.block));
            (block, self.group(piece.x.len()).backward::<T>(piece, &parameters, kept, dy))
        };
        fold_side_by_side(Workers::Auto, tasks.collect(), group, |(block, found)| {
            let sums = sums[block * each..][..each].iter_mut();
            sums.zip(found.iter().flatten()).for_each(|(sum, more)| *sum += *more);
        });
        (dx, sums)
    }
}

/// A group of images of a block, and the place of the results or of the gradient.
struct Piece<'a, F> {
    block: usize,
    x: &'a [F],
    out: &'a mut [F],
}

/// The values that the forward pass of a group leaves for the backward pass.
struct Kept<F: Pooled> {
    /// After the first norm.
    normal1: Scratch<F>,
    qkv: Vec<F>,
    /// After attention.
    mixed: Scratch<F>,
    /// The sum before the second norm.
    between: Vec<F>,
    normal2: Scratch<F>,
    /// Before GELU.
    wide: Vec<F>,
    /// After GELU.
    bent: Scratch<F>,
}

/// The kernels of the parts for a group of images of one block.
struct Group {
    eps: f64,
    rows: usize,
    width: usize,
    attention: Heads,
    qkv: Dense,
    out: Dense,
    fc1: Dense,
    fc2: Dense,
}

impl Group {
    fn new(layer: TransformerLayer, sizes: Sizes, rows: usize) -> Self {
        let Sizes { attention, width, inner } = sizes;
        let dense = |inputs, outputs| Dense {
            layer: Linear { precision: layer.precision, ..Linear::default() },
            sizes: linear::Sizes { x_blocks: 1, blocks: 1, rows, inputs, outputs },
        };
        Self {
            eps: layer.eps,
            rows,
            width,
            attention: Heads::new(attention),
            qkv: dense(width, 3 * width),
            out: dense(width, width),
            fc1: dense(width, inner),
            fc2: dense(inner, width),
        }
    }

    fn norm<F: Float>(&self) -> Norm<F> {
        Norm::new(self.eps, self.rows, self.width)
    }

    fn forward<T: Terms>(
        &self,
        Piece { x, out: y, .. }: Piece<'_, T::Number>,
        parameters: &[&[T::Number]; PARAMETERS],
    ) -> Kept<T::Number> {
        let [gamma1, beta1, w_qkv, b_qkv, w_out, b_out, gamma2, beta2, w_fc1, b_fc1, w_fc2, b_fc2] =
            *parameters;
        let mut normal1 = Scratch::any(x.len());
        self.norm().forward(x, gamma1, beta1, &mut normal1);
        let qkv = self.qkv.forward::<T>(&normal1, w_qkv, b_qkv);
        let mut mixed = Scratch::any(x.len());
        self.attention.forward(&qkv, &mut mixed);
        let mut between = self.out.forward::<T>(&mixed, w_out, b_out);
        add(&mut between, x);
        let mut normal2 = Scratch::any(x.len());
        self.norm().forward(&between, gamma2, beta2, &mut normal2);
        let wide = self.fc1.forward::<T>(&normal2, w_fc1, b_fc1);
        let mut bent = Scratch::any(wide.len());
        gelu::forward(&wide, &mut bent);
        y.copy_from_slice(&self.fc2.forward::<T>(&bent, w_fc2, b_fc2));
        add(y, &between);
        Kept { normal1, qkv, mixed, between, normal2, wide, bent }
    }

    /// Writes the gradient of x, and returns those of the parameters.
    fn backward<T: Terms>(
        &self,
        Piece { x, out: dx, .. }: Piece<'_, T::Number>,
        parameters: &[&[T::Number]; PARAMETERS],
        kept: &Kept<T::Number>,
        dy: &[T::Number],
    ) -> [Vec<T::Number>; PARAMETERS] {
        let [gamma1, _, w_qkv, _, w_out, _, gamma2, _, w_fc1, _, w_fc2, _] = *parameters;
        let Kept { normal1, qkv, mixed, between, normal2, wide, bent } = kept;
        // Without an activation, the result of a dense layer is not needed.
        let (dbent, dw_fc2, db_fc2) = self.fc2.backward::<T>(Some(0), [bent, w_fc2, &[], dy]);
        let mut dwide = Scratch::any(wide.len());
        gelu::backward(wide, &dbent, &mut dwide);
        let (dnormal2, dw_fc1, db_fc1) =
            self.fc1.backward::<T>(Some(0), [normal2, w_fc1, &[], &dwide]);
        let mut dbetween = Scratch::any(x.len());
        let (dgamma2, dbeta2) = self.norm().backward(between, gamma2, &dnormal2, &mut dbetween);
        add(&mut dbetween, dy);
        let (dmixed, dw_out, db_out) =
            self.out.backward::<T>(Some(0), [mixed, w_out, &[], &dbetween]);
        let mut dqkv = Scratch::any(qkv.len());
        self.attention.backward(qkv, &dmixed, &mut dqkv);
        let (dnormal1, dw_qkv, db_qkv) =
            self.qkv.backward::<T>(Some(0), [normal1, w_qkv, &[], &dqkv]);
        let (dgamma1, dbeta1) = self.norm().backward(x, gamma1, &dnormal1, dx);
        add(dx, &dbetween);
        [
            dgamma1, dbeta1, dw_qkv, db_qkv, dw_out, db_out, dgamma2, dbeta2, dw_fc1, db_fc1,
            dw_fc2, db_fc2,
        ]
    }
}

/// Adds `more` to `to`.
fn add<F: Float>(to: &mut [F], more: &[F]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to += *more);
}

//! The dense layer on the CPU: products in registers, one panel of columns at a time.

use candle_core::{DType, Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::terms::{Bf16, Terms};
use super::{Linear, OP, Sizes};
use crate::activation::Activation;
use crate::backend::Precision;
use crate::cpu::columns::Columns;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::product::{Left, Right, Start, Task, Walk};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, whole_vectors};
use crate::cpu::storage::elements;
use crate::gradients::hand_over;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// The columns of a panel: two of the widest vectors.
const PANEL: usize = 32;

/// The rows of a task: the packed panel is used for all of them.
const ROWS: usize = 128;

/// The rows that are added to the gradient of the weights at once: their part of a panel stays in the cache. An even number, because two make a
/// pair in bf16.
const TERMS: usize = 256;

/// The number of multiplications below which waking other threads costs more than it saves.
const WORTH_SHARING: usize = 1 << 20;

/// See [`Linear::forward`] and [`Linear::forward_joined`]; the arguments have been checked against `sizes`. `x` is the last columns
/// of `whole`, the only ones whose gradient is wanted; the others are data.
pub(super) fn apply(
    layer: Linear,
    sizes: Sizes,
    whole: &Tensor,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
) -> Result<Tensor> {
    let dense = Dense { layer, sizes };
    match (x.dtype(), layer.precision) {
        (DType::F32, Precision::F32 | Precision::Tf32) => dense.apply::<f32>(whole, x, w, b),
        (DType::F32, Precision::Bf16) => dense.apply::<Bf16>(whole, x, w, b),
        _ => dense.apply::<f64>(whole, x, w, b),
    }
}

struct Dense {
    layer: Linear,
    sizes: Sizes,
}

/// The gradients of the input's wanted columns, the weights and the bias.
type Gradients<F> = (Vec<F>, Vec<F>, Vec<F>);

/// Runs `f` for every task number below `tasks`, on several threads if `work` multiplications are worth it.
fn share(tasks: usize, work: usize, f: impl Fn(usize) + Sync + Send) {
    if work < WORTH_SHARING {
        (0..tasks).for_each(f);
    } else {
        (0..tasks).into_par_iter().with_min_len(grain()).for_each(f);
    }
}

impl Dense {
    fn apply<T: Terms>(self, whole: &Tensor, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let s = self.sizes;
        let wanted = if x.track_op() { s.inputs - x.dim(2)? } else { s.inputs };
        let arguments = [x, w, b];
        let parameters = [w.clone(), b.clone()];
        let (x, w) = (whole.detach().contiguous()?, w.detach().contiguous()?);
        let b = b.detach().contiguous()?;
        let y = self.forward::<T>(&elements(&x)?, &elements(&w)?, &elements(&b)?);
        let y = on_cpu(y, (s.blocks, s.rows, s.outputs));
        node(OP, &arguments, y, move |y, dy| {
            let dy = dy.contiguous()?;
            let (dx, dw, db) = self.backward::<T>(
                wanted,
                [&*elements(&x)?, &*elements(&w)?, &*elements(y)?, &*elements(&dy)?],
            );
            let dx = match wanted < s.inputs {
                true => gradient(dx, (s.x_blocks, s.rows, s.inputs - wanted))?,
                false => None,
            };
            let dw = gradient(dw, (s.blocks, s.outputs, s.inputs))?;
            let db = gradient(db, (s.blocks, s.outputs))?;
            Ok([dx, hand_over(&parameters[0], dw)?, hand_over(&parameters[1], db)?])
        })
    }

    /// The number of multiplications of one product.
    fn work(&self) -> usize {
        let s = &self.sizes;
        s.blocks * s.rows * s.inputs * s.outputs
    }

    fn forward<T: Terms>(
        &self,
        x: &[T::Number],
        w: &[T::Number],
        b: &[T::Number],
    ) -> Vec<T::Number> {
        let s = self.sizes;
        let arch = instruction_set::current();
        let mut y = vec![T::Number::default(); s.blocks * s.rows * s.outputs];
        if y.is_empty() || s.inputs == 0 {
            for (row, y) in y.chunks_mut(s.outputs.max(1)).enumerate() {
                let bias = &b[row / s.rows * s.outputs..][..s.outputs];
                for (y, b) in y.iter_mut().zip(bias) {
                    *y = self.layer.act.apply(*b);
                }
            }
            return y;
        }
        let (panels, pieces) = (s.outputs.div_ceil(PANEL), s.rows.div_ceil(ROWS));
        let out = Columns::new(&mut y, s.outputs);
        let x = T::along(x, s.inputs);
        let elements = T::elements(s.inputs);
        share(s.blocks * panels * pieces, self.work(), |task| {
            let (piece, rest) = (task % pieces, task / pieces);
            let (panel, block) = (rest % panels, rest / panels);
            let (column, first) = (panel * PANEL, piece * ROWS);
            let columns = PANEL.min(s.outputs - column);
            let rows = ROWS.min(s.rows - first);
            let width = whole_vectors(columns);
            let x_block = if s.x_blocks == 1 { 0 } else { block };
            let x = &x[(x_block * s.rows + first) * elements..][..rows * elements];
            let w = &w[(block * s.outputs + column) * s.inputs..][..columns * s.inputs];
            let bias = &b[block * s.outputs + column..][..columns];
            let mut packed = Scratch::any(elements * width);
            let mut c = Scratch::any(rows * width);
            T::turned(arch, w, s.inputs, width, &mut packed);
            let task = Task {
                rows,
                row_step: elements,
                a: Left { data: x, walk: Walk::straight(elements, 1) },
                b: Right { data: &packed, stride: width, width },
                c: &mut c,
                start: Start::Zero,
            };
            T::multiply(arch, task);
            for (row, c) in c.chunks_exact_mut(width).enumerate() {
                let c = &mut c[..columns];
                for (c, b) in c.iter_mut().zip(bias) {
                    *c = self.layer.act.apply(*c + *b);
                }
                // SAFETY: no other task has this block, these rows and these columns.
                #[expect(unsafe_code, reason = "columns shared out among tasks")]
                unsafe {
                    out.write(block * s.rows + first + row, column, c);
                }
            }
        });
        y
    }

    fn backward<T: Terms>(
        &self,
        // The first column whose gradient is wanted; `inputs` for none.
        wanted: usize,
        [x, w, y, gradient]: [&[T::Number]; 4],
    ) -> Gradients<T::Number> {
        let s = self.sizes;
        let arch = instruction_set::current();
        let any = wanted < s.inputs;
        let zero = T::Number::default();
        let mut dx = vec![zero; s.x_blocks * s.rows * (s.inputs - wanted)];
        let mut dw = vec![zero; s.blocks * s.outputs * s.inputs];
        let mut db = vec![zero; s.blocks * s.outputs];
        if s.rows > 0 && s.inputs > 0 && s.outputs > 0 {
            let stopped = self.stopped(arch, y, gradient, &mut db);
            let (by_row, by_output) = (T::elements(s.rows), T::elements(s.outputs));
            // Summed over rows for the weights, over outputs for the input.
            let across = T::across(&stopped, s.rows, s.outputs);
            let along = T::along(if any { &stopped } else { &[] }, s.outputs);
            let panels = s.inputs.div_ceil(PANEL);
            let dw_out = Columns::new(&mut dw, s.inputs);
            let dx_out = Columns::new(&mut dx, s.inputs - wanted);
            let (tasks, blocks_a_task) = if s.x_blocks == s.blocks {
                (s.blocks * panels, 1)
            } else {
                // One input for all blocks: a task adds up its columns over the blocks, in order.
                (panels, s.blocks)
            };
            share(tasks, 2 * self.work(), |task| {
                let column = task % panels * PANEL;
                let columns = PANEL.min(s.inputs - column);
                let in_panel = column + columns > wanted;
                let width = whole_vectors(columns);
                let mut packed = Scratch::any(T::elements(TERMS).max(by_output) * width);
                let mut weights = Scratch::any(s.outputs * width);
                let mut sums = Scratch::any(s.rows * width);
                let x_block = task / panels;
                for index in 0..blocks_a_task {
                    let block = x_block * blocks_a_task + index;
                    let x = &x[x_block * s.rows * s.inputs..][..s.rows * s.inputs];
                    let gradient = &across[block * by_row * s.outputs..][..by_row * s.outputs];
                    for first in (0..s.rows).step_by(TERMS) {
                        let terms = TERMS.min(s.rows - first);
                        let count = T::elements(terms);
                        let x = &x[first * s.inputs..][..terms * s.inputs];
                        let gradient = &gradient[T::elements(first) * s.outputs..];
                        let task = Task {
                            rows: s.outputs,
                            row_step: 1,
                            a: Left { data: gradient, walk: Walk::straight(count, s.outputs) },
                            b: T::panel(x, s.inputs, column, columns, &mut packed[..count * width]),
                            c: &mut weights,
                            start: if first == 0 { Start::Zero } else { Start::Kept },
                        };
                        T::multiply(arch, task);
                    }
                    for (row, c) in weights.chunks_exact(width).enumerate() {
                        // SAFETY: no other task has this block's columns.
                        #[expect(unsafe_code, reason = "columns shared out among tasks")]
                        unsafe {
                            dw_out.write(block * s.outputs + row, column, &c[..columns]);
                        }
                    }
                    if in_panel {
                        let w = &w[block * s.outputs * s.inputs..][..s.outputs * s.inputs];
                        let room = &mut packed[..by_output * width];
                        let gradient = &along[block * s.rows * by_output..][..s.rows * by_output];
                        let task = Task {
                            rows: s.rows,
                            row_step: by_output,
                            a: Left { data: gradient, walk: Walk::straight(by_output, 1) },
                            b: T::panel(w, s.inputs, column, columns, room),
                            c: &mut sums,
                            start: if index == 0 { Start::Zero } else { Start::Kept },
                        };
                        T::multiply(arch, task);
                    }
                }
                if in_panel {
                    let before = wanted.saturating_sub(column);
                    for (row, c) in sums.chunks_exact(width).enumerate() {
                        let c = &c[before..columns];
                        // SAFETY: no other task has this input's columns.
                        #[expect(unsafe_code, reason = "columns shared out among tasks")]
                        unsafe {
                            dx_out.write(x_block * s.rows + row, column + before - wanted, c);
                        }
                    }
                }
            });
        }
        (dx, dw, db)
    }

    /// The gradient before the activation, and its sum over rows.
    fn stopped<F: Float>(&self, arch: Arch, y: &[F], gradient: &[F], db: &mut [F]) -> Scratch<F> {
        let s = self.sizes;
        let mut stopped = Scratch::any(gradient.len());
        stopped.copy_from_slice(gradient);
        vectorised(
            arch,
            #[inline(always)]
            || {
                if self.layer.act == Activation::Relu {
                    for (v, y) in stopped.iter_mut().zip(y) {
                        if *y <= F::default() {
                            *v = F::default();
                        }
                    }
                }
                for (stopped, db) in
                    stopped.chunks_exact(s.rows * s.outputs).zip(db.chunks_exact_mut(s.outputs))
                {
                    for row in stopped.chunks_exact(s.outputs) {
                        for (sum, v) in db.iter_mut().zip(row) {
                            *sum += *v;
                        }
                    }
                }
            },
        );
        stopped
    }
}

//! The dense layer on the CPU: products in registers, one panel of columns at a time.

use candle_core::{DType, Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::terms::{Bf16, Factors, Terms};
use super::{Linear, OP, Sizes};
use crate::activation::Activation;
use crate::backend::Precision;
use crate::cpu::columns::{PANEL, Room};
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::product::{Left, Right, Start, Task, Walk};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, whole_vectors};
use crate::cpu::storage::elements;
use crate::gradients::hand_over;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// The rows of a task: the packed panel is used for all of them.
const ROWS: usize = 128;

/// The rows that are added to the gradient of the weights at once: their part of a panel stays in the cache. An even number, because two make a
/// pair in bf16.
const TERMS: usize = 256;

/// The elements of a task that does little with each. Waking another thread costs more than it saves for fewer than two tasks.
const PIECE: usize = 64 * 1024;

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

/// The layer for arguments of these sizes.
pub(crate) struct Dense {
    pub(crate) layer: Linear,
    pub(crate) sizes: Sizes,
}

/// The gradients of the input's wanted columns, the weights and the bias.
pub(crate) type Gradients<F> = (Vec<F>, Vec<F>, Vec<F>);

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
        // `None` for data. An x without columns that was computed has a gradient too, an empty one.
        let wanted = match x.track_op() {
            true => Some(s.inputs - x.dim(2)?),
            false => None,
        };
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
            let dx = match wanted {
                Some(from) => gradient(dx, (s.x_blocks, s.rows, s.inputs - from))?,
                None => None,
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

    pub(crate) fn forward<T: Terms>(
        &self,
        x: &[T::Number],
        w: &[T::Number],
        b: &[T::Number],
    ) -> Vec<T::Number> {
        let s = self.sizes;
        let arch = instruction_set::current();
        let count = s.blocks * s.rows * s.outputs;
        if count == 0 || s.inputs == 0 {
            let mut y = vec![T::Number::default(); count];
            for (row, y) in y.chunks_mut(s.outputs.max(1)).enumerate() {
                let bias = &b[row / s.rows * s.outputs..][..s.outputs];
                for (y, b) in y.iter_mut().zip(bias) {
                    *y = self.layer.act.apply(*b);
                }
            }
            return y;
        }
        let (panels, pieces) = (s.outputs.div_ceil(PANEL), s.rows.div_ceil(ROWS));
        let mut y = Room::new(count);
        let out = y.columns(s.outputs);
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
            vectorised(
                arch,
                #[inline(always)]
                || {
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
                },
            );
        });
        // SAFETY: the tasks have all blocks, rows and columns.
        #[expect(unsafe_code, reason = "columns shared out among tasks")]
        unsafe {
            y.written()
        }
    }

    /// The gradients, that of x from column `wanted` on, if any. `y` is read only for an activation.
    pub(crate) fn backward<T: Terms>(
        &self,
        wanted: Option<usize>,
        [x, w, y, gradient]: [&[T::Number]; 4],
    ) -> Gradients<T::Number> {
        let s = self.sizes;
        let arch = instruction_set::current();
        let zeros = |count| vec![T::Number::default(); count];
        let mut db = zeros(s.blocks * s.outputs);
        if [s.x_blocks, s.blocks, s.rows, s.inputs, s.outputs].contains(&0) {
            let columns = wanted.map_or(0, |from| s.inputs - from);
            let dx = zeros(s.x_blocks * s.rows * columns);
            if !gradient.is_empty() {
                // Without inputs, the result is the bias.
                self.gradient_of_bias(arch, &self.stopped(arch, y, gradient), &mut db);
            }
            return (dx, zeros(s.blocks * s.outputs * s.inputs), db);
        }
        let stopped = self.stopped(arch, y, gradient);
        self.gradient_of_bias(arch, &stopped, &mut db);
        let dw = self.gradient_of_weights::<T>(arch, x, &stopped);
        let dx = match wanted {
            Some(from) if from < s.inputs => self.gradient_of_input::<T>(arch, from, w, &stopped),
            _ => Vec::new(),
        };
        (dx, dw, db)
    }

    /// The gradient before the activation.
    fn stopped<'a, F: Float>(&self, arch: Arch, y: &[F], gradient: &'a [F]) -> Factors<'a, F> {
        if self.layer.act == Activation::None {
            return Factors::Lent(gradient);
        }
        let mut stopped = Scratch::any(gradient.len());
        let pieces = stopped.par_chunks_mut(PIECE).zip(y.par_chunks(PIECE));
        let pieces = pieces.zip(gradient.par_chunks(PIECE)).with_min_len(grain());
        pieces.for_each(|((stopped, y), gradient)| {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    for ((v, y), gradient) in stopped.iter_mut().zip(y).zip(gradient) {
                        *v = if *y <= F::default() { F::default() } else { *gradient };
                    }
                },
            );
        });
        Factors::Made(stopped)
    }

    /// Adds up `stopped` over rows.
    fn gradient_of_bias<F: Float>(&self, arch: Arch, stopped: &[F], db: &mut [F]) {
        let s = self.sizes;
        let blocks = stopped.chunks_exact(s.rows * s.outputs).zip(db.chunks_exact_mut(s.outputs));
        let tasks = blocks.flat_map(|(stopped, db)| {
            let panels = db.chunks_mut(PANEL).enumerate();
            panels.map(move |(panel, db)| (stopped, panel * PANEL, db))
        });
        let sum = |(stopped, column, db): (&[F], usize, &mut [F])| {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    for row in stopped.chunks_exact(s.outputs) {
                        for (sum, v) in db.iter_mut().zip(&row[column..]) {
                            *sum += *v;
                        }
                    }
                },
            );
        };
        if stopped.len() < PIECE {
            tasks.for_each(sum);
        } else {
            let tasks: Vec<_> = tasks.collect();
            tasks.into_par_iter().with_min_len(grain()).for_each(sum);
        }
    }

    /// The product of `stopped` and the input, summed over rows.
    fn gradient_of_weights<T: Terms>(
        &self,
        arch: Arch,
        x: &[T::Number],
        stopped: &[T::Number],
    ) -> Vec<T::Number> {
        let s = self.sizes;
        let by_row = T::elements(s.rows);
        let across = T::across(stopped, s.rows, s.outputs);
        let panels = s.inputs.div_ceil(PANEL);
        let mut dw = Room::new(s.blocks * s.outputs * s.inputs);
        let out = dw.columns(s.inputs);
        share(s.blocks * panels, self.work(), |task| {
            let (block, column) = (task / panels, task % panels * PANEL);
            let columns = PANEL.min(s.inputs - column);
            let width = whole_vectors(columns);
            let mut packed = Scratch::any(T::elements(TERMS) * width);
            let mut sums = Scratch::any(s.outputs * width);
            let x_block = if s.x_blocks == 1 { 0 } else { block };
            let x = &x[x_block * s.rows * s.inputs..][..s.rows * s.inputs];
            let across = &across[block * by_row * s.outputs..][..by_row * s.outputs];
            for first in (0..s.rows).step_by(TERMS) {
                let terms = TERMS.min(s.rows - first);
                let count = T::elements(terms);
                let x = &x[first * s.inputs..][..terms * s.inputs];
                let across = &across[T::elements(first) * s.outputs..];
                let task = Task {
                    rows: s.outputs,
                    row_step: 1,
                    a: Left { data: across, walk: Walk::straight(count, s.outputs) },
                    b: T::panel(x, s.inputs, column, columns, &mut packed[..count * width]),
                    c: &mut sums,
                    start: if first == 0 { Start::Zero } else { Start::Kept },
                };
                T::multiply(arch, task);
            }
            for (row, sums) in sums.chunks_exact(width).enumerate() {
                // SAFETY: no other task has this block's columns.
                #[expect(unsafe_code, reason = "columns shared out among tasks")]
                unsafe {
                    out.write(block * s.outputs + row, column, &sums[..columns]);
                }
            }
        });
        // SAFETY: the tasks have all blocks and columns.
        #[expect(unsafe_code, reason = "columns shared out among tasks")]
        unsafe {
            dw.written()
        }
    }

    /// The product of `stopped` and the weights, summed over outputs, and in order over the blocks that have one input.
    fn gradient_of_input<T: Terms>(
        &self,
        arch: Arch,
        wanted: usize,
        w: &[T::Number],
        stopped: &[T::Number],
    ) -> Vec<T::Number> {
        let s = self.sizes;
        let by_output = T::elements(s.outputs);
        let along = T::along(stopped, s.outputs);
        let (from, panels) = (wanted / PANEL, s.inputs.div_ceil(PANEL));
        let (panels, pieces) = (panels - from, s.rows.div_ceil(ROWS));
        let mut dx = Room::new(s.x_blocks * s.rows * (s.inputs - wanted));
        let out = dx.columns(s.inputs - wanted);
        let blocks_a_task = s.blocks / s.x_blocks;
        share(s.x_blocks * panels * pieces, self.work(), |task| {
            let (piece, rest) = (task % pieces, task / pieces);
            let (panel, x_block) = (from + rest % panels, rest / panels);
            let (column, first) = (panel * PANEL, piece * ROWS);
            let columns = PANEL.min(s.inputs - column);
            let rows = ROWS.min(s.rows - first);
            let width = whole_vectors(columns);
            let mut packed = Scratch::any(by_output * width);
            let mut sums = Scratch::any(rows * width);
            for index in 0..blocks_a_task {
                let block = x_block * blocks_a_task + index;
                let w = &w[block * s.outputs * s.inputs..][..s.outputs * s.inputs];
                let along = &along[(block * s.rows + first) * by_output..][..rows * by_output];
                let task = Task {
                    rows,
                    row_step: by_output,
                    a: Left { data: along, walk: Walk::straight(by_output, 1) },
                    b: T::panel(w, s.inputs, column, columns, &mut packed),
                    c: &mut sums,
                    start: if index == 0 { Start::Zero } else { Start::Kept },
                };
                T::multiply(arch, task);
            }
            let before = wanted.saturating_sub(column);
            for (row, sums) in sums.chunks_exact(width).enumerate() {
                let sums = &sums[before..columns];
                // SAFETY: no other task has this input's rows and columns.
                #[expect(unsafe_code, reason = "columns shared out among tasks")]
                unsafe {
                    out.write(x_block * s.rows + first + row, column + before - wanted, sums);
                }
            }
        });
        // SAFETY: the tasks have all rows, and all columns from `wanted` on.
        #[expect(unsafe_code, reason = "columns shared out among tasks")]
        unsafe {
            dx.written()
        }
    }
}

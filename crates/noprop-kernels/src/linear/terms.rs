//! The factors of a dense layer's products: the numbers as they are, or rounded to bf16.

use std::ops::Deref;

use pulp::Arch;

use crate::cpu::bf16;
use crate::cpu::product::{Right, Task};
use crate::cpu::scratch::{Pooled, Scratch};
use crate::cpu::simd::{Float, whole_vectors};
use crate::cpu::turn::turn;

/// The division of sums into factors. Matrices are row-major; n terms of a sum take `elements(n)` factors.
pub(crate) trait Terms {
    /// The type of tensors and sums.
    type Number: Float;
    /// The type of a factor, which holds one term or several.
    type Factor: Pooled;

    /// The number of factors that `terms` terms make.
    fn elements(terms: usize) -> usize;

    /// A left factor whose sums run along rows of `length`: `[rows][elements(length)]`.
    fn along(rows: &[Self::Number], length: usize) -> Factors<'_, Self::Factor>;

    /// Left factors whose sums run down the columns of matrices of `rows` rows: `[elements(rows)][length]` each.
    fn across(matrices: &[Self::Number], rows: usize, length: usize) -> Factors<'_, Self::Factor>;

    /// A right factor whose sums run down `columns` columns, from `column` on, of rows of `stride`. `packed` is room for it.
    /// Surplus columns of the last vector are zero.
    fn panel<'a>(
        rows: &'a [Self::Number],
        stride: usize,
        column: usize,
        columns: usize,
        packed: &'a mut [Self::Factor],
    ) -> Right<'a, Self::Factor>;

    /// A right factor whose sums run along rows of `length`: `[elements(length)][width]`, with zeros in the surplus columns.
    fn turned(
        arch: Arch,
        rows: &[Self::Number],
        length: usize,
        width: usize,
        packed: &mut [Self::Factor],
    );

    /// Carries out a product.
    fn multiply(arch: Arch, task: Task<'_, Self::Factor, Self::Number>);
}

/// Left factors in the memory of the tensor, or in a buffer of their own.
pub(crate) enum Factors<'a, E: Pooled> {
    Lent(&'a [E]),
    Made(Scratch<E>),
}

impl<E: Pooled> Deref for Factors<'_, E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        match self {
            Self::Lent(factors) => factors,
            Self::Made(factors) => factors,
        }
    }
}

/// Numbers as they are.
impl<F: Float> Terms for F {
    type Number = F;
    type Factor = F;

    fn elements(terms: usize) -> usize {
        terms
    }

    fn along(rows: &[F], _length: usize) -> Factors<'_, F> {
        Factors::Lent(rows)
    }

    fn across(matrices: &[F], _rows: usize, _length: usize) -> Factors<'_, F> {
        Factors::Lent(matrices)
    }

    fn panel<'a>(
        rows: &'a [F],
        stride: usize,
        column: usize,
        columns: usize,
        packed: &'a mut [F],
    ) -> Right<'a, F> {
        let width = whole_vectors(columns);
        if width == columns {
            return Right { data: &rows[column..], stride, width };
        }
        for (to, from) in packed.chunks_exact_mut(width).zip(rows.chunks_exact(stride)) {
            let (used, surplus) = to.split_at_mut(columns);
            used.copy_from_slice(&from[column..][..columns]);
            surplus.fill(F::default());
        }
        Right { data: packed, stride: width, width }
    }

    fn turned(arch: Arch, rows: &[F], length: usize, width: usize, packed: &mut [F]) {
        turn(arch, rows, length, width, packed);
    }

    fn multiply(arch: Arch, task: Task<'_, F, F>) {
        arch.dispatch(task);
    }
}

/// f32 rounded to bf16.
pub(crate) struct Bf16;

impl Terms for Bf16 {
    type Number = f32;
    type Factor = bf16::Pair;

    fn elements(terms: usize) -> usize {
        bf16::pairs(terms)
    }

    fn along(rows: &[f32], length: usize) -> Factors<'_, bf16::Pair> {
        let mut made = Scratch::any(rows.len() / length * bf16::pairs(length));
        bf16::along(rows, length, &mut made);
        Factors::Made(made)
    }

    fn across(matrices: &[f32], rows: usize, length: usize) -> Factors<'_, bf16::Pair> {
        let (from, to) = (rows * length, bf16::pairs(rows) * length);
        let mut made = Scratch::any(matrices.len() / from * to);
        for (made, matrix) in made.chunks_exact_mut(to).zip(matrices.chunks_exact(from)) {
            bf16::across(matrix, length, 0, length, made, length);
        }
        Factors::Made(made)
    }

    fn panel<'a>(
        rows: &'a [f32],
        stride: usize,
        column: usize,
        columns: usize,
        packed: &'a mut [bf16::Pair],
    ) -> Right<'a, bf16::Pair> {
        let width = whole_vectors(columns);
        bf16::across(rows, stride, column, columns, packed, width);
        Right { data: packed, stride: width, width }
    }

    fn turned(arch: Arch, rows: &[f32], length: usize, width: usize, packed: &mut [bf16::Pair]) {
        turn(arch, &Self::along(rows, length), bf16::pairs(length), width, packed);
    }

    fn multiply(arch: Arch, task: Task<'_, bf16::Pair, f32>) {
        bf16::multiply(arch, task);
    }
}

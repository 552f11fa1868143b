//! The matrix product that convolutions and dense layers come down to, held in registers.
//!
//! `C[i, j] (+)= Σ_k A_i[k] · B[k, j]`, where row `i` of A may start anywhere and its elements lie in evenly spaced runs.
//! That one shape covers a plain product, a transposed one, and a convolution read straight from its image: a row of A is
//! an output position, and its runs are the rows of the 3×3 window. The columns of B are in whole vectors. The arithmetic
//! defines an element of A and B: one number, or several terms of the sum.
//!
//! The sum over k runs in order for each element, so the result does not depend on how the work is divided.

use pulp::{Simd, WithSimd};

use super::arithmetic::{Arithmetic, Plain};
use super::simd::Float;

/// The places of a row's elements in A: `runs` runs of `length` elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// The number of runs.
    pub runs: usize,
    /// The step from the start of a run to the start of the next.
    pub run_step: usize,
    /// The elements of a run.
    pub length: usize,
    /// The step from an element of a run to the next.
    pub step: usize,
}

impl Walk {
    /// A single run.
    pub(crate) fn straight(length: usize, step: usize) -> Self {
        Self { runs: 1, run_step: 0, length, step }
    }

    /// The number of elements of a row.
    fn count(&self) -> usize {
        self.runs * self.length
    }

    /// The offset of the last element from the first.
    fn reach(&self) -> usize {
        (self.runs - 1) * self.run_step + (self.length - 1) * self.step
    }
}

/// The content of C before the product is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Zeros: C is overwritten.
    Zero,
    /// The values that stand there.
    Kept,
}

/// The left factor, A.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, F> {
    pub data: &'a [F],
    pub walk: Walk,
}

/// The right factor, B.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, F> {
    pub data: &'a [F],
    /// The step from one row to the next.
    pub stride: usize,
    /// The number of columns, in whole vectors.
    pub width: usize,
}

/// `C[i, ..] (+)= A_i · B` for the rows `i < rows` of A, which start at `row_start(i)`. The rows of C lie side by side, each as
/// wide as B.
///
/// Panics when an index would leave its slice; nothing is read or written outside.
#[inline(always)]
pub(crate) fn product<A: Arithmetic>(
    s: A,
    rows: usize,
    row_start: impl Fn(usize) -> usize,
    a: Left<'_, A::Factor>,
    b: Right<'_, A::Factor>,
    c: &mut [A::Sum],
    start: Start,
) {
    let lanes = s.lanes();
    let mut column = 0;
    while column < b.width {
        let panel = Panel { a, b, column, start };
        if b.width - column >= 2 * lanes {
            panel.run::<A, 2>(s, rows, &row_start, c);
            column += 2 * lanes;
        } else {
            panel.run::<A, 1>(s, rows, &row_start, c);
            column += lanes;
        }
    }
}

/// A product of rows of A that are `row_step` apart; see [`product`].
pub(crate) struct Task<'a, E, F> {
    pub rows: usize,
    pub row_step: usize,
    pub a: Left<'a, E>,
    pub b: Right<'a, E>,
    pub c: &'a mut [F],
    pub start: Start,
}

impl<E: Copy, F> Task<'_, E, F> {
    #[inline(always)]
    pub(crate) fn run<A: Arithmetic<Factor = E, Sum = F>>(self, arithmetic: A) {
        let Self { rows, row_step, a, b, c, start } = self;
        product(
            arithmetic,
            rows,
            #[inline(always)]
            |row| row * row_step,
            a,
            b,
            c,
            start,
        );
    }
}

impl<F: Float> WithSimd for Task<'_, F, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        self.run(Plain::on(s));
    }
}

/// Products one after another. The instructions are chosen once for all of them, and the compiler sees what their sizes have in common.
pub(crate) struct Tasks<I>(pub I);

impl<'a, F: Float + 'a, I: Iterator<Item = Task<'a, F, F>>> WithSimd for Tasks<I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for task in self.0 {
            task.run(Plain::on(s));
        }
    }
}

/// Some columns of the product.
struct Panel<'a, F> {
    a: Left<'a, F>,
    b: Right<'a, F>,
    column: usize,
    start: Start,
}

impl<F: Copy> Panel<'_, F> {
    /// All rows, in the tallest tiles that the registers hold.
    #[inline(always)]
    fn run<A: Arithmetic<Factor = F>, const VECTORS: usize>(
        &self,
        s: A,
        rows: usize,
        row_start: &impl Fn(usize) -> usize,
        c: &mut [A::Sum],
    ) {
        let mut row = 0;
        if A::REGISTERS >= 32 {
            while rows - row >= 12 {
                self.tile::<A, 12, VECTORS>(s, row, row_start, c);
                row += 12;
            }
            if rows - row >= 8 {
                self.tile::<A, 8, VECTORS>(s, row, row_start, c);
                row += 8;
            }
        } else if A::REGISTERS >= 16 {
            while rows - row >= 6 {
                self.tile::<A, 6, VECTORS>(s, row, row_start, c);
                row += 6;
            }
        }
        while rows - row >= 4 {
            self.tile::<A, 4, VECTORS>(s, row, row_start, c);
            row += 4;
        }
        while row < rows {
            self.tile::<A, 1, VECTORS>(s, row, row_start, c);
            row += 1;
        }
    }

    /// `ROWS` rows of `VECTORS` vectors, summed in registers.
    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "bounds are checked once a tile: a check an element would halve the speed"
    )]
    fn tile<A: Arithmetic<Factor = F>, const ROWS: usize, const VECTORS: usize>(
        &self,
        s: A,
        row: usize,
        row_start: &impl Fn(usize) -> usize,
        c: &mut [A::Sum],
    ) {
        // Vectors lie in memory as their elements do: any bits are valid, and no alignment is assumed.
        let lanes = s.lanes();
        let walk = self.a.walk;
        let starts: [usize; ROWS] = std::array::from_fn(|i| row_start(row + i));
        let reach = walk.reach();
        for start in starts {
            assert!(start + reach < self.a.data.len(), "left factor out of bounds");
        }
        let last_b = (walk.count() - 1) * self.b.stride + self.column + VECTORS * lanes;
        assert!(last_b <= self.b.data.len(), "right factor out of bounds");
        let c_stride = self.b.width;
        let last_c = (row + ROWS - 1) * c_stride + self.column + VECTORS * lanes;
        assert!(last_c <= c.len(), "product out of bounds");

        let a: [*const F; ROWS] = std::array::from_fn(|i| self.a.data[starts[i]..].as_ptr());
        let mut b = self.b.data[self.column..].as_ptr();
        let c = c[row * c_stride + self.column..].as_mut_ptr();
        let mut sums = [[s.zeros(); VECTORS]; ROWS];
        if self.start == Start::Kept {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: element (i, j) of the tile ends at or before `last_c`.
                    *sum = unsafe {
                        c.add(i * c_stride + j * lanes).cast::<A::Sums>().read_unaligned()
                    };
                }
            }
        }
        for run in 0..walk.runs {
            let mut offset = run * walk.run_step;
            for _ in 0..walk.length {
                // SAFETY: this is row `run · length + step` of B's `count` rows, whose last ends at `last_b`.
                let right: [A::Factors; VECTORS] = std::array::from_fn(
                    #[inline(always)]
                    |j| unsafe { b.add(j * lanes).cast::<A::Factors>().read_unaligned() },
                );
                for (a, sums) in a.iter().zip(&mut sums) {
                    // SAFETY: `offset` is at most `reach`, which was checked for every row.
                    let left = s.splat(unsafe { *a.add(offset) });
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = s.multiply_add(left, right, *sum);
                    }
                }
                offset += walk.step;
                b = b.wrapping_add(self.b.stride);
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                // SAFETY: element (i, j) of the tile ends at or before `last_c`.
                unsafe { c.add(i * c_stride + j * lanes).cast::<A::Sums>().write_unaligned(*sum) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let number = |i| crate::random::StreamKey::derive(i, &[seed]).0 % 17;
        (0..n as u64).map(|i| number(i) as f32 - 8.0).collect()
    }

    /// Sizes with every height and width of a tile. Miri, which follows each pointer, takes hours for all of them and minutes for
    /// one of each kind.
    const ROWS: &[usize] =
        if cfg!(miri) { &[1, 5, 13] } else { &[1, 3, 4, 5, 7, 11, 12, 13, 24, 37] };
    const WIDTHS: &[usize] = if cfg!(miri) { &[16, 48] } else { &[16, 32, 48] };

    /// Protects every tile height and width, straight and in runs, by comparison with three plain loops. The numbers are small and
    /// whole, so that the sums are exact and any wrong index shows.
    #[test]
    fn agrees_with_three_loops_on_every_instruction_set() {
        for arch in instruction_sets() {
            for rows in ROWS.iter().copied() {
                for width in WIDTHS.iter().copied() {
                    for (runs, length) in [(1, 1), (1, 9), (3, 5)] {
                        let walk = Walk { runs, run_step: 3 * length, length, step: 2 };
                        let row_step = 7;
                        let a = numbers(rows * row_step + runs * 3 * length, 1);
                        let b = numbers(runs * length * width, 2);
                        for start in [Start::Zero, Start::Kept] {
                            let before = numbers(rows * width, 3);
                            let mut c = before.clone();
                            arch.dispatch(Task {
                                rows,
                                row_step,
                                a: Left { data: &a, walk },
                                b: Right { data: &b, stride: width, width },
                                c: &mut c,
                                start,
                            });
                            for i in 0..rows {
                                for j in 0..width {
                                    let mut sum = match start {
                                        Start::Zero => 0.0,
                                        Start::Kept => before[i * width + j],
                                    };
                                    for k in 0..runs * length {
                                        let at = i * row_step
                                            + k / length * walk.run_step
                                            + k % length * 2;
                                        sum += a[at] * b[k * width + j];
                                    }
                                    assert_eq!(c[i * width + j], sum, "{rows} {width} {i} {j}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn instruction_sets() -> Vec<Arch> {
        let mut sets = vec![Arch::new(), Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            sets.push(Arch::V3(simd));
        }
        sets.dedup_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b));
        sets
    }
}

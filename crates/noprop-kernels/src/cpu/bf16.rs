//! Factors rounded to bf16, and products of them that are summed in f32.
//!
//! bf16 is the upper half of an f32: the same range, with 8 bits of precision instead of 24. A product of two is exact in
//! f32. Two terms of a sum, k and k + 1, lie side by side in a [`Pair`], which the processor's instruction multiplies and adds
//! at once ([`multiply`]); without it the halves are multiplied one after the other. Both give the same sums up to the
//! rounding of each addition (and up to factors below 1.2e-38, which the instruction takes for zero).

use pulp::{Arch, Simd, WithSimd};

use super::arithmetic::Arithmetic;
use super::instruction_set::{self, vectorised};
use super::product::Task;

/// Two bf16, the earlier one in the lower half.
pub(crate) type Pair = u32;

const UPPER: u32 = 0xffff_0000;

/// The number of pairs that `terms` terms of a sum take; a zero follows an odd number of terms.
pub(crate) const fn pairs(terms: usize) -> usize {
    terms.div_ceil(2)
}

/// `v` rounded to the nearest bf16, ties to even, in the upper half. The lower half may hold anything.
#[inline(always)]
fn rounded(v: f32) -> u32 {
    let bits = v.to_bits();
    // Half a unit in the last place, less one if the last place is even. A carry into the exponent is correct.
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    // The upper half of a not-a-number must not become infinity's.
    if v.is_nan() { bits | 0x0040_0000 } else { nearest }
}

#[inline(always)]
fn pair(first: f32, second: f32) -> Pair {
    (rounded(first) >> 16) | (rounded(second) & UPPER)
}

/// Writes pairs of neighbours in rows of `length`: `[rows][length]` to `[rows][pairs(length)]`.
pub(crate) fn along(rows: &[f32], length: usize, to: &mut [Pair]) {
    vectorised(
        instruction_set::current(),
        #[inline(always)]
        || {
            for (to, row) in to.chunks_exact_mut(pairs(length)).zip(rows.chunks_exact(length)) {
                let (both, rest) = row.as_chunks::<2>();
                for (to, [first, second]) in to.iter_mut().zip(both) {
                    *to = pair(*first, *second);
                }
                if let (Some(to), [single]) = (to.last_mut(), rest) {
                    *to = pair(*single, 0.0);
                }
            }
        },
    );
}

/// Writes pairs of neighbours in `columns` columns, from `column` on: rows of `stride` to `[pairs(rows)][width]`, with zeros
/// from `columns` to `width`.
pub(crate) fn across(
    rows: &[f32],
    stride: usize,
    column: usize,
    columns: usize,
    to: &mut [Pair],
    width: usize,
) {
    vectorised(
        instruction_set::current(),
        #[inline(always)]
        || {
            for (to, rows) in to.chunks_exact_mut(width).zip(rows.chunks(2 * stride)) {
                let (to, surplus) = to.split_at_mut(columns);
                surplus.fill(0);
                let (first, second) = rows.split_at(stride);
                let first = &first[column..][..columns];
                if second.is_empty() {
                    for (to, first) in to.iter_mut().zip(first) {
                        *to = pair(*first, 0.0);
                    }
                } else {
                    for ((to, first), second) in to.iter_mut().zip(first).zip(&second[column..]) {
                        *to = pair(*first, *second);
                    }
                }
            }
        },
    );
}

/// A product of pairs.
pub(crate) type Product<'a> = Task<'a, Pair, f32>;

/// Computes `product`, with the processor's own instruction if it has one.
pub(crate) fn multiply(arch: Arch, product: Product<'_>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(dot) = x86::Dot::of(arch) {
        return dot.run(product);
    }
    arch.dispatch(InHalves(product));
}

/// A product that is computed without such an instruction.
struct InHalves<'a>(Product<'a>);

impl WithSimd for InHalves<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        self.0.run(Halves(s));
    }
}

/// The arithmetic that multiplies both halves of a pair one after the other, in f32.
#[derive(Clone, Copy)]
struct Halves<S>(S);

impl<S: Simd> Arithmetic for Halves<S> {
    type Factor = Pair;
    type Sum = f32;
    type Factors = S::u32s;
    type Sums = S::f32s;

    const REGISTERS: usize = S::REGISTER_COUNT;

    #[inline(always)]
    fn zeros(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }

    #[inline(always)]
    fn splat(self, v: Pair) -> S::u32s {
        self.0.splat_u32s(v)
    }

    #[inline(always)]
    fn multiply_add(self, left: S::u32s, right: S::u32s, sums: S::f32s) -> S::f32s {
        let s = self.0;
        let lower = |v| s.transmute_f32s_u32s(s.wrapping_dyn_shl_u32s(v, s.splat_u32s(16)));
        let upper = |v| s.transmute_f32s_u32s(s.and_u32s(v, s.splat_u32s(UPPER)));
        let sums = s.mul_add_e_f32s(lower(left), lower(right), sums);
        s.mul_add_e_f32s(upper(left), upper(right), sums)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps,
    };

    use pulp::Arch;

    use super::{Arithmetic, Pair, Product};

    /// The arithmetic of AVX-512 BF16: 32 multiplications and additions in an instruction. A value of this type exists only if
    /// the processor has them.
    #[derive(Clone, Copy)]
    pub(super) struct Dot(());

    impl Dot {
        /// Returns a value if the processor has the instructions and the kernels use AVX-512.
        pub(super) fn of(arch: Arch) -> Option<Self> {
            let there = matches!(arch, Arch::V4(_))
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bf16");
            there.then_some(Self(()))
        }

        pub(super) fn run(self, product: Product<'_>) {
            #[expect(
                unsafe_code,
                reason = "a function compiled for instructions that were detected"
            )]
            // SAFETY: a `Dot` exists, so the processor has the instructions.
            unsafe {
                compiled(self, product);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn compiled(dot: Dot, product: Product<'_>) {
        product.run(dot);
    }

    #[expect(unsafe_code, reason = "instructions that were detected")]
    impl Arithmetic for Dot {
        type Factor = Pair;
        type Sum = f32;
        type Factors = __m512i;
        type Sums = __m512;

        const REGISTERS: usize = 32;

        #[inline(always)]
        fn zeros(self) -> __m512 {
            // SAFETY: a `Dot` exists, so the processor has the instruction.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        fn splat(self, v: Pair) -> __m512i {
            // SAFETY: as in `zeros`.
            unsafe { _mm512_set1_epi32(v.cast_signed()) }
        }

        #[inline(always)]
        fn multiply_add(self, left: __m512i, right: __m512i, sums: __m512) -> __m512 {
            // SAFETY: as in `zeros`; both vector types are 512 bits of any content.
            unsafe {
                let halves = |v| std::mem::transmute::<__m512i, __m512bh>(v);
                _mm512_dpbf16_ps(sums, halves(left), halves(right))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::product::{Left, Right, Start, Walk};

    fn value(rounded: u32) -> f32 {
        f32::from_bits(rounded & UPPER)
    }

    /// Protects the rounding: ties go to the even neighbour, numbers beyond the largest bf16 become infinite, and a not-a-number
    /// stays one, even if only its lower half shows that.
    #[test]
    fn rounds_to_nearest_even() {
        let ulp = 1.0 / 128.0;
        for (v, expected) in [
            (1.0, 1.0),
            (1.0 + 0.49 * ulp, 1.0),
            (1.0 + 0.5 * ulp, 1.0),
            (1.0 + 0.51 * ulp, 1.0 + ulp),
            (1.0 + 1.5 * ulp, 1.0 + 2.0 * ulp),
            (-1.0 - 1.5 * ulp, -1.0 - 2.0 * ulp),
            (2.0 - 0.5 * ulp, 2.0),
            (0.0, 0.0),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(value(rounded(v)), expected, "{v}");
        }
        assert!(value(rounded(f32::from_bits(0x7f80_0001))).is_nan());
        assert!(value(rounded(f32::from_bits(0xffff_ffff))).is_nan());
    }

    /// Protects the places of pairs: each number in its half of its word, an odd one beside a zero, and no column but those asked
    /// for.
    #[test]
    fn pairs_are_neighbours() {
        let halves = |pairs: &[Pair]| -> Vec<[f32; 2]> {
            pairs.iter().map(|pair| [value(pair << 16), value(*pair)]).collect()
        };
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let mut to = [Pair::MAX; 6];
        along(&rows, 3, &mut to);
        assert_eq!(
            halves(&to),
            [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0], [6.0, 0.0], [7.0, 8.0], [9.0, 0.0]]
        );
        let mut to = [Pair::MAX; 6];
        across(&rows, 3, 1, 2, &mut to, 3);
        assert_eq!(
            halves(&to),
            [[2.0, 5.0], [3.0, 6.0], [0.0, 0.0], [8.0, 0.0], [9.0, 0.0], [0.0, 0.0]]
        );
    }

    const WIDTH: usize = 48;

    /// Protects the agreement of the processor's instruction and its replacement, by comparison with sums in f64 of the same
    /// rounded factors: only the rounding of f32 sums may differ. Without such an instruction both are the replacement.
    #[test]
    fn the_instruction_and_its_replacement_sum_alike() {
        for (rows, terms) in [(13, 256), (5, 33), (1, 1)] {
            let numbers = |seed: u64, n: usize| -> Vec<f32> {
                let draw = |i| crate::random::StreamKey::derive(seed, &[i]).0;
                (0..n as u64).map(|i| (draw(i) >> 48) as f32 / 65_536.0 - 0.5).collect()
            };
            let (left, right) = (numbers(1, rows * terms), numbers(2, terms * WIDTH));
            let mut a = vec![0; rows * pairs(terms)];
            let mut b = vec![0; pairs(terms) * WIDTH];
            along(&left, terms, &mut a);
            across(&right, WIDTH, 0, WIDTH, &mut b, WIDTH);
            let words = pairs(terms);
            let by = |multiply: &dyn Fn(Product<'_>)| {
                let mut c = vec![f32::NAN; rows * WIDTH];
                multiply(Product {
                    rows,
                    row_step: words,
                    a: Left { data: &a, walk: Walk::straight(words, 1) },
                    b: Right { data: &b, stride: WIDTH, width: WIDTH },
                    c: &mut c,
                    start: Start::Zero,
                });
                c
            };
            let arch = instruction_set::current();
            let results = [
                by(&|product| multiply(arch, product)),
                by(&|product| arch.dispatch(InHalves(product))),
                by(&|product| Arch::Scalar.dispatch(InHalves(product))),
            ];
            let exact = |v: f32| f64::from(value(rounded(v)));
            for i in 0..rows {
                for j in 0..WIDTH {
                    let products = (0..terms)
                        .map(|k| exact(left[i * terms + k]) * exact(right[k * WIDTH + j]));
                    let (sum, size) =
                        products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
                    let bound = size * (terms + 1) as f64 * f64::from(f32::EPSILON);
                    for c in &results {
                        let error = (f64::from(c[i * WIDTH + j]) - sum).abs();
                        assert!(error <= bound, "{rows} {terms} {i} {j}: off by {error:e}");
                    }
                }
            }
        }
    }
}

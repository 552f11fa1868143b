//! The arithmetic of a product: the types of its factors and sums, and the instruction that multiplies and adds.

use std::marker::PhantomData;

use pulp::Simd;
use pulp::bytemuck::Pod;

use super::simd::Float;

/// The arithmetic of a product on one instruction set. A vector of factors and a vector of sums have equally many elements, which
/// lie side by side.
pub(crate) trait Arithmetic: Copy {
    /// A factor in memory: a number, or a word with several terms of a sum.
    type Factor: Copy;
    /// A sum in memory.
    type Sum: Copy;
    /// A vector of factors.
    type Factors: Pod;
    /// A vector of sums.
    type Sums: Pod;

    /// The number of vector registers of the machine.
    const REGISTERS: usize;

    /// The number of elements of a vector.
    #[inline(always)]
    fn lanes(self) -> usize {
        size_of::<Self::Sums>() / size_of::<Self::Sum>()
    }

    /// A vector of sums that are zero.
    fn zeros(self) -> Self::Sums;
    /// A vector of factors that are all `v`.
    fn splat(self, v: Self::Factor) -> Self::Factors;
    /// `left · right + sums`, element by element, over all terms of a factor.
    fn multiply_add(
        self,
        left: Self::Factors,
        right: Self::Factors,
        sums: Self::Sums,
    ) -> Self::Sums;
}

/// Factors and sums of one float type, with one term in each factor.
#[derive(Clone, Copy)]
pub(crate) struct Plain<F, S>(S, PhantomData<F>);

impl<F, S: Simd> Plain<F, S> {
    #[inline(always)]
    pub(crate) fn on(s: S) -> Self {
        Self(s, PhantomData)
    }
}

impl<F: Float, S: Simd> Arithmetic for Plain<F, S> {
    type Factor = F;
    type Sum = F;
    type Factors = F::Reg<S>;
    type Sums = F::Reg<S>;

    // WebAssembly names no number. Most machines that a browser runs on have 16 of its width, and an engine takes some of them, because
    // it multiplies and adds in two steps. Measured in Chromium, tiles of four rows are 1.4 times as fast as tiles of six.
    const REGISTERS: usize = if cfg!(target_arch = "wasm32") { 12 } else { S::REGISTER_COUNT };

    #[inline(always)]
    fn zeros(self) -> Self::Sums {
        F::splat(self.0, F::default())
    }

    #[inline(always)]
    fn splat(self, v: F) -> Self::Factors {
        F::splat(self.0, v)
    }

    #[inline(always)]
    fn multiply_add(
        self,
        left: Self::Factors,
        right: Self::Factors,
        sums: Self::Sums,
    ) -> Self::Sums {
        F::mul_add(self.0, left, right, sums)
    }
}

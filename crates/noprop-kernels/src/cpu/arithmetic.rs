//! The arithmetic of a product: the types of its factors and sums, and the instruction that multiplies and adds.

use std::marker::PhantomData;

use pulp::Simd;

use super::simd::Float;

/// The arithmetic of a product on one instruction set. A vector of factors and a vector of sums have equally many elements.
pub(crate) trait Arithmetic: Copy {
    /// A factor in memory: a number, or a word with several terms of a sum.
    type Factor: Copy;
    /// A sum in memory.
    type Sum: Copy;
    /// A vector of factors.
    type Factors: Copy;
    /// A vector of sums.
    type Sums: Copy;

    /// The number of vector registers of the machine.
    const REGISTERS: usize;

    /// The number of elements of a vector.
    fn lanes(self) -> usize;
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

    /// The factors at `from`, of any alignment.
    ///
    /// # Safety
    /// `from` must be readable for a vector.
    #[expect(unsafe_code, reason = "the product kernel checks bounds once a tile")]
    unsafe fn factors(self, from: *const Self::Factor) -> Self::Factors;

    /// The sums at `from`, of any alignment.
    ///
    /// # Safety
    /// `from` must be readable for a vector.
    #[expect(unsafe_code, reason = "the product kernel checks bounds once a tile")]
    unsafe fn sums(self, from: *const Self::Sum) -> Self::Sums;

    /// Writes sums to `to`, of any alignment.
    ///
    /// # Safety
    /// `to` must be writable for a vector.
    #[expect(unsafe_code, reason = "the product kernel checks bounds once a tile")]
    unsafe fn store(self, to: *mut Self::Sum, sums: Self::Sums);
}

/// Factors and sums of one float type, with one term in each factor.
pub(crate) struct Plain<F, S>(S, PhantomData<F>);

impl<F, S: Simd> Plain<F, S> {
    #[inline(always)]
    pub(crate) fn on(s: S) -> Self {
        Self(s, PhantomData)
    }
}

impl<F, S: Copy> Clone for Plain<F, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<F, S: Copy> Copy for Plain<F, S> {}

impl<F: Float, S: Simd> Arithmetic for Plain<F, S> {
    type Factor = F;
    type Sum = F;
    type Factors = F::Reg<S>;
    type Sums = F::Reg<S>;

    const REGISTERS: usize = S::REGISTER_COUNT;

    #[inline(always)]
    fn lanes(self) -> usize {
        F::lanes::<S>()
    }

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

    #[inline(always)]
    #[expect(unsafe_code, reason = "a vector load")]
    unsafe fn factors(self, from: *const F) -> Self::Factors {
        // SAFETY: the caller guarantees that a vector is readable there.
        unsafe { F::load_ptr(self.0, from) }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "a vector load")]
    unsafe fn sums(self, from: *const F) -> Self::Sums {
        // SAFETY: the caller guarantees that a vector is readable there.
        unsafe { F::load_ptr(self.0, from) }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "a vector store")]
    unsafe fn store(self, to: *mut F, sums: Self::Sums) {
        // SAFETY: the caller guarantees that a vector is writable there.
        unsafe { F::store_ptr(self.0, to, sums) }
    }
}

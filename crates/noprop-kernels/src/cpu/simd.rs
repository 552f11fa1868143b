//! The two float types as vectors of the machine's width.
//!
//! `pulp` chooses AVX-512, AVX2 with FMA, NEON or plain code when the program runs. Its operations have the element type
//! in their names; with [`Float`] one generic kernel serves f32 and f64.

use candle_core::{CpuStorage, WithDType};
use pulp::Simd;
use pulp::bytemuck::Pod;

use super::exponential::Exponential;
use super::scratch::Pooled;
use super::turn::Turned;

/// The lanes of the widest vector in f32. Channel counts are rounded up to a multiple of them, so that no kernel has a ragged
/// edge.
pub(crate) const MOST_LANES: usize = 16;

/// `channels` rounded up to whole vectors on any machine.
pub(crate) const fn whole_vectors(channels: usize) -> usize {
    channels.div_ceil(MOST_LANES) * MOST_LANES
}

/// f32 or f64 in vectors. Every method is one instruction where the machine has it.
pub(crate) trait Float: WithDType + Pooled + Turned + Exponential {
    /// A vector.
    type Reg<S: Simd>: Pod;

    /// The number of elements of a vector.
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Reg<S>>() / size_of::<Self>()
    }

    /// A vector whose elements are all `v`.
    fn splat<S: Simd>(s: S, v: Self) -> Self::Reg<S>;
    fn plus<S: Simd>(s: S, a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S>;
    fn minus<S: Simd>(s: S, a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S>;
    fn times<S: Simd>(s: S, a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S>;
    /// `a b + c`, rounded once where the machine can.
    fn mul_add<S: Simd>(s: S, a: Self::Reg<S>, b: Self::Reg<S>, c: Self::Reg<S>) -> Self::Reg<S>;
    /// The constant `v` in this type.
    fn constant(v: f64) -> Self;
    /// The value in f64.
    fn wide(self) -> f64;
    /// Square root.
    fn root(self) -> Self;
    /// Exponential: `libm`'s, because the last bit of the system's differs from machine to machine.
    fn exponential(self) -> Self;
    /// Natural logarithm, `libm`'s.
    fn logarithm(self) -> Self;

    /// The elements of a storage of this type.
    fn elements_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;

    /// The vector at the start of `from`. Panics when it is shorter than a vector.
    #[inline(always)]
    fn load<S: Simd>(_s: S, from: &[Self]) -> Self::Reg<S> {
        let from = &from[..Self::lanes::<S>()];
        // SAFETY: `from` is exactly one vector long, and any bits are a valid vector.
        #[expect(unsafe_code, reason = "a vector load")]
        unsafe {
            from.as_ptr().cast::<Self::Reg<S>>().read_unaligned()
        }
    }

    /// Writes `v` at the start of `to`. Panics when it is shorter than a vector.
    #[inline(always)]
    fn store<S: Simd>(_s: S, to: &mut [Self], v: Self::Reg<S>) {
        let to = &mut to[..Self::lanes::<S>()];
        // SAFETY: `to` is exactly one vector long, and any bits are valid elements.
        #[expect(unsafe_code, reason = "a vector store")]
        unsafe {
            to.as_mut_ptr().cast::<Self::Reg<S>>().write_unaligned(v);
        }
    }
}

macro_rules! float {
    ($float:ty, $variant:ident, $vector:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $mul_add:ident) => {
        impl Float for $float {
            type Reg<S: Simd> = S::$vector;

            #[inline(always)]
            fn splat<S: Simd>(s: S, v: Self) -> Self::Reg<S> {
                s.$splat(v)
            }

            #[inline(always)]
            fn plus<S: Simd>(s: S, a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S> {
                s.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(s: S, a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S> {
                s.$sub(a, b)
            }

            #[inline(always)]
            fn times<S: Simd>(s: S, a: Self::Reg<S>, b: Self::Reg<S>) -> Self::Reg<S> {
                s.$mul(a, b)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(
                s: S,
                a: Self::Reg<S>,
                b: Self::Reg<S>,
                c: Self::Reg<S>,
            ) -> Self::Reg<S> {
                s.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn constant(v: f64) -> Self {
                v as $float
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }

            fn exponential(self) -> Self {
                libm::exp(f64::from(self)) as $float
            }

            fn logarithm(self) -> Self {
                libm::log(f64::from(self)) as $float
            }

            fn elements_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(elements) => Some(elements),
                    _ => None,
                }
            }
        }
    };
}

float!(f32, F32, f32s, splat_f32s, add_f32s, sub_f32s, mul_f32s, mul_add_e_f32s);
float!(f64, F64, f64s, splat_f64s, add_f64s, sub_f64s, mul_f64s, mul_add_e_f64s);

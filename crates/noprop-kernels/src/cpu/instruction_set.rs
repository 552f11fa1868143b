//! The vector instructions that the kernels use.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// A set of vector instructions that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// AVX-512 (F, BW, CD, DQ and VL): sixteen f32 at a time.
    Avx512,
    /// AVX2 with FMA: eight f32 at a time.
    Avx2,
    /// NEON, on aarch64: four f32 at a time.
    Neon,
    /// No explicit vectors; the compiler may still use some.
    Plain,
}

/// The environment variable that names an instruction set to use instead of the best one: `avx512`, `avx2`, `neon` or `plain`.
/// It is ignored when the machine does not have it. It serves tests, and shows whether a difference between two machines comes
/// from their instructions.
const VARIABLE: &str = "NOPROP_INSTRUCTION_SET";

impl InstructionSet {
    /// The set that the fused kernels use in this process: the best of the machine, unless the environment variable
    /// `NOPROP_INSTRUCTION_SET` named another (`avx512`, `avx2`, `neon`, `plain`) at the first use.
    ///
    /// Results agree between instruction sets to rounding, not to the bit.
    #[must_use]
    pub fn current() -> Self {
        Self::of(current())
    }

    fn of(arch: Arch) -> Self {
        match arch {
            Arch::Scalar => Self::Plain,
            #[cfg(target_arch = "x86_64")]
            Arch::V3(_) => Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => Self::Avx512,
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(_) => Self::Neon,
            _ => Self::Plain,
        }
    }
}

/// The instruction set that every kernel is dispatched to. It is chosen once.
pub(crate) fn current() -> Arch {
    static CURRENT: OnceLock<Arch> = OnceLock::new();
    *CURRENT.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Ok("plain") => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or_else(Arch::new, Arch::V3),
        _ => Arch::new(),
    })
}

/// Runs `f` compiled for the widest vectors of the machine.
///
/// Mark the closure `#[inline(always)]`: code that is not inlined into the vectorised function is compiled for the plainest
/// machine. (`pulp` takes closures itself, but as `FnOnce`, through a shim that is not inlined.)
#[inline(always)]
pub(crate) fn vectorised<R>(arch: Arch, f: impl FnMut() -> R) -> R {
    struct Plain<C>(C);
    impl<R, C: FnMut() -> R> WithSimd for Plain<C> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    arch.dispatch(Plain(f))
}

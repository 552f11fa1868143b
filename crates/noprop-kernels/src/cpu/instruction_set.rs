//! The vector instructions that the kernels use.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// The environment variable that names a plainer instruction set to use instead of the machine's best one: `avx2` (with FMA) or
/// `plain`. It is ignored when the machine does not have it. It serves tests, and shows whether a difference between two machines
/// comes from their instructions.
const VARIABLE: &str = "NOPROP_INSTRUCTION_SET";

/// The instruction set that every kernel is dispatched to. It is chosen once, at the first use. Results agree between instruction
/// sets to rounding, not to the bit.
pub(crate) fn current() -> Arch {
    static CURRENT: OnceLock<Arch> = OnceLock::new();
    *CURRENT.get_or_init(|| named(std::env::var(VARIABLE).as_deref().unwrap_or_default()))
}

fn named(name: &str) -> Arch {
    match name {
        "plain" => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        "avx2" => pulp::x86::V3::try_new().map_or_else(Arch::new, Arch::V3),
        _ => Arch::new(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the effect of the variable, on machines that have the instruction set.
    #[test]
    fn the_instruction_set_is_the_one_asked_for() {
        assert!(matches!(named("plain"), Arch::Scalar));
        #[cfg(target_arch = "x86_64")]
        assert!(!matches!(named("avx2"), Arch::V4(_)) || pulp::x86::V3::try_new().is_none());
    }
}

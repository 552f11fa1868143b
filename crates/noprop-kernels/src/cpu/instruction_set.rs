//! Which instructions the kernels are running on.

use std::sync::OnceLock;

use pulp::Arch;

/// The vector instructions of a CPU that the kernels know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// AVX-512 (F, BW, CD, DQ and VL): sixteen f32 at a time.
    Avx512,
    /// AVX2 with FMA: eight.
    Avx2,
    /// NEON, on aarch64: four.
    Neon,
    /// No vectors of ours; the compiler may still find some.
    Plain,
}

/// Names the instruction set to use instead of the best one: `avx512`, `avx2`, `neon` or `plain`. Ignored when the machine
/// does not have it. For tests, and for telling whether a difference between two machines is theirs.
const VARIABLE: &str = "NOPROP_INSTRUCTION_SET";

impl InstructionSet {
    /// The one that the fused kernels use in this process: the best of the machine, unless the environment variable
    /// `NOPROP_INSTRUCTION_SET` named another (`avx512`, `avx2`, `neon`, `plain`) when it was first asked for.
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

/// The instruction set that every kernel is dispatched to, settled once.
pub(crate) fn current() -> Arch {
    static CURRENT: OnceLock<Arch> = OnceLock::new();
    *CURRENT.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Ok("plain") => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or_else(Arch::new, Arch::V3),
        _ => Arch::new(),
    })
}

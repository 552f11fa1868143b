//! Keeping freed memory in the process.
//!
//! Every training step makes tensors of a few megabytes and drops them. The GNU C library hands blocks of that size back
//! to the system at once and asks for them again in the next step, and the system clears every page anew: that took
//! 19 ms instead of 14 for a step of a paper block. The kernels' own buffers are pooled; candle's tensors are not.

/// Whether [`keep_freed`] could do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Freed memory stays in the process from now on.
    Yes,
    /// This system's allocator has no such setting, or refused it.
    Unsupported,
}

/// Tells the allocator to keep freed memory for the next step instead of handing it back to the system.
///
/// A setting of the whole process: for programs, in `main`, not for libraries. Only the GNU C library on Linux needs it
/// and has it. Peak memory does not change; what is free after the peak stays with the process.
pub fn keep_freed() -> Kept {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const NEVER: libc::c_int = libc::c_int::MAX;
        let settings = [
            // Blocks above this size are mapped and unmapped one by one.
            (libc::M_MMAP_THRESHOLD, NEVER),
            // Free memory above this size at the end of the heap is handed back.
            (libc::M_TRIM_THRESHOLD, NEVER),
        ];
        if settings.into_iter().all(|(name, value)| set(name, value)) {
            return Kept::Yes;
        }
    }
    Kept::Unsupported
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator is set up through the C library")]
fn set(name: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: `mallopt` takes two numbers, touches no memory of ours and may be called at any time.
    unsafe { libc::mallopt(name, value) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refused setting would leave every step clearing pages.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn the_gnu_allocator_takes_the_settings() {
        assert_eq!(keep_freed(), Kept::Yes);
        let block = vec![1_u8; 100 << 20];
        assert_eq!(block[99 << 20], 1);
    }
}

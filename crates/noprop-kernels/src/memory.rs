//! Keeping freed memory in the process.
//!
//! Every training step makes tensors of a few megabytes and drops them. The GNU C library returns blocks of that size to the
//! system at once and requests them again in the next step, and the system clears every page anew: a step of a paper block
//! then took 19 ms instead of 14. The kernels' own buffers are pooled; candle's tensors are not.

/// The outcome of [`keep_freed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Freed memory stays in the process from now on.
    Yes,
    /// The system's allocator has no such setting, or refused it.
    Unsupported,
}

/// Sets the allocator to keep freed memory for the next step instead of returning it to the system.
///
/// This is a setting of the whole process: call it in a program's `main`, not in a library. Only the GNU C library on Linux
/// needs it and has it. The peak of memory does not change; memory that is free after the peak stays with the process.
pub fn keep_freed() -> Kept {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const NEVER: libc::c_int = libc::c_int::MAX;
        let settings = [
            // Blocks above this size are mapped and unmapped one by one.
            (libc::M_MMAP_THRESHOLD, NEVER),
            // Free memory above this size at the end of the heap is returned.
            (libc::M_TRIM_THRESHOLD, NEVER),
            // Other threads than the first have heaps of their own, of 64 MB at most, and an empty one is returned whole: with tensors of
            // 30 MB that was every step's. One heap serves all threads.
            (libc::M_ARENA_MAX, 1),
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

    /// Protects the setting: if it is refused, every step clears its pages anew.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn the_gnu_allocator_takes_the_settings() {
        assert_eq!(keep_freed(), Kept::Yes);
        let block = vec![1_u8; 100 << 20];
        assert_eq!(block[99 << 20], 1);
    }
}

//! Working memory that a thread keeps between calls, so that a training step allocates nothing of its own.

use std::cell::RefCell;

/// Types that have a pool of buffers on each thread.
pub(crate) trait Pooled: Copy + Default + Send + Sync + 'static {
    /// Takes a buffer out of the thread's pool, or makes one.
    fn take() -> Vec<Self>;
    /// Puts a buffer into the thread's pool.
    fn give(buffer: Vec<Self>);
}

macro_rules! pooled {
    ($($float:ty, $pool:ident);*) => {
        $(
            thread_local! {
                static $pool: RefCell<Vec<Vec<$float>>> = const { RefCell::new(Vec::new()) };
            }

            impl Pooled for $float {
                fn take() -> Vec<Self> {
                    $pool.with_borrow_mut(Vec::pop).unwrap_or_default()
                }

                fn give(buffer: Vec<Self>) {
                    $pool.with_borrow_mut(|pool| pool.push(buffer));
                }
            }
        )*
    };
}

pooled!(f32, POOL_F32; f64, POOL_F64; u8, POOL_U8);

/// A buffer on loan from the thread's pool; goes back when dropped.
pub(crate) struct Scratch<F: Pooled> {
    // Never shortened, so that a later and longer loan need not fill it again.
    buffer: Vec<F>,
    len: usize,
}

impl<F: Pooled> Scratch<F> {
    /// A buffer of `len` elements with any content.
    pub(crate) fn any(len: usize) -> Self {
        let mut buffer = F::take();
        if buffer.len() < len {
            // Not `resize`: what is there need not be copied.
            buffer = vec![F::default(); len];
        }
        Self { buffer, len }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut scratch = Self::any(len);
        scratch.fill(F::default());
        scratch
    }
}

impl<F: Pooled> std::ops::Deref for Scratch<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        &self.buffer[..self.len]
    }
}

impl<F: Pooled> std::ops::DerefMut for Scratch<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.buffer[..self.len]
    }
}

impl<F: Pooled> Drop for Scratch<F> {
    fn drop(&mut self) {
        F::give(std::mem::take(&mut self.buffer));
    }
}

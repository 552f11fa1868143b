//! Working memory that is kept between calls, so that a training step allocates none.
//!
//! One pool serves all threads: a worker may fill a buffer that the caller drops, and with a pool for each thread one of them
//! would then grow for ever.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The buffers that are not on loan, by length. Among equals, the one that came back last is at the end.
pub(crate) type Pool<F> = BTreeMap<usize, Vec<Vec<F>>>;

/// Types that have a pool of buffers.
pub(crate) trait Pooled: Copy + Default + Send + Sync + 'static {
    /// The pool.
    fn pool() -> &'static Mutex<Pool<Self>>;
}

macro_rules! pooled {
    ($($element:ty),*) => {
        $(
            impl Pooled for $element {
                fn pool() -> &'static Mutex<Pool<Self>> {
                    static POOL: Mutex<Pool<$element>> = Mutex::new(Pool::new());
                    &POOL
                }
            }
        )*
    };
}

pooled!(f32, f64, u8, u32);

/// The pool's shortest buffer of at least `len` elements.
fn take<F: Pooled>(len: usize) -> Option<Vec<F>> {
    let mut pool = F::pool().lock().unwrap_or_else(PoisonError::into_inner);
    pool.range_mut(len..).find_map(|(_, buffers)| buffers.pop())
}

fn give<F: Pooled>(buffer: Vec<F>) {
    if !buffer.is_empty() {
        let mut pool = F::pool().lock().unwrap_or_else(PoisonError::into_inner);
        pool.entry(buffer.len()).or_default().push(buffer);
    }
}

/// A buffer on loan from the pool. It goes back when dropped.
pub(crate) struct Scratch<F: Pooled> {
    // Never shortened, so that a later and longer loan does not fill it again.
    buffer: Vec<F>,
    len: usize,
}

impl<F: Pooled> Scratch<F> {
    /// A buffer of `len` elements with any content.
    pub(crate) fn any(len: usize) -> Self {
        let buffer = if len == 0 {
            Vec::new()
        } else {
            take(len).unwrap_or_else(|| vec![F::default(); len])
        };
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
        give(std::mem::take(&mut self.buffer));
    }
}

//! Writing the columns of one matrix from several threads.

use std::marker::PhantomData;

/// A row-major matrix whose elements are divided among tasks. Slices can only be split by rows, so this is the one place where
/// tasks write between each other's elements.
pub(crate) struct Columns<'a, F> {
    data: *mut F,
    rows: usize,
    stride: usize,
    borrowed: PhantomData<&'a mut [F]>,
}

#[expect(unsafe_code, reason = "tasks on several threads write to disjoint columns")]
// SAFETY: the elements are accessible only through `write`, whose callers guarantee that no other thread writes to theirs.
unsafe impl<F: Send> Sync for Columns<'_, F> {}

impl<'a, F: Copy> Columns<'a, F> {
    /// The matrix in `data`, with rows of `stride` elements.
    pub(crate) fn new(data: &'a mut [F], stride: usize) -> Self {
        Self {
            rows: data.len() / stride.max(1),
            stride,
            data: data.as_mut_ptr(),
            borrowed: PhantomData,
        }
    }

    /// Copies `from` into row `row` from column `column` on. Panics when it does not fit in the row.
    ///
    /// # Safety
    /// No other thread may write to these elements meanwhile.
    #[expect(unsafe_code, reason = "tasks on several threads write to disjoint columns")]
    pub(crate) unsafe fn write(&self, row: usize, column: usize, from: &[F]) {
        assert!(row < self.rows && column + from.len() <= self.stride);
        // SAFETY: the elements lie in the matrix, as was just checked, and no other thread writes to them.
        unsafe {
            let to = self.data.add(row * self.stride + column);
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
    }
}

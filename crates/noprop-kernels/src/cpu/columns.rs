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

    /// A matrix of `rows` rows of `stride` elements that `fill` writes: zeros that are overwritten anyway would cost a pass over the memory.
    ///
    /// # Safety
    /// When `fill` returns, it must have written every element.
    #[expect(unsafe_code, reason = "memory that is not zeroed before it is written")]
    pub(crate) unsafe fn filled(rows: usize, stride: usize, fill: impl FnOnce(&Self)) -> Vec<F> {
        let mut matrix = Vec::with_capacity(rows * stride);
        fill(&Self { data: matrix.as_mut_ptr(), rows, stride, borrowed: PhantomData });
        // SAFETY: that many elements were allocated, and all of them were written.
        unsafe { matrix.set_len(rows * stride) };
        matrix
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

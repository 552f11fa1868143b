//! Writing the columns of one matrix from several threads.

use std::marker::PhantomData;

/// The columns of a task in a dense layer, except for its last: two of the widest vectors.
pub(crate) const PANEL: usize = 32;

/// Room for elements that tasks write through [`Columns`]. Zeros would cost a pass over the memory, on one thread.
pub(crate) struct Room<F> {
    elements: Vec<F>,
    len: usize,
}

impl<F: Copy> Room<F> {
    /// Room for `len` elements.
    pub(crate) fn new(len: usize) -> Self {
        Self { elements: Vec::with_capacity(len), len }
    }

    /// The room as a matrix with rows of `stride` elements.
    pub(crate) fn columns(&mut self, stride: usize) -> Columns<'_, F> {
        Columns {
            rows: self.len / stride.max(1),
            stride,
            data: self.elements.as_mut_ptr(),
            borrowed: PhantomData,
        }
    }

    /// The elements.
    ///
    /// # Safety
    /// Every element must have been written.
    #[expect(unsafe_code, reason = "the compiler cannot see that tasks wrote every element")]
    pub(crate) unsafe fn written(mut self) -> Vec<F> {
        // SAFETY: the vector has this capacity, and the caller guarantees the values.
        unsafe { self.elements.set_len(self.len) };
        self.elements
    }
}

/// A row-major matrix, made by [`Room::columns`], whose elements are divided among tasks. Slices can only be split by rows, so this is the one place where
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

impl<F: Copy> Columns<'_, F> {
    /// Copies `from` into row `row` from column `column` on. Panics when it does not fit in the row.
    ///
    /// # Safety
    /// No other thread may write to these elements meanwhile.
    #[inline(always)]
    #[expect(unsafe_code, reason = "tasks on several threads write to disjoint columns")]
    pub(crate) unsafe fn write(&self, row: usize, column: usize, from: &[F]) {
        assert!(row < self.rows && column + from.len() <= self.stride);
        // SAFETY: the elements lie in the matrix, as was just checked, and no other thread writes to them.
        unsafe {
            let to = self.data.add(row * self.stride + column);
            match <&[F; PANEL]>::try_from(from) {
                // A length that the compiler knows needs no call.
                Ok(panel) => to.cast::<[F; PANEL]>().write(*panel),
                Err(_) => std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()),
            }
        }
    }
}

//! Access to the memory of candle tensors on the CPU.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, Range};

use candle_core::{
    CpuStorage, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, WithDType, bail,
};

use super::simd::Float;

/// The elements of a contiguous tensor, in order.
pub(crate) fn elements<F: WithDType>(tensor: &Tensor) -> Result<impl Deref<Target = [F]>> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = range(layout)?;
    let elements = StorageRef::try_map(storage, |storage| match storage {
        Storage::Cpu(storage) => storage.as_slice().ok()?.get(range),
        _ => None,
    });
    match elements {
        Ok(elements) => Ok(elements),
        Err(_) => bail!("expected a tensor of {:?} on the CPU", F::DTYPE),
    }
}

/// Calls `f` with the elements of a contiguous tensor, to be changed in place.
pub(crate) fn with_elements_mut<F: Float>(
    tensor: &Tensor,
    f: impl FnOnce(&mut [F]) -> Result<()>,
) -> Result<()> {
    tensor.inplace_op1(&Lend { to: RefCell::new(Some(f)), elements: PhantomData })
}

/// The places of a contiguous tensor's elements.
fn range(layout: &Layout) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("expected contiguous memory"),
    }
}

/// candle lends a tensor's memory for changes to an op only.
struct Lend<F, C> {
    to: RefCell<Option<C>>,
    elements: PhantomData<F>,
}

impl<F: Float, C: FnOnce(&mut [F]) -> Result<()>> InplaceOp1 for Lend<F, C> {
    fn name(&self) -> &'static str {
        "lend"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let elements = F::elements_mut(storage).and_then(|all| all.get_mut(range(layout).ok()?));
        match (self.to.take(), elements) {
            (Some(to), Some(elements)) => to(elements),
            _ => bail!("expected contiguous memory of {:?}", F::DTYPE),
        }
    }
}

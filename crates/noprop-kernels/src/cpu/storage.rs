//! Access to the memory of candle tensors on the CPU.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// Float types that candle stores.
pub(crate) trait Stored: Sized {
    /// The elements of a storage of this type.
    fn elements(storage: &CpuStorage) -> Result<&[Self]>;
    /// A storage of these elements.
    fn storage(elements: Vec<Self>) -> CpuStorage;
}

macro_rules! stored {
    ($($float:ty, $variant:ident);*) => {
        $(
            impl Stored for $float {
                fn elements(storage: &CpuStorage) -> Result<&[Self]> {
                    match storage {
                        CpuStorage::$variant(data) => Ok(data),
                        _ => bail!("expected a tensor of {}", stringify!($float)),
                    }
                }

                fn storage(elements: Vec<Self>) -> CpuStorage {
                    CpuStorage::$variant(elements)
                }
            }
        )*
    };
}

stored!(f32, F32; f64, F64);

/// The elements of a contiguous view in order.
pub(crate) fn contiguous<'a, F: Stored>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [F]> {
    let data = F::elements(storage)?;
    match layout.contiguous_offsets() {
        Some((start, end)) if end <= data.len() => Ok(&data[start..end]),
        _ => bail!("expected contiguous memory"),
    }
}

/// Calls `f` with the elements of a contiguous CPU tensor.
pub(crate) fn with_elements<F: Stored, R>(
    tensor: &Tensor,
    f: impl FnOnce(&[F]) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(contiguous(storage, layout)?),
        _ => bail!("expected a tensor on the CPU"),
    }
}

/// Returns `true` for a storage of f32. Fused kernels are chosen for f32 and f64 only.
pub(crate) fn is_f32(storage: &CpuStorage) -> bool {
    matches!(storage, CpuStorage::F32(_))
}

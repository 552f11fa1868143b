//! The pool that a GPU's memory comes from.

use candle_core::cuda::cudarc::driver::sys;
use candle_core::{CudaDevice, Error, Result};

/// Lets the process keep the memory that tensors free, for the next ones. Otherwise the driver gives it back whenever the host
/// waits for the device, and the next step asks for it all again. A driver without a pool has nothing to keep.
#[expect(unsafe_code, reason = "cudarc has no safe form of these calls")]
pub(crate) fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    // SAFETY: the context lives, so its device does; both pointers are to variables of the types that the driver writes and reads.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device())
            .result()
            .map_err(Error::wrap)?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut all).cast())
            .result()
            .map_err(Error::wrap)?;
    }
    Ok(())
}

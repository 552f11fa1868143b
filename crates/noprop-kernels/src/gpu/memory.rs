//! The memory pool of a GPU.

use std::ffi::c_void;

use candle_core::cuda::cudarc::driver::sys::{self, CUmemPool_attribute as Attribute};
use candle_core::{CudaDevice, Error, Result};

/// Lets the process keep the memory that tensors free, for later tensors. Otherwise the driver returns it whenever the host waits
/// for the device, and the next step requests all of it again. Does nothing with a driver that has no pool.
#[expect(unsafe_code, reason = "cudarc has no safe form of this call")]
pub(crate) fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
    let Some(pool) = pool(device)? else { return Ok(()) };
    let mut all = u64::MAX;
    let value = (&raw mut all).cast::<c_void>();
    let threshold = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the pool is the device's own, which outlives the process; the driver reads a number of 64 bits for this attribute.
    unsafe { sys::cuMemPoolSetAttribute(pool, threshold, value) }.result().map_err(Error::wrap)
}

/// The most bytes that tensors have held at a time, if the driver has a pool.
#[expect(unsafe_code, reason = "cudarc has no safe form of this call")]
pub(crate) fn peak(device: &CudaDevice) -> Result<Option<u64>> {
    let Some(pool) = pool(device)? else { return Ok(None) };
    let mut most = 0u64;
    let value = (&raw mut most).cast::<c_void>();
    // SAFETY: as above; the driver writes a number of 64 bits for this attribute.
    unsafe { sys::cuMemPoolGetAttribute(pool, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, value) }
        .result()
        .map_err(Error::wrap)?;
    Ok(Some(most))
}

#[expect(unsafe_code, reason = "cudarc has no safe form of this call")]
fn pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    let mut pool = std::ptr::null_mut();
    // SAFETY: the context lives, so its device does; the driver writes the pool's address.
    unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device()) }
        .result()
        .map_err(Error::wrap)?;
    Ok(Some(pool))
}

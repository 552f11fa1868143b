//! GPUs, prepared for the ops of this crate.

use candle_core::Device;

/// NVIDIA's GPU number `ordinal`. All its work goes through one stream, from whatever thread it comes, so no work has to wait for
/// events.
///
/// # Errors
/// candle's, if there is no such GPU, or the driver does not fit.
#[cfg(feature = "cuda")]
#[expect(
    unsafe_code,
    reason = "candle leaves the order of streams to the caller that turns its events off"
)]
pub fn cuda_device(ordinal: usize) -> crate::Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    // SAFETY: there is no second stream that the events would keep in order.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    crate::gpu::keep_freed_memory(device.as_cuda_device()?)?;
    Ok(device)
}

/// The most bytes that this process's tensors have held on `device` at a time; `None` on a CPU, or if the system does not report it.
pub fn peak_device_memory(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    let peak = device.as_cuda_device().ok().and_then(|device| crate::gpu::peak(device).ok()?);
    #[cfg(not(feature = "cuda"))]
    let peak = {
        let _ = device;
        None
    };
    peak
}

/// Does `work` while the copies that candle makes on a GPU for its kernels, shapes and small constants, are kept there, so that a
/// step that is repeated copies nothing. candle keeps every copy of up to 4 KiB for ever, so `work` must not copy values that differ
/// from step to step.
pub fn keeping_copies<R>(device: &Device, work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "cuda")]
    let _kept = device.as_cuda_device().ok().map(|device| device.enable_cuda_graph_htod_cache());
    #[cfg(not(feature = "cuda"))]
    let _ = device;
    work()
}

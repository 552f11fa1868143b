//! Which implementation of an op runs.

use candle_core::{DType, Tensor};

use crate::error::{KernelError, Result};

/// Selects the implementation of an op. Values and gradients agree whatever is chosen; only speed and memory differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// [`Backend::Fused`] on the CPU in f32 or f64 and on CUDA in f32, [`Backend::Reference`] anywhere else.
    #[default]
    Auto,
    /// One pass over the data in our own kernels. An error where there are none.
    Fused,
    /// Plain candle ops, the yardstick of the fused ones. Runs on every device candle supports.
    Reference,
    /// The GPU's ops on the CPU, beside whose own they are tested.
    #[cfg(test)]
    Gpu,
}

/// What the factors of products are rounded to, forward and backward: of dense layers, and on GPUs of convolutions too. Sums,
/// parameters and everything else are in the tensors' own type whatever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nothing: f32 is multiplied as it is, and so is f64.
    #[default]
    F32,
    /// bf16, f32 with 8 bits of precision, to nearest, ties to even: about half the time of f32 where the processor has
    /// AVX-512 BF16, and on GPUs. For f32 only.
    Bf16,
    /// TF32, f32 with 11 bits of precision: the fast products of NVIDIA's GPUs, on which alone it says anything.
    Tf32,
}

/// GPU number `ordinal` by NVIDIA, ready for the ops of this crate. All its work goes through one stream, whatever thread asks for
/// it, so nothing has to wait for events.
///
/// # Errors
/// candle's, when there is no such GPU, or a driver that does not fit.
#[cfg(feature = "cuda")]
#[expect(
    unsafe_code,
    reason = "candle leaves the order of streams to whoever turns its events off"
)]
pub fn cuda_device(ordinal: usize) -> Result<candle_core::Device> {
    let device = candle_core::Device::new_cuda_with_stream(ordinal)?;
    // SAFETY: there is no second stream that the events would keep in order.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    #[cfg(feature = "cuda")]
    crate::gpu::keep_freed_memory(device.as_cuda_device()?)?;
    Ok(device)
}

/// The most bytes that tensors held on `device` at a time, in this process; none on a CPU, or where the system does not tell.
pub fn peak_device_memory(device: &candle_core::Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    let peak = device.as_cuda_device().ok().and_then(|device| crate::gpu::peak(device).ok()?);
    #[cfg(not(feature = "cuda"))]
    let peak = {
        let _ = device;
        None
    };
    peak
}

/// Does `work` with what candle copies to a GPU for its kernels, shapes and small constants, kept there: a step that is repeated
/// copies nothing. candle keeps every copy of up to 4 KiB for ever, so what differs from step to step must not be copied in `work`.
pub fn keeping_copies<R>(device: &candle_core::Device, work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "cuda")]
    let _kept = device.as_cuda_device().ok().map(|device| device.enable_cuda_graph_htod_cache());
    #[cfg(not(feature = "cuda"))]
    let _ = device;
    work()
}

/// The implementation that was settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    Fused,
    Reference,
    #[cfg(any(test, feature = "cuda"))]
    Gpu,
}

impl Backend {
    /// Settles on an implementation for tensors like `x`.
    pub(crate) fn choose(self, op: &'static str, x: &Tensor) -> Result<Chosen> {
        #[cfg(feature = "cuda")]
        if self != Self::Reference && x.device().is_cuda() && x.dtype() == DType::F32 {
            return Ok(Chosen::Gpu);
        }
        let available = x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64);
        match (self, available) {
            (Self::Auto | Self::Fused, true) => Ok(Chosen::Fused),
            (Self::Auto, false) | (Self::Reference, _) => Ok(Chosen::Reference),
            (Self::Fused, false) => Err(KernelError::FusedUnavailable { op }),
            #[cfg(test)]
            (Self::Gpu, _) => Ok(Chosen::Gpu),
        }
    }
}

/// What is applied element by element after an affine op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing: `f(v) = v`.
    #[default]
    None,
    /// `f(v) = max(v, 0)`, with `f'(0) = 0` and not-a-number passed on.
    Relu,
}

/// `max(v, 0)` in plain candle ops. candle's own `relu` has slope 1 at zero; here it is 0, as in the fused kernels.
pub(crate) fn reference_relu(v: &Tensor) -> candle_core::Result<Tensor> {
    // `v <= 0` selects the zero, so a not-a-number, for which it is false, is passed on.
    v.le(0.0)?.where_cond(&v.zeros_like()?, v)
}

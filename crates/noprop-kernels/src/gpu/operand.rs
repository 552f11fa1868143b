//! The tensors that kernels read and write.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

use crate::node::Value;

/// A tensor that a kernel writes before it is read, and that candle does not have yet.
pub(super) struct Fresh {
    storage: Storage,
    shape: Shape,
}

impl Fresh {
    /// Room for f32 in `shape`.
    pub fn new(shape: impl Into<Shape>, device: &Device) -> Result<Self> {
        let shape = shape.into();
        let elements = shape.elem_count();
        let storage = match device {
            Device::Cpu => Storage::Cpu(CpuStorage::F32(vec![0.0; elements])),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Storage::Cuda(cuda::room(device, elements)?),
            other => bail!("no kernels for {:?}", other.location()),
        };
        Ok(Self { storage, shape })
    }

    /// Its memory, after it is written.
    pub fn into_parts(self) -> Value {
        (self.storage, self.shape)
    }
}

/// Room for a tensor that a kernel writes before it is read.
#[expect(unsafe_code, reason = "clearing memory that is written next would take another launch")]
pub(super) fn room(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: every kernel writes each element of its results, and the tensor is used only after the launch that writes it.
    unsafe { Tensor::empty(shape, dtype, device) }
}

/// A value whose memory a kernel may read or write.
pub(super) trait Operand {
    /// The type of its elements.
    fn dtype(&self) -> DType;
    /// The address of its first element.
    fn address(&self) -> Result<u64>;
}

impl Operand for Tensor {
    fn dtype(&self) -> DType {
        Self::dtype(self)
    }

    fn address(&self) -> Result<u64> {
        let (storage, layout) = self.storage_and_layout();
        address(&storage, layout)
    }
}

impl Operand for Fresh {
    fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    fn address(&self) -> Result<u64> {
        address(&self.storage, &Layout::contiguous(&self.shape))
    }
}

fn address(storage: &Storage, layout: &Layout) -> Result<u64> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("a kernel was given a tensor that is not contiguous")
    };
    let size = storage.dtype().size_in_bytes() as u64;
    let base = match storage {
        #[cfg(test)]
        Storage::Cpu(CpuStorage::F32(data)) => data.as_ptr() as u64,
        #[cfg(test)]
        Storage::Cpu(CpuStorage::BF16(data)) => data.as_ptr() as u64,
        #[cfg(test)]
        Storage::Cpu(CpuStorage::U32(data)) => data.as_ptr() as u64,
        #[cfg(test)]
        Storage::Cpu(CpuStorage::U8(data)) => data.as_ptr() as u64,
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => cuda::base(storage)?,
        other => bail!("no kernels for {:?} on {:?}", other.dtype(), other.device().location()),
    };
    Ok(base + start as u64 * size)
}

#[cfg(feature = "cuda")]
mod cuda {
    //! The memory of a GPU.

    use candle_core::backend::BackendStorage;
    use candle_core::cuda::cudarc::driver::DevicePtr;
    use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

    /// Memory for f32, not cleared.
    #[expect(
        unsafe_code,
        reason = "clearing memory that is written next would take another launch"
    )]
    pub fn room(device: &CudaDevice, elements: usize) -> Result<CudaStorage> {
        // SAFETY: every kernel writes each element of its results, and they are used only afterwards.
        let slice = unsafe { device.alloc::<f32>(elements) }?;
        Ok(CudaStorage::wrap_cuda_slice(slice, device.clone()))
    }

    /// The address of a storage. It is used on the device's only stream, in whose order memory is freed too.
    pub fn base(storage: &CudaStorage) -> Result<u64> {
        let stream = storage.device.cuda_stream();
        Ok(match storage.dtype() {
            DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0,
            DType::U32 => storage.as_cuda_slice::<u32>()?.device_ptr(&stream).0,
            DType::U8 => storage.as_cuda_slice::<u8>()?.device_ptr(&stream).0,
            DType::BF16 => storage.as_cuda_slice::<half::bf16>()?.device_ptr(&stream).0,
            other => bail!("no kernels for {other:?}"),
        })
    }
}

//! Running a kernel.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

use crate::random::StreamKey;

/// Threads of a group, as in the kernels.
const THREADS: usize = 256;
/// Streams in one launch, as in the kernels.
pub(super) const STREAMS: usize = 64;

/// All arguments of any kernel, laid out as in `kernels/prelude.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Args {
    p: [u64; 8],
    n: [i64; 13],
    f: [f64; 8],
    key: [u64; STREAMS],
}

/// How many threads a kernel takes.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// A thread an element.
    Elements(usize),
    /// So many groups.
    Groups(usize),
}

/// What a kernel is given beside its tensors; the kernel's source says what each number is.
#[derive(Default)]
pub(super) struct Numbers<'a> {
    pub sizes: &'a [usize],
    pub factors: &'a [f64],
    pub keys: &'a [StreamKey],
}

/// A tensor that a kernel writes before anybody reads it, not yet in candle's hands.
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

    /// The tensor, once it is written.
    pub fn tensor(self) -> Tensor {
        Tensor::from_storage(self.storage, self.shape, candle_core::op::BackpropOp::none(), false)
    }

    /// Its memory, once it is written.
    pub fn into_parts(self) -> (Storage, Shape) {
        (self.storage, self.shape)
    }
}

/// Room for a tensor that a kernel writes before anybody reads it.
#[expect(unsafe_code, reason = "clearing memory that is written next would take another launch")]
pub(super) fn room(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: every kernel writes each element of its results, and nobody has the tensor before the launch that writes it.
    unsafe { Tensor::empty(shape, dtype, device) }
}

/// Something with an address that a kernel may read or write.
pub(super) trait Operand {
    fn address(&self) -> Result<u64>;
}

impl Operand for Tensor {
    fn address(&self) -> Result<u64> {
        let (storage, layout) = self.storage_and_layout();
        address(&storage, layout)
    }
}

impl Operand for Fresh {
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
        Storage::Cpu(CpuStorage::F32(data)) => data.as_ptr() as u64,
        Storage::Cpu(CpuStorage::BF16(data)) => data.as_ptr() as u64,
        Storage::Cpu(CpuStorage::U32(data)) => data.as_ptr() as u64,
        Storage::Cpu(CpuStorage::U8(data)) => data.as_ptr() as u64,
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => cuda::base(storage)?,
        other => bail!("no kernels for {:?} on {:?}", other.dtype(), other.device().location()),
    };
    Ok(base + start as u64 * size)
}

/// Runs `kernel` on `operands`: what it reads and what it writes, in the order of its source.
pub(super) fn launch(
    device: &Device,
    kernel: &'static str,
    operands: &[&dyn Operand],
    numbers: &Numbers<'_>,
    grid: Grid,
) -> Result<()> {
    let groups = match grid {
        Grid::Elements(elements) => elements.div_ceil(THREADS),
        Grid::Groups(groups) => groups,
    };
    let Ok(groups) = u32::try_from(groups) else { bail!("{kernel}: too large a launch") };
    if groups == 0 {
        return Ok(());
    }
    let mut args = Args { p: [0; 8], n: [0; 13], f: [0.0; 8], key: [0; STREAMS] };
    let given = [operands.len(), numbers.sizes.len(), numbers.factors.len(), numbers.keys.len()];
    if given.iter().zip([8, 13, 8, STREAMS]).any(|(&given, most)| given > most) {
        bail!("{kernel}: too many arguments");
    }
    for (place, operand) in args.p.iter_mut().zip(operands) {
        *place = operand.address()?;
    }
    for (place, &size) in args.n.iter_mut().zip(numbers.sizes) {
        *place = size as i64;
    }
    for (place, &factor) in args.f.iter_mut().zip(numbers.factors) {
        *place = factor;
    }
    for (place, key) in args.key.iter_mut().zip(numbers.keys) {
        *place = key.0;
    }
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::launch(device, kernel, args, groups),
        #[cfg(test)]
        Device::Cpu => super::host::launch(kernel, args, groups),
        other => bail!("{kernel}: no kernels for {:?}", other.location()),
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    //! The part that needs a GPU.

    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use candle_core::cuda::cudarc::driver::{DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg};
    use candle_core::cuda::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
    use candle_core::{CudaDevice, CudaStorage, DType, Result, bail};

    use super::{Args, THREADS};
    use crate::gpu::SOURCES;

    #[expect(unsafe_code, reason = "cudarc must be told that the struct may be passed by value")]
    // SAFETY: numbers in C's layout, the same as in the kernels.
    unsafe impl DeviceRepr for Args {}

    /// Memory for f32, not cleared.
    #[expect(
        unsafe_code,
        reason = "clearing memory that is written next would take another launch"
    )]
    pub fn room(device: &CudaDevice, elements: usize) -> Result<CudaStorage> {
        // SAFETY: every kernel writes each element of its results, and nobody has them before.
        let slice = unsafe { device.alloc::<f32>(elements) }?;
        Ok(CudaStorage::wrap_cuda_slice(slice, device.clone()))
    }

    /// The address of a storage. Whoever uses it does so on the device's only stream, in whose order memory is freed too.
    pub fn base(storage: &CudaStorage) -> Result<u64> {
        let stream = storage.device.cuda_stream();
        Ok(match storage.dtype_of() {
            DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0,
            DType::U32 => storage.as_cuda_slice::<u32>()?.device_ptr(&stream).0,
            DType::U8 => storage.as_cuda_slice::<u8>()?.device_ptr(&stream).0,
            DType::BF16 => storage.as_cuda_slice::<half::bf16>()?.device_ptr(&stream).0,
            other => bail!("no kernels for {other:?}"),
        })
    }

    /// A storage's element type.
    trait Typed {
        fn dtype_of(&self) -> DType;
    }

    impl Typed for CudaStorage {
        fn dtype_of(&self) -> DType {
            candle_core::backend::BackendStorage::dtype(self)
        }
    }

    #[expect(unsafe_code, reason = "what runs on a GPU is beyond the compiler")]
    pub fn launch(
        device: &CudaDevice,
        kernel: &'static str,
        args: Args,
        groups: u32,
    ) -> Result<()> {
        let function = device.get_or_load_custom_func(kernel, "noprop", program(device)?)?;
        let mut builder = function.builder();
        builder.arg(&args);
        let config = LaunchConfig {
            grid_dim: (groups, 1, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the kernel takes this one struct. Its addresses are those of live tensors of the sizes given, which the callers
        // in this folder make; the tests run each of them on the host.
        unsafe { builder.launch(config) }.map_err(candle_core::Error::wrap)?;
        Ok(())
    }

    /// The kernels for the GPU that is there.
    fn program(device: &CudaDevice) -> Result<&'static str> {
        static PROGRAMS: OnceLock<Mutex<HashMap<(i32, i32), &'static str>>> = OnceLock::new();
        let stream = device.cuda_stream();
        let capability = stream.context().compute_capability().map_err(candle_core::Error::wrap)?;
        let mut programs =
            PROGRAMS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.get(&capability) {
            return Ok(program);
        }
        let (major, minor) = capability;
        let options = CompileOptions {
            options: vec![format!("--gpu-architecture=compute_{major}{minor}")],
            ..CompileOptions::default()
        };
        let program =
            compile_ptx_with_opts(SOURCES.concat(), options).map_err(candle_core::Error::wrap)?;
        // Kept as long as the process: there is one for each kind of GPU.
        let program: &'static str = program.to_src().leak();
        programs.insert(capability, program);
        Ok(program)
    }
}

//! Running a kernel.

use candle_core::{Device, Result, bail};

use super::arguments::Arguments;

/// The threads of a group, as in the kernels.
const THREADS: usize = 256;

/// The number of threads of a launch.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// One thread for each of this many elements.
    Elements(usize),
    /// This many groups.
    Groups(usize),
}

/// Runs the kernel of `arguments`.
pub(super) fn launch<A: Arguments>(device: &Device, arguments: A, grid: Grid) -> Result<()> {
    let groups = match grid {
        Grid::Elements(elements) => elements.div_ceil(THREADS),
        Grid::Groups(groups) => groups,
    };
    let Ok(groups) = u32::try_from(groups) else { bail!("{}: too large a launch", A::KERNEL) };
    if groups == 0 {
        return Ok(());
    }
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::launch(device, arguments, groups),
        #[cfg(test)]
        Device::Cpu => super::host::launch(arguments, groups),
        other => bail!("{}: no kernels for {:?}", A::KERNEL, other.location()),
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    //! The part of a launch that needs a GPU.

    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use candle_core::cuda::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
    use candle_core::cuda::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
    use candle_core::{CudaDevice, Result};

    use super::{Arguments, THREADS};
    use crate::gpu::sources::SOURCES;

    /// A struct that is passed to a kernel by value.
    #[repr(transparent)]
    struct Passed<A>(A);

    #[expect(
        unsafe_code,
        reason = "cudarc requires the promise that the struct may be passed by value"
    )]
    // SAFETY: the structs are numbers in C's layout, the same as in the kernels.
    unsafe impl<A: Arguments> DeviceRepr for Passed<A> {}

    #[expect(unsafe_code, reason = "the compiler cannot check a kernel")]
    pub fn launch<A: Arguments>(device: &CudaDevice, arguments: A, groups: u32) -> Result<()> {
        let function = device.get_or_load_custom_func(A::KERNEL, "noprop", program(device)?)?;
        let passed = Passed(arguments);
        let mut builder = function.builder();
        builder.arg(&passed);
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

    /// The kernels, compiled for this GPU.
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
        // Kept as long as the process lives: there is one for each kind of GPU.
        let program: &'static str = program.to_src().leak();
        programs.insert(capability, program);
        Ok(program)
    }
}

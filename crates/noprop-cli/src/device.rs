//! The device of tensors: `--device`.

use std::str::FromStr;

use anyhow::{Result, bail};
use candle_core::Device as Opened;

/// A device as `--device` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The fastest that this build supports and that is there.
    Auto,
    /// The processor.
    Cpu,
    /// A GPU by NVIDIA, counted from 0.
    Cuda(usize),
    /// A GPU by Apple.
    Metal,
}

/// The most GPUs of a machine.
const MAX_GPUS: usize = 64;

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let unknown =
            || format!("unknown device `{text}`: choose auto, cpu, cuda, cuda:N or metal");
        match text.split_once(':') {
            None => match text {
                "auto" => Ok(Self::Auto),
                "cpu" => Ok(Self::Cpu),
                "cuda" => Ok(Self::Cuda(0)),
                "metal" => Ok(Self::Metal),
                _ => Err(unknown()),
            },
            Some(("cuda", number)) => match number.parse() {
                Ok(number) if number < MAX_GPUS => Ok(Self::Cuda(number)),
                _ => Err(format!("there is no GPU `{number}`: they are counted from 0")),
            },
            Some(_) => Err(unknown()),
        }
    }
}

impl Device {
    /// The device, ready to compute.
    pub fn open(self) -> Result<Opened> {
        match self {
            Self::Cpu => Ok(Opened::Cpu),
            // A device that is not there, or not built in, is passed over.
            Self::Auto => Ok(open_cuda(0).or_else(|_| open_metal()).unwrap_or(Opened::Cpu)),
            Self::Cuda(number) => open_cuda(number),
            Self::Metal => open_metal(),
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(number: usize) -> Result<Opened> {
    use anyhow::Context as _;
    noprop_kernels::cuda_device(number).with_context(|| {
        format!(
            "no CUDA device {number}: see what nvidia-smi lists (the driver must be for CUDA 13 or newer), or use --device cpu"
        )
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: usize) -> Result<Opened> {
    bail!(
        "this noprop was built without the feature cuda: build it with --features cuda as docs/gpu.md says, or use --device cpu"
    )
}

#[cfg(feature = "metal")]
fn open_metal() -> Result<Opened> {
    use anyhow::Context as _;
    Opened::new_metal(0).context("no Metal device: use --device cpu")
}

#[cfg(not(feature = "metal"))]
fn open_metal() -> Result<Opened> {
    bail!(
        "this noprop was built without the feature metal: build it on a Mac with --features metal, or use --device cpu"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        let devices = [
            ("auto", Device::Auto),
            ("cpu", Device::Cpu),
            ("cuda", Device::Cuda(0)),
            ("cuda:0", Device::Cuda(0)),
            ("cuda:3", Device::Cuda(3)),
            ("metal", Device::Metal),
        ];
        for (text, device) in devices {
            assert_eq!(text.parse(), Ok(device));
        }
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:9999", "cpu:0", "metal:1"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}

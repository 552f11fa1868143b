//! The device that computes, by its name.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use noprop_kernels::KernelError;

/// The most GPUs of a machine.
const MAX_GPUS: usize = 64;

/// The name of a device: `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The fastest device that this build supports and that is there.
    Auto,
    /// The processor.
    Cpu,
    /// A GPU by NVIDIA, counted from 0.
    Cuda(usize),
    /// A GPU by Apple.
    Metal,
}

/// The reason why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device has this name.
    #[error("unknown device `{0}`: choose auto, cpu, cuda, cuda:N or metal")]
    Unknown(String),
    /// The number of a GPU is not a number that a machine's GPU can have.
    #[error("there is no GPU `{0}`: they are counted from 0")]
    Number(String),
    /// The program was built without the device.
    #[error("this program was built without the feature {0}")]
    NotBuilt(&'static str),
    /// The device does not start.
    #[error("the device {device} cannot be used: {source}")]
    Absent {
        /// The device.
        device: DeviceName,
        /// The reason.
        source: Box<KernelError>,
    },
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            None if text == "metal" => Ok(Self::Metal),
            Some(("cuda", number)) => match number.parse() {
                Ok(number) if number < MAX_GPUS => Ok(Self::Cuda(number)),
                _ => Err(DeviceError::Number(number.into())),
            },
            _ => Err(DeviceError::Unknown(text.into())),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl DeviceName {
    /// Returns the device, ready to compute.
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`] if the program was built without the feature `cuda` or `metal`; [`DeviceError::Absent`] if the device does
    /// not start.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            // A device that is not there, or not built in, is passed over.
            Self::Auto => {
                let gpu = Self::Cuda(0).open().or_else(|_| Self::Metal.open());
                Ok(gpu.unwrap_or(Device::Cpu))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => noprop_kernels::cuda_device(number).map_err(self.absent()),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceError::NotBuilt("cuda")),
            #[cfg(feature = "metal")]
            Self::Metal => Device::new_metal(0).map_err(self.absent()),
            #[cfg(not(feature = "metal"))]
            Self::Metal => Err(DeviceError::NotBuilt("metal")),
        }
    }

    #[cfg(any(feature = "cuda", feature = "metal"))]
    fn absent<E: Into<KernelError>>(self) -> impl FnOnce(E) -> DeviceError {
        move |source| DeviceError::Absent { device: self, source: Box::new(source.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "metal"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceName>().unwrap(), DeviceName::Cuda(0));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:9999", "cpu:0", "metal:1"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}

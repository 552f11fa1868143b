//! The hardware of a run and the memory it used, as far as the system reports them.

use std::fmt;
use std::time::SystemTime;

use candle_core::{Device, DeviceLocation};
use noprop_kernels::peak_device_memory;
use serde::{Deserialize, Serialize};

/// The machine of a run. Results have the same bits only on the same kind of processor, so the record of a run names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The name of the processor, or `unknown` if the system does not report it.
    pub processor: String,
    /// The number of threads that the process computes with; the first versions recorded those of the machine.
    pub threads: usize,
    /// The operating system and architecture.
    pub system: String,
    /// The GPU that held the tensors, such as `cuda:0`; `None` without a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}

impl Hardware {
    /// Returns this machine, with tensors on `device`.
    pub fn with(device: &Device) -> Self {
        let gpu = match device.location() {
            DeviceLocation::Cpu => None,
            DeviceLocation::Cuda { gpu_id } => Some(format!("cuda:{gpu_id}")),
            DeviceLocation::Metal { gpu_id } => Some(format!("metal:{gpu_id}")),
        };
        Self { gpu, ..Self::here() }
    }

    /// Returns this machine, with tensors on its processor.
    pub fn here() -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| processor(&text))
            .unwrap_or_else(|| "unknown".into());
        Self {
            processor,
            threads: noprop_kernels::threads::count(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            gpu: None,
        }
    }
}

impl Hardware {
    /// Returns whether the two compute the same bytes, as far as is known. The number of threads does not matter.
    pub fn computes_as(&self, other: &Self) -> bool {
        let kind = |machine: &Self| Self { threads: 0, ..machine.clone() };
        kind(self) == kind(other)
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gpu) = &self.gpu {
            write!(f, "{gpu} beside ")?;
        }
        let plural = if self.threads == 1 { "" } else { "s" };
        write!(f, "{}, {} thread{plural}, {}", self.processor, self.threads, self.system)
    }
}

/// Returns the first processor of `/proc/cpuinfo`, with its family and model if the system reports them. The name is not
/// enough: on rented machines one name may stand for kinds of processor that round differently.
fn processor(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim())
        })
    };
    let name = value("model name")?;
    Some(match (value("cpu family"), value("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    })
}

/// The peak memory, in bytes, as far as the system reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeakMemory {
    /// The peak resident memory of this process.
    pub process: Option<u64>,
    /// The peak memory of tensors on the GPU; `None` without a GPU that reports it.
    pub device: Option<u64>,
}

impl PeakMemory {
    /// Returns the peak memory of this process so far, with tensors on `device`.
    pub fn until_now(device: &Device) -> Self {
        Self { process: peak_memory_bytes(), device: peak_device_memory(device) }
    }
}

/// Returns the peak resident memory of this process in bytes; `None` if the system does not report it (Linux does).
pub fn peak_memory_bytes() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// Returns the bytes in a file of Linux that gives them as kilobytes after `key`.
fn proc_bytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(1024 * kilobytes.split_whitespace().next()?.parse::<u64>().ok()?)
}

/// Returns the memory, in bytes, that this process can still allocate before the system kills it; `None` if the system does not
/// report it (Linux does). It is the smallest of the machine's free memory, the rest of the limit of the control group at
/// `/sys/fs/cgroup`, which is that of the container, and the rest of the limit of the process (`ulimit -v`). In WebAssembly it is the rest of the four gigabytes that have addresses.
pub fn free_memory_bytes() -> Option<u64> {
    #[cfg(target_arch = "wasm32")]
    return Some((1 << 32) - (core::arch::wasm32::memory_size::<0>() as u64) * (1 << 16));
    #[cfg(not(target_arch = "wasm32"))]
    free_of_system()
}

/// Returns the free memory that the system reports.
#[cfg(not(target_arch = "wasm32"))]
fn free_of_system() -> Option<u64> {
    let free = proc_bytes("/proc/meminfo", "MemAvailable:")?;
    let number = |file: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse().ok()
    };
    // The control group counts cached files as used, but the system can drop them.
    let files = || {
        let text = std::fs::read_to_string("/sys/fs/cgroup/memory.stat").ok()?;
        let of = |key: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        };
        Some(of("active_file ")? + of("inactive_file ")?)
    };
    // "max" is not a number: there is no limit.
    let group = number("memory.max")
        .zip(number("memory.current"))
        .map(|(most, used)| most.saturating_sub(used).saturating_add(files().unwrap_or(0)));
    [group, free_of_process()].into_iter().flatten().chain([free]).min()
}

/// Returns the addresses, in bytes, that the limit of this process still allows; `None` without a limit.
#[cfg(not(target_arch = "wasm32"))]
fn free_of_process() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    // "unlimited" is not a number.
    let most: u64 = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space")?.split_whitespace().next())?
        .parse()
        .ok()?;
    Some(most.saturating_sub(proc_bytes("/proc/self/status", "VmSize:")?))
}

/// Returns the seconds since 1970-01-01 UTC.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two generations of rented processors have the same name, and their bits may differ.
    #[test]
    fn processors_of_one_name_are_told_apart() {
        let of = |model: &str| {
            let lines = ["processor\t: 0", "cpu family\t: 25", model, "model name\t: AMD EPYC"];
            processor(&lines.join("\n"))
        };
        assert_eq!(of("model\t\t: 17").unwrap(), "AMD EPYC (family 25, model 17)");
        assert_eq!(processor("model name\t: Arm").unwrap(), "Arm");
        assert_eq!(processor("Processor: 1"), None);
    }
}

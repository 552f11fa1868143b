//! Hints that name commands and flags. The errors of the libraries name neither: they serve other programs too.

use std::io::ErrorKind;

use noprop_data::Remedy;
use noprop_experiment::shell::quoted;
use noprop_experiment::{DeviceError, DeviceName, Error};
use noprop_fetch::command::advice;
use noprop_method::MethodError;
use noprop_onnx::ExportError;
use noprop_serve::ServeError;
use noprop_train::{RunDirectory, StateError, TrainError, UnitError};

/// Advice where memory is short.
pub const LESS_MEMORY: &str =
    "lower --batch-size, --image-size or --steps, or share one --encoder among the blocks";

/// The text of an error, with the flag that it is about or a hint at what to do.
pub fn with_hint(error: &anyhow::Error, said: String) -> String {
    let root = error.downcast_ref::<Error>().map(Error::root);
    if let Some(setting @ Error::Setting { .. }) = root {
        let setting = setting.to_string();
        // The key of a setting is also the name of its flag.
        return match said.strip_suffix(&setting) {
            Some(context) => format!("{context}--{setting}"),
            None => said,
        };
    }
    if is_of_a_full_gpu(&said) {
        return format!(
            "the GPU's memory is full: lower --batch-size or --steps, or use --encoder shared ({said})"
        );
    }
    if let Some(ServeError::Listen { source, .. }) = error.downcast_ref() {
        return match source.kind() {
            ErrorKind::AddrInUse => {
                format!("{said}; choose another --port, or end the program that has it")
            }
            ErrorKind::PermissionDenied => format!("{said}; choose a --port above 1023"),
            _ => format!("{said}; is --host a name of this machine?"),
        };
    }
    if let Some(hint) = error.downcast_ref().and_then(of_device) {
        return format!("{said}: {hint}");
    }
    if let Some(ExportError::Exists(_)) = error.downcast_ref() {
        return format!("{said}: choose another --out, or --force to replace it");
    }
    let fetching = || error.downcast_ref().and_then(advice).map(str::to_owned);
    if let Some(remedy) = root.and_then(of_data).or_else(fetching) {
        return format!("{said}; {remedy}");
    }
    match root.and_then(hint) {
        Some(hint) => format!("{said}: {hint}"),
        None => said,
    }
}

/// The remedy for an error.
fn hint(error: &Error) -> Option<String> {
    Some(match error {
        Error::RunInsideData { .. } | Error::NotReplaced { .. } | Error::TrainedWhole { .. } => {
            "choose another --out".into()
        }
        Error::ReplacesItsStart => {
            "choose another --out, or train it further with --resume and --epochs".into()
        }
        Error::StateLost { .. } => "noprop train --init starts a new run from its weights".into(),
        Error::NotMerged { run } => {
            let run = quoted(run);
            format!("see noprop status {run}, then noprop merge {run}")
        }
        Error::NotFinished { run } => format!("go on with noprop train --resume {}", quoted(run)),
        Error::NoUnits { run } => format!("see noprop info {}", quoted(run)),
        Error::InTheWay { .. } => "move it away, or choose another --out".into(),
        Error::SameName { .. } => "give each an --out of its own".into(),
        Error::TooLarge { .. } => LESS_MEMORY.into(),
        Error::Train(error) => return of_training(error),
        _ => return None,
    })
}

/// The remedy for an error of a device.
fn of_device(error: &DeviceError) -> Option<String> {
    Some(match error {
        DeviceError::NotBuilt(feature) => {
            format!("build it with --features {feature} as docs/gpu.md says, or use --device cpu")
        }
        DeviceError::Absent { device: DeviceName::Cuda(_), .. } => {
            "see what nvidia-smi lists (the driver must be for CUDA 13 or newer), or use --device cpu"
                .into()
        }
        DeviceError::Absent { .. } => "use --device cpu".into(),
        _ => return None,
    })
}

/// The remedy for an error of the trainer.
fn of_training(error: &TrainError) -> Option<String> {
    Some(match error {
        TrainError::Diverged { .. } | TrainError::Method(MethodError::NoAnswer) => {
            "try a training with a lower --lr".into()
        }
        TrainError::RunExists(path) if RunDirectory::is_run(path) => {
            "choose another --out, or --force to replace the run in it".into()
        }
        TrainError::RunExists(_) => "choose another --out".into(),
        TrainError::RunLocked { .. } => "wait for it or choose another --out".into(),
        TrainError::OtherSettings { .. } => {
            "choose another --out, or repeat the settings in its config.toml".into()
        }
        TrainError::State(StateError::InUnits(path)) => {
            format!("go on with some by --blocks, or see noprop status {}", quoted(path))
        }
        TrainError::Unit(UnitError::OtherSettings { .. }) => {
            "train this unit again with --force".into()
        }
        TrainError::Unit(UnitError::EpochLost { unit, .. }) => {
            let unit = unit.to_string();
            let named = unit.strip_prefix("block.").unwrap_or(&unit);
            format!(
                "train it again, alone: the command that began it, with --blocks {named} --force"
            )
        }
        _ => return None,
    })
}

/// The remedy for an error of data.
fn of_data(error: &Error) -> Option<String> {
    let (Error::Data(error) | Error::Train(TrainError::Data(error))) = error else { return None };
    let hint = match error.remedy()? {
        Remedy::Fetch(name) => return Some(format!("`noprop fetch {name}` gets it")),
        Remedy::Scale => "use --image-size to scale the pictures to one size",
        Remedy::ScaleDown => "scale them down with --image-size, or take fewer",
        Remedy::Share => "or use --split 0.2 to test on a fifth of a folder of classes",
        Remedy::NoShare => "leave out --split",
        Remedy::HoldOutFewer => "hold out fewer with --validation",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns whether an error of a GPU's library means that its memory is full.
fn is_of_a_full_gpu(error: &str) -> bool {
    let lower = error.to_ascii_lowercase();
    lower.contains("out_of_memory") || lower.contains("out of memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gpu_is_told_by_its_library_in_several_ways() {
        assert!(is_of_a_full_gpu("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"));
        assert!(!is_of_a_full_gpu("no such file"));
    }
}

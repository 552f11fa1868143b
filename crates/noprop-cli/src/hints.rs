//! Hints that name commands and flags. The errors of the libraries name neither: they serve other programs too.

use noprop_data::fetch::FetchError;
use noprop_experiment::Error;
use noprop_experiment::shell::quoted;
use noprop_train::{StateError, TrainError, UnitError};

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
    let of_fetch = || error.downcast_ref().and_then(of_fetch).filter(|_| !said.contains(" --"));
    match root.and_then(hint).or_else(of_fetch) {
        Some(hint) => format!("{said}: {hint}"),
        None => said,
    }
}

/// The advice for an error.
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
        Error::NoUnits { run } => format!("see noprop info {}", quoted(run)),
        Error::InTheWay { .. } => "move it away, or choose another --out".into(),
        Error::SameName { .. } => "give each an --out of its own".into(),
        Error::TooLarge { .. } => LESS_MEMORY.into(),
        Error::Train(error) => return of_training(error),
        _ => return None,
    })
}

/// The advice for an error of the trainer.
fn of_training(error: &TrainError) -> Option<String> {
    Some(match error {
        TrainError::Diverged { .. } => "try a lower --lr".into(),
        TrainError::RunExists { .. } => {
            "choose another --out, or --force to replace the run in it".into()
        }
        TrainError::RunLocked { .. } => "wait for it or choose another --out".into(),
        TrainError::OtherSettings { .. } => {
            "choose another --out, or repeat the settings in its config.toml".into()
        }
        TrainError::State(StateError::InUnits { path }) => {
            format!("go on with some by --blocks, or see noprop status {}", quoted(path))
        }
        TrainError::Unit(UnitError::OtherSettings { .. }) => {
            "train this unit again with --force".into()
        }
        _ => return None,
    })
}

/// The advice for an error of a download.
fn of_fetch(error: &FetchError) -> Option<String> {
    Some(match error {
        FetchError::NoFolder { .. } => {
            "--mirror takes a folder that holds the files, or an address that starts with https://"
                .into()
        }
        FetchError::Exhausted { .. } => {
            "check the network, or give another source with --mirror URL-OR-DIR".into()
        }
        FetchError::Disk { .. } => "choose another place with --data-dir".into(),
        _ => return None,
    })
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

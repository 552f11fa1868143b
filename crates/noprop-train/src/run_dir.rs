//! The run directory: where a training keeps everything, one process at a time, nothing overwritten by accident.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::atomic_file::{UNFINISHED, write_new};

/// What to do with a run that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and refuse.
    Refuse,
    /// Replace it. Only a run directory or an empty one is ever replaced.
    Replace,
}

/// A directory that holds one run.
///
/// `config.toml` (the resolved settings), `metrics.jsonl`, `model.safetensors`, `state/`, `figures/`, `README.md`.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// Held while this process may write.
    _lock: Option<File>,
}

const CONFIG: &str = "config.toml";
const LOCK: &str = ".lock";
const FILES: [&str; 4] = [CONFIG, "metrics.jsonl", "model.safetensors", "README.md"];
const FOLDERS: [&str; 3] = ["state", "figures", "units"];

impl RunDirectory {
    /// Creates the directory, with `config` as its `config.toml`, and locks it.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] if something is there and `existing` says to refuse, or if what is there is no run;
    /// [`TrainError::RunLocked`] if another process writes it; [`TrainError::File`] if the disk refuses.
    pub fn create(path: &Path, existing: Existing, config: &str) -> Result<Self, TrainError> {
        let exists = || TrainError::RunExists { path: path.into() };
        if path.symlink_metadata().is_ok() {
            let is_run = path.join(CONFIG).is_file();
            if !(Self::is_free(path) || is_run && existing == Existing::Replace) {
                return Err(exists());
            }
        }
        fs::create_dir_all(path).map_err(TrainError::writing(path))?;
        let lock = lock(path)?;
        let run = Self { path: path.into(), _lock: Some(lock) };
        for file in FILES {
            remove(&path.join(file), |path| fs::remove_file(path))?;
        }
        for folder in FOLDERS {
            remove(&path.join(folder), |path| fs::remove_dir_all(path))?;
        }
        run.write(CONFIG, config.as_bytes())?;
        Ok(run)
    }

    /// Takes part in a run that several processes write, each in folders of its own; the first makes it. The run itself is
    /// not locked.
    ///
    /// # Errors
    /// [`TrainError::OtherSettings`] if the run has another `config.toml` than `config`; [`TrainError::RunExists`] if what is there
    /// is no run; [`TrainError::File`] if the disk refuses.
    pub fn join(path: &Path, config: &str) -> Result<Self, TrainError> {
        let file = path.join(CONFIG);
        // Looked at twice: another process may have made it in between.
        if !file.is_file() && !Self::is_free(path) && !file.is_file() {
            return Err(TrainError::RunExists { path: path.into() });
        }
        fs::create_dir_all(path).map_err(TrainError::writing(path))?;
        let made = write_new(&file, |to| to.write_all(config.as_bytes()));
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(TrainError::writing(file)(error));
            }
            _ => {}
        }
        let there = fs::read(&file).map_err(TrainError::reading(&file))?;
        if there != config.as_bytes() {
            return Err(TrainError::OtherSettings { path: path.into() });
        }
        Ok(Self { path: path.into(), _lock: None })
    }

    /// Whether a run could be created in `path` without replacing anything: nothing is there, or an empty folder. The lock and
    /// the unfinished files of a process that was killed before it wrote its settings are nothing.
    pub fn is_free(path: &Path) -> bool {
        if path.symlink_metadata().is_err() {
            return true;
        }
        let Ok(mut entries) = fs::read_dir(path) else {
            return false;
        };
        entries.all(|entry| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name();
                name == LOCK || name.to_string_lossy().starts_with(UNFINISHED)
            })
        })
    }

    /// Opens a run to read it.
    ///
    /// # Errors
    /// [`TrainError::NotARun`] if there is none.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let not_a_run =
            |reason: &str| TrainError::NotARun { path: path.into(), reason: reason.into() };
        if !path.exists() {
            return Err(not_a_run("there is nothing of that name"));
        }
        if !path.join(CONFIG).is_file() {
            return Err(not_a_run("it has no config.toml"));
        }
        Ok(Self { path: path.into(), _lock: None })
    }

    /// Opens a run to go on writing it.
    ///
    /// # Errors
    /// As [`Self::open`], and [`TrainError::RunLocked`].
    pub fn open_to_write(path: &Path) -> Result<Self, TrainError> {
        let run = Self::open(path)?;
        Ok(Self { _lock: Some(lock(path)?), ..run })
    }

    /// Where the run is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the resolved settings, enough to repeat the run.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `model.safetensors`: the weights of the best epoch.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// `metrics.jsonl`: one event a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `state/`: all that a resume needs.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// `units/`: what processes leave that train some units each.
    pub fn units(&self) -> PathBuf {
        self.path.join("units")
    }

    /// `figures/`.
    pub fn figures(&self) -> PathBuf {
        self.path.join("figures")
    }

    /// Writes a file of the run atomically; `name` is relative to the run.
    ///
    /// # Errors
    /// [`TrainError::File`]; the old file is then untouched.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), TrainError> {
        let path = self.path.join(name);
        crate::write_atomically(&path, |file| file.write_all(content))
            .map_err(TrainError::writing(path))
    }
}

fn lock(path: &Path) -> Result<File, TrainError> {
    let file = path.join(LOCK);
    let handle = File::create(&file).map_err(TrainError::writing(&file))?;
    match handle.try_lock() {
        Ok(()) => Ok(handle),
        Err(TryLockError::WouldBlock) => Err(TrainError::RunLocked { path: path.into() }),
        Err(TryLockError::Error(source)) => Err(TrainError::writing(file)(source)),
    }
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), TrainError> {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(TrainError::writing(path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run must never be lost to a second `train`, nor somebody's folder to `--force`.
    #[test]
    fn nothing_is_overwritten_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        drop(RunDirectory::create(&path, Existing::Refuse, "a = 1").unwrap());
        assert!(matches!(
            RunDirectory::create(&path, Existing::Refuse, ""),
            Err(TrainError::RunExists { .. })
        ));
        drop(RunDirectory::create(&path, Existing::Replace, "a = 2").unwrap());
        assert_eq!(fs::read_to_string(path.join(CONFIG)).unwrap(), "a = 2");

        let foreign = dir.path().join("holiday-pictures");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("beach.jpg"), "").unwrap();
        assert!(matches!(
            RunDirectory::create(&foreign, Existing::Replace, ""),
            Err(TrainError::RunExists { .. })
        ));
        assert!(matches!(RunDirectory::open(&foreign), Err(TrainError::NotARun { .. })));

        // What a kill between the lock and the settings leaves behind is in nobody's way.
        let killed = dir.path().join("killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(LOCK), "").unwrap();
        fs::write(killed.join(".unfinished-aB3"), "a =").unwrap();
        drop(RunDirectory::create(&killed, Existing::Refuse, "a = 1").unwrap());
    }

    #[test]
    fn two_writers_cannot_share_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let _first = RunDirectory::create(&path, Existing::Refuse, "").unwrap();
        assert!(matches!(RunDirectory::open_to_write(&path), Err(TrainError::RunLocked { .. })));
        RunDirectory::open(&path).unwrap();
    }
}

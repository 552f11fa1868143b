//! The run directory, in which a training keeps all its files. One process at a time writes it, and nothing is overwritten by
//! accident.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use noprop_data::Half;
use noprop_files::{UNFINISHED, write_atomically, write_new};

use crate::lock::{LOCK, is_held, lock_file};
use crate::{Event, MetricsLog, TrainError};

/// The treatment of a run that already exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it unchanged and return an error.
    Refuse,
    /// Replace it. Only a run directory or an empty directory is ever replaced.
    Replace,
}

/// A directory that holds one run.
///
/// It contains `config.toml` (the resolved settings), `data.toml` and the lists of files (the record of the data),
/// `metrics.jsonl`, `model.safetensors`, `state/`, `figures/` and `README.md`.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// The lock that this process holds while it may write.
    _lock: Option<File>,
}

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const MODEL: &str = "model.safetensors";
const UNITS: &str = "units";
const STATE: &str = "state";
const CARD: &str = "README.md";
/// The files that mark a run. Every run has one of these besides its settings; the folder of another project with a
/// `config.toml` does not.
const MARKS: [&str; 4] = [LOCK, METRICS, MODEL, UNITS];

impl RunDirectory {
    /// The name of the record of the data.
    pub const DATA: &'static str = "data.toml";

    /// The beginning of the names of event files, in which TensorBoard finds a training.
    pub const EVENTS: &'static str = "events.out.tfevents.";
    /// What follows the time in the names of our own.
    pub const EVENTS_END: &'static str = ".noprop.";

    /// Returns whether a file of this name holds events of a training for TensorBoard. Other programs may write some beside them.
    pub fn is_event_file(name: &str) -> bool {
        name.starts_with(Self::EVENTS) && name.contains(Self::EVENTS_END)
    }

    /// Returns the name of the list of the files of one half of the data.
    pub fn list_name(half: Half) -> String {
        format!("{}.sha256", half.name())
    }

    /// Creates the directory, with `config` as its `config.toml`, and locks it. Writes the files `beside` (names and content) after
    /// the settings, in this order.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] if the path exists and `existing` is [`Existing::Refuse`], or if it exists and is not a run;
    /// [`TrainError::RunLocked`] if another process writes it; [`TrainError::File`] if a file cannot be read or written.
    pub fn create(
        path: &Path,
        existing: Existing,
        config: &str,
        beside: &[(String, Vec<u8>)],
    ) -> Result<Self, TrainError> {
        let replaced = existing == Existing::Replace && Self::is_run(path);
        let exists = || TrainError::RunExists(path.into());
        if !Self::is_free(path) && !replaced {
            return Err(exists());
        }
        fs::create_dir_all(path).map_err(TrainError::creating(path))?;
        let lock = lock(path)?;
        // Another process may have made a run while this one waited for the lock.
        if !Self::is_free(path) && !replaced {
            return Err(exists());
        }
        let run = Self { path: path.into(), _lock: Some(lock) };
        if run.has_unit_in_training() {
            return Err(TrainError::RunLocked(path.into()));
        }
        remove_unfinished(path);
        run.clear()?;
        run.put(CONFIG, config.as_bytes(), TrainError::creating)?;
        for (name, content) in beside {
            run.put(name, content, TrainError::creating)?;
        }
        Ok(run)
    }

    /// Removes all files that a training writes, and no others. The settings are removed last, so a kill leaves a run that can
    /// be replaced again, or an empty directory.
    fn clear(&self) -> Result<(), TrainError> {
        remove(&self.units(), |path| fs::remove_dir_all(path))?;
        let generation = |name: &str| name == "progress.json" || name.parse::<u64>().is_ok();
        let figure = |name: &str| name.ends_with(".png") || name.ends_with(".svg");
        remove_entries(&self.state(), generation)?;
        remove_entries(&self.figures(), figure)?;
        remove_entries(&self.path, Self::is_event_file)?;
        let lists = Half::ALL.map(Self::list_name);
        let lists = lists.iter().map(String::as_str);
        // The record is removed before its lists, which are not read without it.
        for file in [Self::DATA].into_iter().chain(lists).chain([CARD, MODEL, METRICS, CONFIG]) {
            remove(&self.path.join(file), |path| fs::remove_file(path))?;
        }
        Ok(())
    }

    /// Returns whether a training wrote the content of `path`.
    pub fn is_run(path: &Path) -> bool {
        path.join(CONFIG).is_file() && MARKS.iter().any(|mark| path.join(mark).exists())
    }

    /// Joins a run that several processes write, each in its own folders. The first process creates it, with files `beside` the
    /// settings. The run itself is not locked.
    ///
    /// # Errors
    /// [`TrainError::OtherSettings`] if the `config.toml` of the run is not `config`; [`TrainError::RunExists`] if the path
    /// exists and is not a run; [`TrainError::File`] if a file cannot be read or written.
    pub fn join(
        path: &Path,
        config: &str,
        beside: &[(String, Vec<u8>)],
    ) -> Result<Self, TrainError> {
        let file = path.join(CONFIG);
        // The file is checked twice: another process may have written it in between.
        if !file.is_file() && !Self::is_free(path) && !file.is_file() {
            return Err(TrainError::RunExists(path.into()));
        }
        fs::create_dir_all(path).map_err(TrainError::creating(path))?;
        if !file.is_file() {
            write_once(&file, config.as_bytes())?;
        }
        let there = fs::read(&file).map_err(TrainError::reading(&file))?;
        if there != config.as_bytes() {
            return Err(TrainError::OtherSettings(path.into()));
        }
        for (name, content) in beside {
            write_once(&path.join(name), content)?;
        }
        Ok(Self { path: path.into(), _lock: None })
    }

    /// Returns whether a run could be created in `path` without replacing anything: the path does not exist, or is an empty
    /// folder. The lock and the unfinished files of a process that was killed before it wrote its settings do not count.
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
    /// [`TrainError::NotARun`] if `path` is not a run.
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

    /// Opens an existing run and locks it for writing. Files that a killed process left unfinished are removed.
    ///
    /// # Errors
    /// As for [`Self::open`]; [`TrainError::RunLocked`] if another process writes it.
    pub fn open_to_write(path: &Path) -> Result<Self, TrainError> {
        let run = Self::open(path)?;
        let run = Self { _lock: Some(lock(path)?), ..run };
        remove_unfinished(path);
        Ok(run)
    }

    /// Returns whether a process writes the run now, whole or some of its units.
    pub fn is_being_written(&self) -> bool {
        is_held(&self.path.join(LOCK)) || self.has_unit_in_training()
    }

    fn has_unit_in_training(&self) -> bool {
        let mut units = fs::read_dir(self.units()).into_iter().flatten().flatten();
        units.any(|unit| is_held(&unit.path().join(LOCK)))
    }

    /// Returns whether `file` exists and is one that a training wrote into its run: the settings, the weights, the log, the saved state
    /// or the like.
    pub fn is_of_a_run(file: &Path) -> bool {
        // By whatever name or link.
        let Ok(file) = file.canonicalize() else { return false };
        let lists = Half::ALL.map(Self::list_name);
        let is_ours = |name: &str| {
            [CONFIG, MODEL, METRICS, LOCK, CARD, Self::DATA, STATE, UNITS].contains(&name)
                || lists.iter().any(|list| list == name)
                || Self::is_event_file(name)
        };
        // The file, or the folder of the run that it lies in.
        file.ancestors().zip(file.ancestors().skip(1)).any(|(entry, folder)| {
            let name = entry.file_name().and_then(|name| name.to_str());
            name.is_some_and(is_ours) && Self::is_run(folder)
        })
    }

    /// Returns the path of the run.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of `config.toml`: the resolved settings, which are enough to repeat the run.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Returns the path of `data.toml`: the record of the data.
    pub fn data(&self) -> PathBuf {
        self.path.join(Self::DATA)
    }

    /// Returns the path of `train.sha256`, `validation.sha256` or `test.sha256`: the list of the files of one half of the data.
    pub fn files(&self, half: Half) -> PathBuf {
        self.path.join(Self::list_name(half))
    }

    /// Returns the path of `model.safetensors`: the weights of the best epoch.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Returns the path of `metrics.jsonl`: one event per line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Returns the events of the log; none if there is no log, as in a run that was stopped before its first step.
    ///
    /// # Errors
    /// As for [`MetricsLog::read`].
    pub fn events(&self) -> Result<Vec<Event>, TrainError> {
        let log = self.metrics();
        if log.exists() { MetricsLog::read(&log) } else { Ok(Vec::new()) }
    }

    /// Returns the path of `state/`: everything that a resume needs.
    pub fn state(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// Returns the path of `units/`: the files of processes that each train some of the units.
    pub fn units(&self) -> PathBuf {
        self.path.join(UNITS)
    }

    /// Returns the path of `figures/`.
    pub fn figures(&self) -> PathBuf {
        self.path.join("figures")
    }

    /// Writes a file of the run atomically; `name` is relative to the run.
    ///
    /// # Errors
    /// [`TrainError::File`]. The old file is then unchanged.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), TrainError> {
        self.put(name, content, TrainError::writing)
    }

    fn put<F: FnOnce(io::Error) -> TrainError>(
        &self,
        name: &str,
        content: &[u8],
        failing: impl FnOnce(PathBuf) -> F,
    ) -> Result<(), TrainError> {
        let path = self.path.join(name);
        write_atomically(&path, |file| file.write_all(content)).map_err(failing(path))
    }
}

fn lock(path: &Path) -> Result<File, TrainError> {
    let locked = lock_file(&path.join(LOCK))?;
    locked.ok_or_else(|| TrainError::RunLocked(path.into()))
}

/// Writes a file unless it exists. Several processes may write it, all with the same content.
fn write_once(file: &Path, content: &[u8]) -> Result<(), TrainError> {
    match write_new(file, |to| to.write_all(content)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(TrainError::creating(file)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file or a folder with `how`, if it exists.
pub(crate) fn remove(
    path: &Path,
    how: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), TrainError> {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(TrainError::writing(path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes the files that a killed process left unfinished in a folder whose lock this process holds. The folder of the units is left
/// alone: each has a lock of its own. An error is ignored: the file only takes room.
pub(crate) fn remove_unfinished(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && entry.file_name() != UNITS {
            remove_unfinished(&entry.path());
        } else if !is_folder && entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the entries of a folder that are `ours`, and the folder if it is then empty.
fn remove_entries(folder: &Path, ours: impl Fn(&str) -> bool) -> Result<(), TrainError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(TrainError::reading(folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(TrainError::reading(folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !ours(&name) && !name.starts_with(UNFINISHED) {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        remove(&entry.path(), |path| match is_folder {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        })?;
    }
    // The folder stays if it holds other files.
    let _ = fs::remove_dir(folder);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kill leaves the file that was being written. Later writers must remove it, and not that of a unit that another process trains.
    #[test]
    fn who_writes_a_run_removes_what_a_kill_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        drop(RunDirectory::create(&path, Existing::Refuse, "", &[]).unwrap());
        let left = |folder: &str| path.join(folder).join(format!("{UNFINISHED}x"));
        for folder in ["", "state/7", "figures", "units/block.1"] {
            fs::create_dir_all(path.join(folder)).unwrap();
            fs::write(left(folder), "half").unwrap();
        }
        let killed_at_once = dir.path().join("new");
        fs::create_dir(&killed_at_once).unwrap();
        fs::write(killed_at_once.join(format!("{UNFINISHED}x")), "half").unwrap();
        drop(RunDirectory::create(&killed_at_once, Existing::Refuse, "", &[]).unwrap());
        assert!(!killed_at_once.join(format!("{UNFINISHED}x")).exists());
        let run = RunDirectory::open_to_write(&path).unwrap();
        let there = ["", "state/7", "figures", "units/block.1"].map(|folder| left(folder).exists());
        assert_eq!(there, [false, false, false, true]);
        drop(run);
    }

    /// A folder with a `config.toml` is not always a run, and a run may hold files that a training did not write.
    #[test]
    fn only_a_run_is_replaced_and_only_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str| {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "mine").unwrap();
        };
        for file in ["config.toml", "README.md", "figures/a.png", "state/x"] {
            write(&format!("site/{file}"));
        }
        let site = dir.path().join("site");
        assert!(matches!(
            RunDirectory::create(&site, Existing::Replace, "", &[]),
            Err(TrainError::RunExists(_))
        ));
        assert!(site.join("README.md").is_file() && site.join("figures/a.png").is_file());

        let beside = [(RunDirectory::DATA.to_owned(), b"folder".to_vec())];
        let path = dir.path().join("run");
        let run = RunDirectory::create(&path, Existing::Refuse, "", &beside).unwrap();
        assert_eq!(fs::read(run.data()).unwrap(), b"folder");
        drop(run);
        for file in ["figures/a.png", "figures/notes.txt", "state/progress.json", "state/mine"] {
            write(&format!("run/{file}"));
        }
        write("run/state/12/shared.safetensors");
        write("run/thesis.tex");
        drop(RunDirectory::create(&path, Existing::Replace, "", &[]).unwrap());
        let left = |name: &str| path.join(name).exists();
        assert!(left("figures/notes.txt") && left("state/mine") && left("thesis.tex"));
        assert!(!left("figures/a.png") && !left("state/12") && !left("state/progress.json"));
        for ours in ["config.toml", "state/mine"] {
            assert!(RunDirectory::is_of_a_run(&path.join(ours)), "{ours}");
        }
        assert!(!RunDirectory::is_of_a_run(&path.join("thesis.tex")));
        assert!(!RunDirectory::is_of_a_run(&site.join("config.toml")));
        assert!(!left(RunDirectory::DATA));
    }

    /// A second `train` must never overwrite a run, and `--force` must never remove the user's other folders.
    #[test]
    fn nothing_is_overwritten_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        drop(RunDirectory::create(&path, Existing::Refuse, "a = 1", &[]).unwrap());
        assert!(matches!(
            RunDirectory::create(&path, Existing::Refuse, "", &[]),
            Err(TrainError::RunExists(_))
        ));
        drop(RunDirectory::create(&path, Existing::Replace, "a = 2", &[]).unwrap());
        assert_eq!(fs::read_to_string(path.join(CONFIG)).unwrap(), "a = 2");

        let foreign = dir.path().join("holiday-pictures");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("beach.jpg"), "").unwrap();
        assert!(matches!(
            RunDirectory::create(&foreign, Existing::Replace, "", &[]),
            Err(TrainError::RunExists(_))
        ));
        assert!(matches!(RunDirectory::open(&foreign), Err(TrainError::NotARun { .. })));

        // The files that remain after a kill between the lock and the settings do not prevent a new run.
        let killed = dir.path().join("killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(LOCK), "").unwrap();
        fs::write(killed.join(".unfinished-aB3"), "a =").unwrap();
        drop(RunDirectory::create(&killed, Existing::Refuse, "a = 1", &[]).unwrap());
    }

    #[test]
    fn two_writers_cannot_share_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let _first = RunDirectory::create(&path, Existing::Refuse, "", &[]).unwrap();
        assert!(matches!(RunDirectory::open_to_write(&path), Err(TrainError::RunLocked(_))));
        RunDirectory::open(&path).unwrap();
    }

    /// A run that trains is told from one that was stopped or killed, also where its units are trained apart.
    #[test]
    fn a_run_is_written_while_its_lock_or_that_of_a_unit_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let first = RunDirectory::create(&path, Existing::Refuse, "", &[]).unwrap();
        let run = RunDirectory::open(&path).unwrap();
        assert!(run.is_being_written());
        drop(first);
        assert!(!run.is_being_written());
        let unit = run.units().join("block.1");
        fs::create_dir_all(&unit).unwrap();
        let held = lock_file(&unit.join(LOCK)).unwrap();
        assert!(run.is_being_written());
        let replaced = RunDirectory::create(&path, Existing::Replace, "", &[]);
        assert!(matches!(replaced, Err(TrainError::RunLocked(_))) && unit.is_dir());
        drop(held);
        assert!(!run.is_being_written());
    }
}

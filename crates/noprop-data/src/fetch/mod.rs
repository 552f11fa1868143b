//! Getting a data set: download or copy, unpack, verify, put in place.
//!
//! Nothing appears under its final name before its size and its SHA-256 are right: files are unpacked beside their
//! place, synced and renamed. A download that breaks off is kept as `<file>.<mirror>.part` and gone on with next time;
//! anything else that fails leaves nothing behind. Every file has a size bound, every wait a limit.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use noprop_data::DatasetName;
//! use noprop_data::fetch::{Quiet, fetch};
//!
//! let fetched = fetch(DatasetName::Mnist, Path::new("data"), None, &mut Quiet)?;
//! assert_eq!(fetched.folder, Path::new("data/mnist"));
//! # Ok::<(), noprop_data::fetch::FetchError>(())
//! ```

mod download;
mod error;
mod mirror;
mod unpack;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

pub use error::{Attempt, Fault, FetchError};
pub use mirror::{BadMirror, Mirror};

use crate::DatasetName;
use crate::catalogue::{Entry, Packing, RawFile};
use download::{Client, Patience};
use error::Step;
use unpack::Staged;

/// What happens while a data set is fetched.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file is in place and right; nothing is done for it.
    AlreadyThere {
        /// Its name.
        file: &'a str,
    },
    /// A file begins to arrive, or goes on to.
    Begin {
        /// Its name at the source.
        file: &'a str,
        /// The source.
        from: &'a str,
        /// Bytes that are here from an earlier attempt.
        done: u64,
        /// Its size in bytes, if the source says.
        total: Option<u64>,
    },
    /// More of it has arrived.
    Advance {
        /// How many bytes more.
        bytes: u64,
    },
    /// All of it is here; it is unpacked and its hash is compared.
    Verify {
        /// Its name at the source.
        file: &'a str,
    },
    /// One source did not work out. The next is tried, if there is one.
    Failed {
        /// What was asked for.
        file: &'a str,
        /// The source.
        from: &'a str,
        /// Why.
        fault: &'a Fault,
    },
    /// A file that is in place holds something else. It is kept under another name.
    SetAside {
        /// Where it is now.
        path: &'a Path,
    },
    /// A file is in place.
    Done {
        /// Its name.
        file: &'a str,
    },
}

/// Somebody who watches a fetch. The library itself prints nothing.
pub trait Progress {
    /// Called often; should be quick.
    fn event(&mut self, event: Event<'_>);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn event(&mut self, _: Event<'_>) {}
}

/// A data set that is in place and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where its files are.
    pub folder: PathBuf,
    /// Files that were put there now.
    pub new: Vec<String>,
    /// Files that were there, with the right hash.
    pub kept: Vec<String>,
}

/// Gets a data set into `data_dir/<name>/`, from `mirror` or else from the public ones in turn. Files that are there and
/// right are left alone.
///
/// # Errors
/// [`FetchError::Bundled`] for the sample, which needs no fetching; [`FetchError::NoFolder`] for a mirror folder that is
/// not there; [`FetchError::Busy`] if somebody else is at it; [`FetchError::Disk`] if the disk refuses;
/// [`FetchError::Exhausted`] if no source has the right bytes.
pub fn fetch(
    name: DatasetName,
    data_dir: &Path,
    mirror: Option<&Mirror>,
    progress: &mut dyn Progress,
) -> Result<Fetched, FetchError> {
    let entry = name.entry().ok_or(FetchError::Bundled { name: name.as_str() })?;
    let sources: Vec<_> = match mirror {
        Some(mirror) => vec![mirror.clone()],
        None => entry.mirrors.iter().map(|&url| Mirror::Url(url.into())).collect(),
    };
    let job = Job {
        entry,
        folder: data_dir.join(name.as_str()),
        sources,
        client: Client::new(Patience::default()),
    };
    job.run(progress)
}

/// One fetch, with everything that a test wants to choose.
struct Job<'a> {
    entry: &'a Entry,
    folder: PathBuf,
    sources: Vec<Mirror>,
    client: Client,
}

/// What is transferred in one piece: a packed file, or an archive of several.
struct Parcel<'a> {
    name: String,
    files: &'a [RawFile],
    packing: Packing,
}

impl Job<'_> {
    fn run(&self, progress: &mut dyn Progress) -> Result<Fetched, FetchError> {
        for source in &self.sources {
            if let Mirror::Folder(path) = source
                && !path.is_dir()
            {
                return Err(FetchError::NoFolder { path: path.clone() });
            }
        }
        fs::create_dir_all(&self.folder).map_err(|e| FetchError::disk(&self.folder, e))?;
        let fetched = self.fill(progress);
        if fetched.is_err() {
            // A folder with nothing in it would look like a data set; one that holds anything stays.
            let _ = fs::remove_dir(&self.folder);
        }
        fetched
    }

    /// Puts every file that is missing or wrong into the folder.
    fn fill(&self, progress: &mut dyn Progress) -> Result<Fetched, FetchError> {
        let _lock = lock(&self.folder)?;
        self.sweep();
        let mut fetched =
            Fetched { folder: self.folder.clone(), new: Vec::new(), kept: Vec::new() };
        for parcel in self.parcels() {
            let names = parcel.files.iter().map(|file| file.name.to_owned());
            if parcel.files.iter().all(|file| self.is_right(file)) {
                for file in parcel.files {
                    progress.event(Event::AlreadyThere { file: file.name });
                }
                fetched.kept.extend(names);
                continue;
            }
            let staged = self.get(&parcel, progress)?;
            for (file, staged) in parcel.files.iter().zip(staged) {
                self.put(file, staged, progress)?;
            }
            unpack::sync(&self.folder)?;
            self.drop_parts(&parcel);
            fetched.new.extend(names);
        }
        Ok(fetched)
    }

    fn parcels(&self) -> Vec<Parcel<'_>> {
        let packing = self.entry.packing;
        match packing {
            Packing::Gzip => {
                let each = self.entry.files.chunks(1);
                each.map(|files| Parcel {
                    name: files.iter().map(|file| format!("{}.gz", file.name)).collect(),
                    files,
                    packing,
                })
                .collect()
            }
            Packing::TarGz { archive, .. } => {
                vec![Parcel { name: archive.into(), files: self.entry.files, packing }]
            }
        }
    }

    /// Whether a file is in place with the right size and hash.
    fn is_right(&self, file: &RawFile) -> bool {
        let path = self.folder.join(file.name);
        let length = fs::metadata(&path).map(|metadata| metadata.len());
        length.is_ok_and(|length| length == file.bytes)
            && unpack::hash(&path).is_ok_and(|hash| hash == file.sha256)
    }

    /// Tries the sources in turn.
    fn get(
        &self,
        parcel: &Parcel<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Staged>, FetchError> {
        let mut attempts = Vec::new();
        for source in &self.sources {
            let done = match source {
                Mirror::Folder(folder) => self.copy(folder, parcel, progress),
                Mirror::Url(base) => self.download(base, parcel, progress),
            };
            let fault = match done {
                Ok(staged) => return Ok(staged),
                Err(Step::Stop(error)) => return Err(error),
                Err(Step::Fault(fault)) => fault,
            };
            let from = source.to_string();
            progress.event(Event::Failed { file: &parcel.name, from: &from, fault: &fault });
            attempts.push(Attempt { from, fault });
        }
        Err(FetchError::Exhausted { file: parcel.name.clone(), attempts })
    }

    /// From a folder: the unpacked files if they are all there, else the packed one.
    fn copy(
        &self,
        folder: &Path,
        parcel: &Parcel<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Staged>, Step> {
        let unpacked = |folder: &Path| -> Option<Vec<PathBuf>> {
            let paths = parcel.files.iter().map(|file| folder.join(file.name));
            paths.map(|path| path.is_file().then_some(path)).collect()
        };
        let inner = match parcel.packing {
            Packing::Gzip => None,
            Packing::TarGz { folder: inner, .. } => Some(folder.join(inner)),
        };
        let there = unpacked(folder).or_else(|| unpacked(&inner?));
        if let Some(paths) = there {
            progress.event(Event::Verify { file: &parcel.name });
            let pairs = parcel.files.iter().zip(&paths);
            return pairs
                .map(|(file, path)| unpack::stage(open(path)?, file, &self.folder))
                .collect();
        }
        let packed = folder.join(&parcel.name);
        if !packed.is_file() {
            return Err(Fault::NotThere.into());
        }
        progress.event(Event::Verify { file: &parcel.name });
        unpack::parcel(open(&packed)?, parcel.packing, parcel.files, &self.folder)
    }

    /// From an address. What an earlier attempt left is gone on with; if the whole is wrong then, it is got once more
    /// from the start.
    fn download(
        &self,
        base: &str,
        parcel: &Parcel<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Staged>, Step> {
        let url = format!("{base}{}", parcel.name);
        let part = self.part(parcel, base);
        // Packing makes noise a little larger, never more than this.
        let limit = parcel.files.iter().map(|file| file.bytes).sum::<u64>() + (1 << 20);
        let mut again = true;
        loop {
            let joined = self.client.download(&url, &part, limit, progress)?;
            progress.event(Event::Verify { file: &parcel.name });
            let packed = File::open(&part).map_err(|e| FetchError::disk(&part, e))?;
            let staged = unpack::parcel(packed, parcel.packing, parcel.files, &self.folder);
            if staged.is_err() {
                // Of no use; and if the disk is full, what it holds for us may be the reason.
                let _ = fs::remove_file(&part);
            }
            match staged {
                Err(Step::Fault(_)) if joined && again => again = false,
                done => return done,
            }
        }
    }

    /// Puts a verified file in its place. What a person may have put there is theirs.
    fn put(
        &self,
        file: &RawFile,
        staged: Staged,
        progress: &mut dyn Progress,
    ) -> Result<(), FetchError> {
        let path = self.folder.join(file.name);
        if path.exists() && !self.is_right(file) {
            let aside = self.folder.join(format!("{}.unverified", file.name));
            fs::rename(&path, &aside).map_err(|e| FetchError::disk(&aside, e))?;
            progress.event(Event::SetAside { path: &aside });
        }
        staged.persist(&path)?;
        progress.event(Event::Done { file: file.name });
        Ok(())
    }

    /// Where a download from `base` is kept while it is not whole. Each mirror packs in its own way, so that parts from
    /// two of them must not be joined.
    fn part(&self, parcel: &Parcel<'_>, base: &str) -> PathBuf {
        let mut hasher = crate::digest::Hasher::default();
        hasher.update(base.as_bytes());
        let mut tag = hasher.finish();
        tag.truncate(8);
        self.folder.join(format!("{}.{tag}.part", parcel.name))
    }

    /// Removes what other mirrors' broken downloads of a parcel left.
    fn drop_parts(&self, parcel: &Parcel<'_>) {
        let start = format!("{}.", parcel.name);
        self.remove_files(|name| name.starts_with(&start) && name.ends_with(".part"));
    }

    /// Removes what a killed fetch left half unpacked.
    fn sweep(&self) {
        self.remove_files(|name| name.starts_with(unpack::UNFINISHED));
    }

    fn remove_files(&self, which: impl Fn(&str) -> bool) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().to_str().is_some_and(&which) {
                // Rubbish that cannot be removed does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Opens a file of a mirror folder.
fn open(path: &Path) -> Result<File, Fault> {
    File::open(path).map_err(|e| Fault::Unreadable { reason: error::one_line(&e) })
}

/// Keeps two fetches from writing one partial file. Systems that cannot lock a folder do without.
fn lock(folder: &Path) -> Result<Option<File>, FetchError> {
    let Ok(file) = File::open(folder) else {
        return Ok(None);
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(FetchError::Busy { folder: folder.into() }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

#[cfg(test)]
mod tests;

//! A fetch: for each file of a data set, the first source that has the right bytes.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use noprop_files::{
    DatasetName, Entry, Packing, RawFile, UNFINISHED, Unfinished, open_file, sha256, sha256_of,
    sync_directory,
};

use ureq::{Agent, Proxy};

use crate::download::{SILENCE, client, download};
use crate::error::{Attempt, Failure, Fault, FetchError, one_line};
use crate::event::{Event, Watch};
use crate::mirror::Mirror;
use crate::unpack;

/// A data set that is in place and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The folder of its files.
    pub folder: PathBuf,
    /// The names of the files that are new.
    pub new: Vec<String>,
    /// The names of the files that were there before, with the right hash.
    pub kept: Vec<String>,
}

/// Fetches a data set into `data_dir/<name>/`, from `mirror` or else from the public ones in turn. Files that are there and
/// right are left alone. `watch` is called with every event.
///
/// # Errors
/// [`FetchError::Bundled`] for the sample, which has no files; [`FetchError::NoFolder`] for a mirror folder that does not
/// exist; [`FetchError::Busy`] if another process fetches into the same folder; [`FetchError::Disk`] if something cannot be
/// written; [`FetchError::Exhausted`] if no source has the right bytes.
pub fn fetch(
    name: DatasetName,
    data_dir: &Path,
    mirror: Option<&Mirror>,
    watch: &mut Watch<'_>,
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
        client: client(Proxy::try_from_env(), SILENCE),
    };
    job.run(watch)
}

/// A fetch, with everything that a test chooses.
struct Job<'a> {
    entry: &'a Entry,
    folder: PathBuf,
    sources: Vec<Mirror>,
    client: Agent,
}

/// Files that are transferred in one piece: a packed file, or an archive of several.
struct Parcel<'a> {
    name: String,
    files: &'a [RawFile],
}

impl Job<'_> {
    fn run(&self, watch: &mut Watch<'_>) -> Result<Fetched, FetchError> {
        for source in &self.sources {
            if let Mirror::Folder(path) = source
                && !path.is_dir()
            {
                return Err(FetchError::NoFolder { path: path.clone() });
            }
        }
        fs::create_dir_all(&self.folder).map_err(|e| FetchError::disk(&self.folder, e))?;
        let fetched = self.fill(watch);
        if fetched.is_err() {
            // An empty folder would look like a data set. One that holds anything stays.
            let _ = fs::remove_dir(&self.folder);
        }
        fetched
    }

    /// Puts every file that is missing or wrong into the folder.
    fn fill(&self, watch: &mut Watch<'_>) -> Result<Fetched, FetchError> {
        let _lock = lock(&self.folder)?;
        self.sweep();
        let mut fetched =
            Fetched { folder: self.folder.clone(), new: Vec::new(), kept: Vec::new() };
        for parcel in self.parcels() {
            let names = parcel.files.iter().map(|file| file.name.to_owned());
            if parcel.files.iter().all(|file| self.is_right(file)) {
                fetched.kept.extend(names);
                continue;
            }
            let staged = self.get(&parcel, watch)?;
            for (file, staged) in parcel.files.iter().zip(staged) {
                self.put(file, staged, watch)?;
            }
            sync_directory(&self.folder).map_err(|e| FetchError::disk(&self.folder, e))?;
            self.drop_parts(&parcel);
            fetched.new.extend(names);
        }
        Ok(fetched)
    }

    fn parcels(&self) -> Vec<Parcel<'_>> {
        let files = self.entry.files;
        match self.entry.packing {
            Packing::Gzip => {
                let packed = |file: &RawFile| format!("{}.gz", file.name);
                let parcel = |files: &'static [RawFile]| Parcel {
                    name: files.iter().map(packed).collect(),
                    files,
                };
                files.chunks(1).map(parcel).collect()
            }
            Packing::TarGz { archive, .. } => vec![Parcel { name: archive.into(), files }],
        }
    }

    /// Returns true if a file is in place with the right size and hash.
    fn is_right(&self, file: &RawFile) -> bool {
        let path = self.folder.join(file.name);
        let length = fs::metadata(&path).map(|metadata| metadata.len());
        length.is_ok_and(|length| length == file.bytes)
            && File::open(&path).and_then(sha256_of).is_ok_and(|hash| hash == file.sha256)
    }

    /// Gets the files of a parcel, verified, from the first source that has them.
    fn get(
        &self,
        parcel: &Parcel<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Unfinished>, FetchError> {
        let mut attempts = Vec::new();
        for source in &self.sources {
            let done = match source {
                Mirror::Folder(folder) => self.copy(folder, parcel),
                Mirror::Url(base) => self.download(base, parcel, watch),
            };
            let fault = match done {
                Ok(staged) => return Ok(staged),
                Err(Failure::Fetch(error)) => return Err(error),
                Err(Failure::Source(fault)) => fault,
            };
            let from = source.to_string();
            watch(Event::Failed { file: &parcel.name, from: &from, fault: &fault });
            attempts.push(Attempt { from, fault });
        }
        Err(FetchError::Exhausted { file: parcel.name.clone(), attempts })
    }

    /// Gets the files from a folder: unpacked if it has all of them so, else packed.
    fn copy(&self, folder: &Path, parcel: &Parcel<'_>) -> Result<Vec<Unfinished>, Failure> {
        let unpacked = |folder: &Path| -> Option<Vec<PathBuf>> {
            let paths = parcel.files.iter().map(|file| folder.join(file.name));
            paths.map(|path| path.is_file().then_some(path)).collect()
        };
        let inner = match self.entry.packing {
            Packing::Gzip => None,
            Packing::TarGz { folder: inner, .. } => Some(folder.join(inner)),
        };
        let there = unpacked(folder).or_else(|| unpacked(&inner?));
        if let Some(paths) = there {
            let pairs = parcel.files.iter().zip(&paths);
            return pairs
                .map(|(file, path)| unpack::stage(open(path)?, file, &self.folder))
                .collect();
        }
        let packed = folder.join(&parcel.name);
        if !packed.is_file() {
            return Err(Fault::NotThere.into());
        }
        unpack::parcel(open(&packed)?, self.entry.packing, parcel.files, &self.folder)
    }

    /// Gets the files from an address. The download continues what an earlier attempt has left. If the whole is wrong then, it
    /// is downloaded once more from the start.
    fn download(
        &self,
        base: &str,
        parcel: &Parcel<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Unfinished>, Failure> {
        let url = format!("{base}{}", parcel.name);
        let part = self.part(parcel, base);
        // Packing makes noise a little larger, but not by more than this.
        let limit = parcel.files.iter().map(|file| file.bytes).sum::<u64>() + (1 << 20);
        let mut again = true;
        loop {
            let joined = download(&self.client, &url, &part, limit, watch)?;
            let packed = File::open(&part).map_err(|e| FetchError::disk(&part, e))?;
            let staged = unpack::parcel(packed, self.entry.packing, parcel.files, &self.folder);
            if staged.is_err() {
                // It is of no use; and if the disk is full, it takes room.
                let _ = fs::remove_file(&part);
            }
            match staged {
                Err(Failure::Source(_)) if joined && again => again = false,
                done => return done,
            }
        }
    }

    /// Puts a verified file in its place. Another file of that name may be a person's own, and is kept.
    fn put(
        &self,
        file: &RawFile,
        staged: Unfinished,
        watch: &mut Watch<'_>,
    ) -> Result<(), FetchError> {
        let path = self.folder.join(file.name);
        if path.exists() && !self.is_right(file) {
            let aside = self.aside(file.name);
            fs::rename(&path, &aside).map_err(|e| FetchError::disk(&aside, e))?;
            watch(Event::SetAside { path: &aside });
        }
        staged.persist(&path).map_err(|e| FetchError::disk(&path, e))
    }

    /// A free path for a file that is set aside: one that was set aside before is kept as well.
    fn aside(&self, name: &str) -> PathBuf {
        let mut path = self.folder.join(format!("{name}.unverified"));
        let mut number = 2_u64;
        // A link to nothing is a file too.
        while path.symlink_metadata().is_ok() {
            path.set_file_name(format!("{name}.unverified-{number}"));
            number += 1;
        }
        path
    }

    /// The path of an incomplete download from `base`. Each mirror packs in its own way, so parts from two of them must not be
    /// joined.
    fn part(&self, parcel: &Parcel<'_>, base: &str) -> PathBuf {
        self.folder.join(format!("{}.{:.8}.part", parcel.name, sha256(base.as_bytes())))
    }

    /// Removes the incomplete downloads of a parcel from all mirrors.
    fn drop_parts(&self, parcel: &Parcel<'_>) {
        let start = format!("{}.", parcel.name);
        self.remove_files(|name| name.starts_with(&start) && name.ends_with(".part"));
    }

    /// Removes the files that a killed fetch has left half unpacked.
    fn sweep(&self) {
        self.remove_files(|name| name.starts_with(UNFINISHED));
    }

    fn remove_files(&self, which: impl Fn(&str) -> bool) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().to_str().is_some_and(&which) {
                // A file that cannot be removed does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Opens a file of a mirror folder.
fn open(path: &Path) -> Result<File, Fault> {
    open_file(path).map_err(|e| Fault::Unreadable(one_line(&e)))
}

/// Locks the folder, so that two fetches do not write one partial file. Systems that cannot lock a folder do without.
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

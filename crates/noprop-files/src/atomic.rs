//! Files that are either the old ones or the new ones, whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// The beginning of the names of files that are not complete yet. A program that finds such a file was killed while it wrote.
pub const UNFINISHED: &str = ".unfinished-";

/// A step of a write. The system can refuse each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncFolder,
}

/// Refuses a step in a test that asks for it.
fn allow(step: Step) -> io::Result<()> {
    #[cfg(test)]
    return tests::fault(step);
    #[cfg(not(test))]
    {
        let _ = step;
        Ok(())
    }
}

/// A file under a temporary name, in the folder where it will be. Dropping it removes it.
#[derive(Debug)]
pub struct Unfinished(NamedTempFile);

impl Unfinished {
    /// Creates an empty file in `folder`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(folder: &Path) -> io::Result<Self> {
        allow(Step::Create)?;
        // The file is opened here for two reasons: tempfile's own files are for their owner alone, while the process's umask decides about this one, and
        // tempfile's own errors name the temporary file.
        let mut code = None;
        let made = tempfile::Builder::new().prefix(UNFINISHED).make_in(folder, |path| {
            let opened = File::options().read(true).write(true).create_new(true).open(path);
            opened.inspect_err(|error| code = error.raw_os_error())
        });
        made.map(Self).map_err(|error| code.map_or(error, io::Error::from_raw_os_error))
    }

    /// Writes the content to the disk and gives the file its name, `path` in the same folder. A file of that name is replaced.
    ///
    /// # Errors
    /// The operating system's. The file at `path` is then untouched.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        self.before_the_name()?;
        self.0.persist(path).map_err(|failed| failed.error)?;
        Ok(())
    }

    /// As [`Self::persist`], but refuses to replace a file: of several processes that try, one succeeds.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file at `path`, else the operating system's.
    pub fn persist_new(self, path: &Path) -> io::Result<()> {
        self.before_the_name()?;
        self.0.persist_noclobber(path).map_err(|failed| failed.error)?;
        Ok(())
    }

    /// Writes the content to the disk. [`Self::persist`] does so as well; of several files that belong together, all are whole then before
    /// the first has its name.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sync(&self) -> io::Result<()> {
        allow(Step::Sync)?;
        self.0.as_file().sync_all()
    }

    fn before_the_name(&self) -> io::Result<()> {
        self.sync()?;
        allow(Step::Rename)
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        allow(Step::Write)?;
        self.0.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_file_mut().flush()
    }
}

/// Writes a file so that a kill at any moment leaves either the old content or the new: a temporary file in the same folder,
/// fsync, rename, fsync of the folder.
///
/// # Errors
/// The operating system's. No temporary file is then left, and the target is untouched, unless the sync of the folder was what failed:
/// then it is the new file, whole.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    written(path, write, Unfinished::persist)
}

/// As [`write_atomically`], for a file that must not exist yet: of several processes that try, one writes it.
///
/// # Errors
/// `AlreadyExists` if the file exists, else as [`write_atomically`].
pub fn write_new(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    written(path, write, Unfinished::persist_new)
}

fn written(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    persist: impl FnOnce(Unfinished, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = Unfinished::create(folder)?;
    {
        let mut buffered = BufWriter::new(&mut file);
        write(&mut buffered)?;
        buffered.flush()?;
    }
    persist(file, path)?;
    sync_directory(folder)
}

/// Returns the folder that a file is in; `.` for a name alone.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the renames in `directory` survive a power cut, where the system lets a directory be synced.
///
/// # Errors
/// The operating system's.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    allow(Step::SyncFolder)?;
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(directory).and_then(|folder| folder.sync_all()) {
        Err(error) if is_without_sync(error.kind()) => Ok(()),
        synced => synced,
    }
}

/// Returns true if a folder cannot be synced at all: it may not be read, or its file system has no sync of folders. What was renamed
/// in it is whole.
fn is_without_sync(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(kind, PermissionDenied | InvalidInput | Unsupported)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    thread_local! {
        /// The step that fails in this thread, and how often it succeeds before.
        static FAULT: Cell<Option<(Step, u32)>> = const { Cell::new(None) };
    }

    /// Refuses `step` if it is its turn.
    pub(super) fn fault(step: Step) -> io::Result<()> {
        match FAULT.get() {
            Some((fails, 0)) if fails == step => {
                FAULT.set(None);
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            Some((fails, after)) if fails == step => {
                FAULT.set(Some((fails, after - 1)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Longer than the buffer of a writer, so that it takes several writes.
    fn content(of: u8) -> Vec<u8> {
        vec![of; 100_000]
    }

    /// Writes in pieces.
    fn pieces(bytes: &[u8]) -> impl FnOnce(&mut dyn Write) -> io::Result<()> {
        move |w| bytes.chunks(1_000).try_for_each(|piece| w.write_all(piece))
    }

    /// A full disk, or one that fails, must not cost the file that was there, or leave half of the new one.
    #[test]
    fn a_fault_in_any_step_leaves_the_old_file_or_the_new_and_nothing_else() {
        let (old, new) = (content(1), content(2));
        let faults = [
            (Step::Create, 0),
            (Step::Write, 0),
            (Step::Write, 5),
            (Step::Sync, 0),
            (Step::Rename, 0),
            (Step::SyncFolder, 0),
        ];
        for (step, after) in faults {
            let dir = tempfile::tempdir().unwrap();
            let (path, fresh) = (dir.path().join("file"), dir.path().join("fresh"));
            write_atomically(&path, pieces(&old)).unwrap();

            FAULT.set(Some((step, after)));
            let error = write_atomically(&path, pieces(&new)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{step:?}");
            FAULT.set(Some((step, after)));
            write_new(&fresh, pieces(&new)).unwrap_err();
            assert_eq!(FAULT.get(), None, "{step:?} {after} was never reached");

            // Only the last step comes after the renaming.
            let is_named = step == Step::SyncFolder;
            assert!(fs::read(&path).unwrap() == *if is_named { &new } else { &old }, "{step:?}");
            assert_eq!(fresh.exists(), is_named, "{step:?}");
            assert!(!is_named || fs::read(&fresh).unwrap() == new);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + usize::from(is_named));
        }
    }

    /// The temporary file is gone when a person reads the message.
    #[test]
    fn an_error_does_not_name_the_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/file");
        let error = write_atomically(&path, pieces(&[])).unwrap_err();
        assert_eq!(error.to_string(), File::open(&path).unwrap_err().to_string());

        // A file that cannot be written to.
        let file = Unfinished::create(dir.path()).unwrap();
        let read_only = File::open(file.0.path()).unwrap();
        let mut file = Unfinished(NamedTempFile::from_parts(read_only, file.0.into_temp_path()));
        let error = file.write(b"x").unwrap_err();
        assert!(!error.to_string().contains(UNFINISHED), "{error}");
    }

    /// A file that is in its place must not be reported as failed, and a disk that fails must not be passed over.
    #[test]
    fn a_folder_that_cannot_be_synced_is_no_failure() {
        use io::ErrorKind::{InvalidInput, Other, PermissionDenied, StorageFull, Unsupported};
        assert!([InvalidInput, PermissionDenied, Unsupported].into_iter().all(is_without_sync));
        assert!(![Other, StorageFull].into_iter().any(is_without_sync));
        let dir = tempfile::tempdir().unwrap();
        assert!(sync_directory(&dir.path().join("missing")).is_err() || !cfg!(unix));
        // One that may be written to, and not read. An administrator may read it all the same.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
            mode(0o333).unwrap();
            let written = write_atomically(&dir.path().join("file"), pieces(b"new"));
            mode(0o755).unwrap();
            written.unwrap();
            assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"new");
        }
    }

    /// An error of what is written, not of the disk.
    #[test]
    fn a_failed_writer_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomically(&path, |w| w.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |w| {
            w.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Of two processes that claim a run, the second must not overwrite what the first has written.
    #[test]
    fn a_new_file_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_new(&path, |w| w.write_all(b"first")).unwrap();
        let error = write_new(&path, |w| w.write_all(b"second")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

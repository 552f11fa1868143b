//! Files that are either the old ones or the new ones, whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// The beginning of the names of files that are not complete yet. A program that finds such a file was killed while it wrote.
pub const UNFINISHED: &str = ".unfinished-";

/// A file under a temporary name, in the folder where it will be. Dropping it removes it.
#[derive(Debug)]
pub struct Unfinished(NamedTempFile);

impl Unfinished {
    /// Creates an empty file in `folder`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED);
        #[cfg(unix)]
        {
            use std::fs::Permissions;
            use std::os::unix::fs::PermissionsExt;
            // tempfile makes files that only their owner can read. A finished file is an ordinary one: the process's umask
            // decides.
            builder.permissions(Permissions::from_mode(0o666));
        }
        Ok(Self(builder.tempfile_in(folder)?))
    }

    /// Writes the content to the disk and gives the file its name, `path` in the same folder. A file of that name is replaced.
    ///
    /// # Errors
    /// The operating system's. The file at `path` is then untouched.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(path).map_err(|failed| failed.error)?;
        Ok(())
    }

    /// As [`Self::persist`], but refuses to replace a file: of several processes that try, one succeeds.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file at `path`, else the operating system's.
    pub fn persist_new(self, path: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist_noclobber(path).map_err(|failed| failed.error)?;
        Ok(())
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes a file so that a kill at any moment leaves either the old content or the new: a temporary file in the same folder,
/// fsync, rename, fsync of the folder.
///
/// # Errors
/// The operating system's. The target is then untouched, and no temporary file is left.
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
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = Unfinished::create(folder)?;
    {
        let mut buffered = BufWriter::new(&mut file);
        write(&mut buffered)?;
        buffered.flush()?;
    }
    persist(file, path)?;
    sync_directory(folder)
}

/// Makes the renames in `directory` survive a power cut, where the system lets a directory be synced.
///
/// # Errors
/// The operating system's.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A full disk must not cost the file that was there, or leave half of the new one.
    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomically(&path, |w| w.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |w| {
            w.write_all(b"half")?;
            Err(io::Error::other("no space left"))
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

//! Files that are either the old ones or the new ones, whole.

use std::io::{self, Write};
use std::path::Path;

/// What the names of files that are not whole yet begin with.
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// Writes a file so that a kill at any moment leaves either the old content or the new: temporary file beside it,
/// fsync, rename, fsync of the directory.
///
/// # Errors
/// The operating system's; the target is then untouched and no temporary file is left.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    written(path, write, |file| file.persist(path).map_err(|failed| failed.error))
}

/// [`write_atomically`] for a file that must not be there: of several processes that try, one writes it.
///
/// # Errors
/// `AlreadyExists` if it is there, whole; else as [`write_atomically`].
pub(crate) fn write_new(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    written(path, write, |file| file.persist_noclobber(path).map_err(|failed| failed.error))
}

fn written(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    persist: impl FnOnce(tempfile::NamedTempFile) -> io::Result<std::fs::File>,
) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // tempfile makes files for their owner's eyes only; a finished result is an ordinary file, and the process's
        // umask takes its share.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(directory)?;
    {
        let mut buffered = io::BufWriter::new(file.as_file_mut());
        write(&mut buffered)?;
        buffered.flush()?;
    }
    file.as_file().sync_all()?;
    persist(file)?;
    sync_directory(directory)
}

/// Makes a rename in `directory` survive a power cut, where the system lets a directory be synced.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! Locks between processes: a lock file is locked by the process that writes beside it, and its content is never touched.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use noprop_files::open_file;

use crate::TrainError;

/// The name of every lock file.
pub(crate) const LOCK: &str = ".lock";
const TRIES: u32 = 20;
const WAIT: Duration = Duration::from_millis(50);

/// Locks `file`, and creates it if it does not exist. Returns `None` if another process holds the lock for longer than about
/// a second. A killed process holds it until the system has cleaned up, and a process that reads a status holds it for a moment.
///
/// # Errors
/// [`TrainError::File`] if there is something else than a file, or if the file cannot be created or locked.
pub(crate) fn lock_file(file: &Path) -> Result<Option<File>, TrainError> {
    // A folder of a stranger may have a pipe here, whose opening never ends, or a link to a file of somebody else.
    if file.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "it is not a file");
        return Err(TrainError::creating(file)(reason));
    }
    let handle = OpenOptions::new().write(true).create(true).truncate(false).open(file);
    let handle = handle.map_err(TrainError::creating(file))?;
    for tries in 1.. {
        match handle.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries < TRIES => sleep(WAIT),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(TrainError::creating(file)(source)),
        }
    }
    Ok(Some(handle))
}

/// Returns whether a process holds the lock `file`. Nobody is refused it by this: it is shared for a moment, and [`lock_file`] waits longer.
pub(crate) fn is_held(file: &Path) -> bool {
    open_file(file)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A run of a stranger may name another file as its lock: that file keeps its content.
    #[cfg(unix)]
    #[test]
    fn a_lock_changes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, lock) = (dir.path().join("thesis.tex"), dir.path().join(LOCK));
        fs::write(&mine, "mine").unwrap();
        std::os::unix::fs::symlink(&mine, &lock).unwrap();
        assert!(matches!(lock_file(&lock), Err(TrainError::File { .. })));
        fs::remove_file(&lock).unwrap();
        fs::write(&lock, "old").unwrap();
        let held = lock_file(&lock).unwrap().unwrap();
        assert!(is_held(&lock));
        drop(held);
        assert!(!is_held(&lock));
        assert_eq!(
            [fs::read(&mine).unwrap(), fs::read(&lock).unwrap()],
            [b"mine".to_vec(), b"old".to_vec()]
        );
        // A device stands for a pipe, whose opening waits for another program.
        fs::remove_file(&lock).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &lock).unwrap();
        assert!(!is_held(&lock) && lock_file(&lock).is_err());
    }
}

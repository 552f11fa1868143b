//! Files that are read without waiting for another program.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file to read it. A named pipe, where reading waits for a writer, is an error, and so is a device.
///
/// # Errors
/// As [`File::open`]; [`io::ErrorKind::InvalidInput`] if `path` is neither a file nor a folder.
pub fn open_file(path: &Path) -> io::Result<File> {
    let kind = path.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let reason = "it is not a file, but a pipe, a socket or a device";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    File::open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A device that never ends stands for what cannot be tested without another program.
    #[test]
    fn only_files_are_opened() {
        let refused = open_file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(open_file(Path::new("/no/such")).unwrap_err().kind(), io::ErrorKind::NotFound);
        open_file(&std::env::current_exe().unwrap()).unwrap();
    }
}

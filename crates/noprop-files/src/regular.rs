//! Files that are read without waiting for another program.

use std::fs::File;
use std::io::{self, Read};
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

/// Reads a file of at most `most` bytes. It is opened by [`open_file`].
///
/// # Errors
/// As [`open_file`]; [`io::ErrorKind::FileTooLarge`] if the file is larger.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_file(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if read as u64 > most {
        let reason = format!("it is larger than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// Reads a file of at most `most` bytes as text.
///
/// # Errors
/// As [`read_file`]; [`io::ErrorKind::InvalidData`] if the file is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(read_file(path, most)?).map_err(invalid)
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

    /// A text that is too long is refused, and never cut: half a log would be a wrong result.
    #[test]
    fn texts_are_read_whole_or_not_at_all() {
        let path = std::env::temp_dir().join(format!("noprop-text-{}", std::process::id()));
        std::fs::write(&path, "αβ").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "αβ");
        assert_eq!(read_text(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(&path).unwrap();
    }
}

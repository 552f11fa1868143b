//! The parts of a command that fetches which `noprop fetch` and `cargo xtask fetch-mnist` share: a display of the download, and
//! advice on errors. The advice names the flags `--mirror` and `--data-dir`, which both have.

use std::io::ErrorKind;
use std::path::Path;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use noprop_files::DatasetName;

use crate::{Event, FetchError, Fetched, Mirror, fetch};

/// [`fetch`] with a progress line on stderr, if that is a terminal. `note` is called with a line for each source that failed,
/// and for each file that was set aside.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_and_show(
    name: DatasetName,
    data_dir: &Path,
    mirror: Option<&Mirror>,
    mut note: impl FnMut(&str),
) -> Result<Fetched, FetchError> {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{msg}  {bytes}  {binary_bytes_per_sec}") {
        bar.set_style(style);
    }
    let fetched = fetch(name, data_dir, mirror, &mut |event| match event {
        Event::Begin { file, done, total, .. } => {
            let size = total.map_or_else(String::new, |total| format!(" ({})", HumanBytes(total)));
            bar.set_message(format!("{file}{size}"));
            bar.set_position(done);
        }
        Event::Advance { bytes } => bar.inc(bytes),
        Event::Failed { file, from, fault } => {
            bar.suspend(|| note(&format!("{file}: {from}: {fault}")));
        }
        Event::SetAside { path } => {
            let path = path.display();
            bar.suspend(|| note(&format!("a file that was in the way is kept as {path}")));
        }
    });
    bar.finish_and_clear();
    fetched
}

/// The advice that a program adds to an error, with the flags that help.
pub fn advice(error: &FetchError) -> Option<&'static str> {
    match error {
        FetchError::NoFolder { .. } => Some(
            "--mirror takes a folder that holds the files, or an address that starts with https://",
        ),
        FetchError::Exhausted { .. } => {
            Some("check the network, or give another source with --mirror URL-OR-DIR")
        }
        FetchError::Disk { source, .. } => match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Some("make room, or choose another place with --data-dir")
            }
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory => Some("choose another place with --data-dir"),
            _ => None,
        },
        FetchError::Bundled { .. } | FetchError::Busy { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A user whose disk is full, or whose folder cannot be written to, must learn how to choose another place.
    #[test]
    fn errors_of_the_disk_come_with_a_way_out() {
        let of = |kind: ErrorKind| {
            advice(&FetchError::disk(Path::new("data"), io::Error::from(kind))).unwrap_or_default()
        };
        assert!(of(ErrorKind::StorageFull).starts_with("make room"));
        for kind in [ErrorKind::PermissionDenied, ErrorKind::NotADirectory] {
            assert!(of(kind).contains("--data-dir"), "{kind}");
        }
        assert_eq!(of(ErrorKind::BrokenPipe), "");
    }
}

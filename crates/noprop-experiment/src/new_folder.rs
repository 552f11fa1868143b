//! A folder that is written whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use noprop_files::UNFINISHED;
use noprop_train::{Existing, RunDirectory};

use crate::error::{Context, Result, ensure};

/// Makes the folder `to`: `fill` fills one beside it, which then takes its name. With [`Existing::Replace`] the folder that has the name
/// goes when the new one is whole.
pub(crate) fn in_new_folder(
    to: &Path,
    existing: Existing,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let is_free = RunDirectory::is_free(to);
    ensure!(
        is_free || existing == Existing::Replace,
        "{} is there already, and is not replaced: choose another name",
        to.display()
    );
    let making = || format!("cannot make the folder {}", to.display());
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = |ending: &str| -> Result<_> {
        let mut name = OsString::from(UNFINISHED);
        name.push(to.file_name().with_context(making)?);
        name.push(ending);
        let path = parent.unwrap_or(Path::new(".")).join(name);
        // One that a kill left.
        let _ = fs::remove_dir_all(&path);
        Ok(path)
    };
    let (new, old) = (beside("")?, beside(".old")?);
    fs::create_dir_all(&new).with_context(making)?;
    let take_the_name = || {
        if is_free {
            // An empty folder gives way.
            let _ = fs::remove_dir_all(to);
            return fs::rename(&new, to);
        }
        fs::rename(to, &old)?;
        fs::rename(&new, to).inspect_err(|_| {
            let _ = fs::rename(&old, to);
        })
    };
    let made = fill(&new).and_then(|()| take_the_name().with_context(making));
    let _ = fs::remove_dir_all(if made.is_ok() { &old } else { &new });
    made
}

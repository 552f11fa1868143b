//! A folder that is written whole or not at all.

use std::fs;
use std::path::Path;

use noprop_files::UNFINISHED;
use noprop_train::{Existing, RunDirectory};

use crate::error::{Context, Result, bail, ensure};

/// Makes the folder `to`: `fill` fills one beside it, which then takes its name. With [`Existing::Replace`] the folder that has the name
/// goes when the new one is whole. Several processes may make the same folder: each fills one of its own. A process that is killed leaves
/// its own, whose name begins with `.unfinished-`.
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
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(making)?;
    let beside = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent);
    let beside = beside.with_context(making)?;
    let (new, old) = (beside.path().join("new"), beside.path().join("old"));
    fs::create_dir(&new).with_context(making)?;
    fill(&new)?;
    if is_free {
        // An empty folder gives way, and what somebody has put there meanwhile does not.
        if RunDirectory::is_free(to) {
            let _ = fs::remove_dir_all(to);
        }
        return fs::rename(&new, to).with_context(making);
    }
    fs::rename(to, &old).with_context(making)?;
    fs::rename(&new, to).or_else(|error| {
        // The old folder must not go with the one that it is in.
        if fs::rename(&old, to).is_err() {
            let kept = beside.keep();
            bail!("{}: {error}; what was there is in {}", making(), kept.display());
        }
        Err::<(), _>(error).with_context(making)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes that save to one name at the same moment: the folder is wholly one of the two, and nothing is left beside it.
    #[test]
    fn two_that_make_one_folder_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("best");
        let write = |folder: &Path, name: &str, by: &str| fs::write(folder.join(name), by).unwrap();
        in_new_folder(&to, Existing::Replace, |first| {
            write(first, "config", "first");
            in_new_folder(&to, Existing::Replace, |second| {
                write(second, "config", "second");
                write(second, "weights", "second");
                Ok(())
            })?;
            write(first, "weights", "first");
            Ok(())
        })
        .unwrap_err();
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!([read("config"), read("weights")], ["second", "second"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! The classes and files in a folder, before the first picture is read.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use crate::error::{DataError, Remedy};
use crate::listing::Half;
use crate::notice::Notice;

/// Names for the folder of held-out pictures.
const VALIDATION: [&str; 3] = ["val", "valid", "validation"];

/// Names, in lower case, of files and folders that systems and archives leave behind. Names that begin with a dot are passed
/// over anyway.
const LITTER: [&str; 7] =
    ["thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"];

/// A folder of pictures of one class.
pub(super) struct Class {
    /// The folder's name, composed as Unicode's form C: macOS and Linux write accents differently.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// The folder's path in the data set.
    pub place: PathBuf,
    /// Names of files, in their order.
    pub files: Vec<OsString>,
    /// True if a folder inside holds files.
    nested: bool,
}

impl Class {
    /// The error for a class without pictures.
    pub fn is_empty(&self) -> DataError {
        let reason = match self.nested {
            false => format!("class {} has no pictures", self.name),
            true => format!(
                "class {} has no pictures but in folders inside it, which are not read: move them up into the class",
                self.name
            ),
        };
        DataError::folder(&self.path, reason)
    }
}

/// A folder of a person's pictures.
pub(super) enum Tree {
    /// `train/<class>`, `test/<class>` and perhaps `val/<class>`.
    Halves { train: Vec<Class>, validation: Option<Vec<Class>>, test: Vec<Class> },
    /// `<class>`.
    Flat(Vec<Class>),
}

/// Reads the names of folders and files in `root`.
pub(super) fn read(root: &Path, notices: &mut Vec<Notice>) -> Result<Tree, DataError> {
    let has = folders(root)?;
    match (has("train"), has("test")) {
        (true, true) => {
            let held = held_out(root)?;
            let validation = held.map(|held| classes(root, held, notices)).transpose()?;
            beside(root, held, notices)?;
            Ok(Tree::Halves {
                train: classes(root, "train", notices)?,
                validation,
                test: classes(root, "test", notices)?,
            })
        }
        (false, false) => Ok(Tree::Flat(classes(root, "", notices)?)),
        (true, false) => missing_half(root, "test"),
        (false, true) => missing_half(root, "train"),
    }
}

/// The classes of one half: those in its folder, or for testing else those in `root` itself.
pub(super) fn read_half(
    root: &Path,
    half: Half,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Class>, DataError> {
    let has = folders(root)?;
    match half {
        Half::Train if has("train") => classes(root, "train", notices),
        Half::Train => refuse(root, "there is no folder train in it"),
        Half::Validation => match held_out(root)? {
            Some(folder) => classes(root, folder, notices),
            None => refuse(root, "there is no folder val in it"),
        },
        Half::Test if has("test") => classes(root, "test", notices),
        Half::Test if has("train") => missing_half(root, "test"),
        Half::Test => classes(root, "", notices),
    }
}

/// Tells which folders there are in `root`.
fn folders(root: &Path) -> Result<impl Fn(&str) -> bool, DataError> {
    if !root.is_dir() {
        return refuse(root, "there is no such folder");
    }
    Ok(|name: &str| root.join(name).is_dir())
}

/// The name of the folder of held-out pictures, if there is one.
fn held_out(root: &Path) -> Result<Option<&'static str>, DataError> {
    let held: Vec<_> = VALIDATION.into_iter().filter(|name| root.join(name).is_dir()).collect();
    match held.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let folders = several.join(", ");
            refuse(
                root,
                format!("it has several folders of held-out pictures: {folders}; keep one of them"),
            )
        }
    }
}

fn refuse<T>(path: &Path, reason: impl Into<String>) -> Result<T, DataError> {
    Err(DataError::folder(path, reason))
}

/// Refuses a folder without one half, and names the folder that may be meant.
pub(super) fn missing_half<T>(root: &Path, half: &str) -> Result<T, DataError> {
    let folders: Vec<PathBuf> = entries(root)?.into_iter().filter(|entry| entry.is_dir()).collect();
    let named = |name: &str| {
        let same =
            |folder: &&PathBuf| folder.file_name().is_some_and(|is| is.eq_ignore_ascii_case(name));
        folders.iter().find(same).map(|folder| folder.display().to_string())
    };
    let mut reason = format!("there is no folder {half} in it; ");
    if let Some(other) = named(half) {
        reason += &format!("{other} must be named {half}");
    } else if let [inner] = folders.as_slice()
        && inner.join("train").is_dir()
        && inner.join("test").is_dir()
    {
        reason += &format!("{} is such a folder", inner.display());
    } else if let Some(held) = VALIDATION.into_iter().find_map(named).filter(|_| half == "test") {
        reason += &format!(
            "{held} is for choosing the epoch: name it test to test on it, and held-out pictures are taken from train"
        );
    } else {
        reason += "pictures belong in train/<class> and test/<class>";
        return Err(DataError::folder_with(root, reason, Remedy::Share));
    }
    refuse(root, reason)
}

/// Notes folders and pictures in `root` that are not read, and what systems leave behind.
fn beside(root: &Path, held: Option<&str>, notices: &mut Vec<Notice>) -> Result<(), DataError> {
    let read: Vec<&str> = ["train", "test"].into_iter().chain(held).collect();
    let (mut litter, mut folders, mut loose) = (Vec::new(), Vec::new(), Vec::new());
    for entry in unread(entries(root)?, &read) {
        if is_litter(&entry) {
            litter.push(entry);
        } else if entry.is_dir() {
            folders.push(entry);
        } else if looks_like_a_picture(&entry) {
            loose.push(entry);
        }
    }
    note(litter, Notice::Litter, notices);
    note(loose, Notice::Loose, notices);
    note(folders, Notice::Beside, notices);
    Ok(())
}

/// The `entries` of a folder without those that were opened by the names `read`.
pub(super) fn unread(mut entries: Vec<PathBuf>, read: &[&str]) -> Vec<PathBuf> {
    for name in read {
        let named = |is: fn(&OsStr, &str) -> bool| {
            entries.iter().position(|entry| entry.file_name().is_some_and(|own| is(own, name)))
        };
        // Where no entry has the very name, the file system ignores case.
        let opened = named(|own, name| own == name)
            .or_else(|| named(|own, name| own.eq_ignore_ascii_case(name)));
        if let Some(opened) = opened {
            entries.swap_remove(opened);
        }
    }
    entries
}

/// Notes paths, if there are any, in the order of their names.
fn note(mut paths: Vec<PathBuf>, notice: fn(Vec<PathBuf>) -> Notice, notices: &mut Vec<Notice>) {
    paths.sort();
    if !paths.is_empty() {
        notices.push(notice(paths));
    }
}

/// The folders in `root`/`half`, in the order of their names.
fn classes(root: &Path, half: &str, notices: &mut Vec<Notice>) -> Result<Vec<Class>, DataError> {
    let (mut classes, mut litter, mut loose) = (Vec::new(), Vec::new(), Vec::new());
    for folder in entries(&root.join(half))? {
        if is_litter(&folder) {
            litter.push(folder);
        } else if !folder.is_dir() {
            if looks_like_a_picture(&folder) {
                loose.push(folder);
            }
        } else {
            classes.push(class(half, folder, &mut litter, notices)?);
        }
    }
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some([a, b]) = classes.array_windows().find(|[a, b]| a.name == b.name) {
        let reason = format!("its name and that of {} read the same", a.path.display());
        return refuse(&b.path, reason);
    }
    let mut lower = HashMap::<String, usize>::new();
    classes.iter().for_each(|class| *lower.entry(class.name.to_lowercase()).or_default() += 1);
    let alike = classes.iter().filter(|class| lower[&class.name.to_lowercase()] > 1);
    let alike = alike.map(|class| class.path.clone()).collect();
    note(litter, Notice::Litter, notices);
    note(loose, Notice::Loose, notices);
    note(alike, Notice::Alike, notices);
    Ok(classes)
}

fn class(
    half: &str,
    folder: PathBuf,
    litter: &mut Vec<PathBuf>,
    notices: &mut Vec<Notice>,
) -> Result<Class, DataError> {
    let (Some(own), Some(name)) =
        (folder.file_name(), folder.file_name().and_then(|name| name.to_str()))
    else {
        return refuse(&folder, "its name is not UTF-8; give it another");
    };
    let place = Path::new(half).join(own);
    let name = name.nfc().collect();
    let (mut files, mut nested) = (Vec::new(), Vec::new());
    for file in entries(&folder)? {
        if is_litter(&file) {
            litter.push(file);
        } else if file.is_dir() {
            let count = entries(&file)?.len();
            if count > 0 {
                nested.push((file, count));
            }
        } else {
            files.extend(file.file_name().map(OsStr::to_os_string));
        }
    }
    files.sort();
    nested.sort();
    let has_nested = !nested.is_empty();
    notices.extend(nested.into_iter().map(|(path, files)| Notice::Nested { path, files }));
    Ok(Class { name, path: folder, place, files, nested: has_nested })
}

fn is_litter(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    name.is_some_and(|name| LITTER.contains(&name.as_str()))
}

fn looks_like_a_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| matches!(ending.as_str(), "png" | "jpg" | "jpeg"))
}

/// The entries of a folder whose names do not begin with a dot.
fn entries(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let reading = |source| DataError::Read { path: path.into(), source };
    let mut all = Vec::new();
    for entry in fs::read_dir(path).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            all.push(entry.path());
        }
    }
    Ok(all)
}

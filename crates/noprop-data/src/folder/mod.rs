//! A person's own pictures: `FOLDER/train/<class>/*.png|jpg` and `FOLDER/test/<class>/…`, perhaps `FOLDER/val/<class>/…`, or
//! `FOLDER/<class>/…` and a share of each class to test on.
//!
//! Classes are folders, in the order of their names, and `test` and `val` may have none that `train` lacks. Files whose names
//! begin with a dot are passed over. Pictures become bytes of one size, with three channels if any picture has colour, else
//! with one; 16 bits a channel become 8.

mod options;
mod reader;
mod tree;

use std::path::Path;
use std::sync::Arc;

pub use self::options::{BadPictures, FolderOptions, TestPictures};
use self::reader::{Emptiness, Reader, not_empty};
use self::tree::{Class, Tree};
use crate::dataset::Dataset;
use crate::error::{DataError, Remedy};
use crate::listing::{Half, Listing};
use crate::notice::{Notice, first_few};
use crate::pictures::Pictures;
use crate::split::Split;

/// Opens a folder of pictures as a data set.
///
/// With [`TestPictures::Share`] each class is divided by a permutation of its pictures, in the order of their names, which
/// depends on the number of the class and the number of its pictures alone. The hash of the data covers the division.
///
/// # Errors
/// [`DataError::Folder`] for fewer than two classes, a class without pictures, a class that only `test` or `val` has, a name
/// that is not UTF-8, or pictures of several sizes and no size to scale them to; [`DataError::Picture`] for the first file
/// that is not a usable picture, unless such files are left out.
pub fn open_folder(path: &Path, options: &FolderOptions) -> Result<Dataset, DataError> {
    options.check(path)?;
    let mut notices = Vec::new();
    let tree = tree::read(path, &mut notices)?;
    let mut reader = Reader::new(options);
    let parts = match (tree, &options.test) {
        (Tree::Halves { train, validation, test }, TestPictures::OwnFolder) => {
            halves(&mut reader, path, &train, validation.as_deref(), &test)?
        }
        (Tree::Halves { .. }, _) => {
            let reason =
                "it is divided into train and test already, so no share of it can be split off";
            return Err(DataError::folder_with(path, reason, Remedy::NoShare));
        }
        (Tree::Flat(_), TestPictures::OwnFolder) => return tree::missing_half(path, "train"),
        (Tree::Flat(all), TestPictures::Share(share)) => {
            divided(&mut reader, path, &all, |pictures, _| {
                let rows = share.divide(&pictures.labels, all.len());
                rows.map_err(|class| too_few(path, all.get(class)))
            })?
        }
        (Tree::Flat(all), TestPictures::Kept(kept)) => {
            divided(&mut reader, path, &all, |_, listing| Ok(listing.divided_as(kept)))?
        }
    };
    notices.extend(reader.bad.into_iter().map(|bad| Notice::LeftOut(Arc::new(bad))));
    Ok(Dataset {
        name: name(path),
        train: parts.train,
        validation: parts.validation,
        test: parts.test,
        classes: parts.class_names.len(),
        class_names: parts.class_names,
        sha256: reader.hasher.finish(),
        listing: reader.listing,
        notices,
    })
}

/// The pictures of a folder, divided.
struct Parts {
    train: Split,
    validation: Option<Split>,
    test: Split,
    class_names: Vec<String>,
}

/// Reads a folder that is divided into `train`, `test` and perhaps `val`.
fn halves(
    reader: &mut Reader<'_>,
    path: &Path,
    train: &[Class],
    validation: Option<&[Class]>,
    test: &[Class],
) -> Result<Parts, DataError> {
    let names = names(&path.join("train"), train)?;
    for class in test.iter().chain(validation.unwrap_or_default()) {
        if !names.contains(&class.name) {
            let lower = class.name.to_lowercase();
            let alike = names.iter().find(|name| name.to_lowercase() == lower);
            let alike = alike.map_or_else(String::new, |name| format!(", only {name}"));
            let reason = format!("there is no class of this name in train{alike}");
            return Err(DataError::folder(&class.path, reason));
        }
    }
    let train = reader.read(Half::Train, train, &names, Emptiness::Refused)?;
    let held = match validation {
        Some(held) => {
            let at = held.first().and_then(|class| class.path.parent()).unwrap_or(path);
            let held = reader.read(Half::Validation, held, &names, Emptiness::Allowed)?;
            Some(not_empty(held, at, "it holds no pictures to choose the epoch with")?)
        }
        None => None,
    };
    let test = reader.read(Half::Test, test, &names, Emptiness::Allowed)?;
    let test = not_empty(test, &path.join("test"), "it holds no pictures to test on")?;
    let split = |pictures: Pictures| reader.split(pictures, names.len());
    Ok(Parts {
        train: split(train)?,
        validation: held.map(split).transpose()?,
        test: split(test)?,
        class_names: names,
    })
}

/// Reads a folder of classes, and divides it into the rows to train on and those to test on that `rows` chooses.
fn divided(
    reader: &mut Reader<'_>,
    path: &Path,
    classes: &[Class],
    rows: impl FnOnce(&Pictures, &Listing) -> Result<(Vec<u32>, Vec<u32>), DataError>,
) -> Result<Parts, DataError> {
    let names = names(path, classes)?;
    let pictures = reader.read(Half::Train, classes, &names, Emptiness::Refused)?;
    let (train, test) = rows(&pictures, &reader.listing)?;
    reader.divided(&test);
    for (rows, use_) in [(&train, "trained"), (&test, "tested")] {
        if rows.is_empty() {
            let reason = format!("none of the pictures that the run is {use_} on are there");
            return Err(DataError::folder(path, reason));
        }
    }
    let pictures = reader.split(pictures, names.len())?;
    let (train, test) = (pictures.select(&train)?, pictures.select(&test)?);
    Ok(Parts { train, validation: None, test, class_names: names })
}

/// One half of a folder, for a trained network, which may know more classes.
#[derive(Debug)]
pub struct FolderHalf {
    /// A short name.
    pub name: String,
    /// The pictures, with labels in the order of the network's classes.
    pub images: Split,
    /// The files.
    pub listing: Listing,
    /// Remarks on the folder.
    pub notices: Vec<Notice>,
}

/// Opens the pictures of one half, for a network that knows the classes `names`: those in `FOLDER/train/<class>`, in
/// `FOLDER/val/<class>`, or in `FOLDER/test/<class>` or else in `FOLDER/<class>`. Classes are matched by name.
///
/// # Errors
/// As [`open_folder`], and [`DataError::Folder`] for a class that is not among `names` or a half that does not exist.
pub fn open_half(
    path: &Path,
    half: Half,
    names: &[String],
    options: &FolderOptions,
) -> Result<FolderHalf, DataError> {
    options.check(path)?;
    let mut notices = Vec::new();
    let classes = tree::read_half(path, half, &mut notices)?;
    for class in classes.iter().filter(|class| !class.files.is_empty()) {
        if !names.contains(&class.name) {
            let known = first_few(names, KNOWN_NAMED);
            let reason = format!("the network knows no class of this name, only {known}");
            return Err(DataError::folder(&class.path, reason));
        }
    }
    let mut reader = Reader::new(options);
    let pictures = reader.read(half, &classes, names, Emptiness::Allowed)?;
    let pictures =
        not_empty(pictures, path, &format!("it holds no {} pictures", half.adjective()))?;
    let images = reader.split(pictures, names.len())?;
    notices.extend(reader.bad.into_iter().map(|bad| Notice::LeftOut(Arc::new(bad))));
    Ok(FolderHalf { name: name(path), images, listing: reader.listing, notices })
}

/// The most known classes that an error names.
const KNOWN_NAMED: usize = 10;

/// The name of the folder itself.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy().into())
}

/// The names of the classes of `folder`, if a classifier can be trained on them.
fn names(folder: &Path, classes: &[Class]) -> Result<Vec<String>, DataError> {
    if classes.len() < 2 {
        let reason = "it needs one folder for each class, and at least two";
        return Err(DataError::folder(folder, reason));
    }
    // Checked before the first picture is read.
    if let Some(class) = classes.iter().find(|class| class.files.is_empty()) {
        return Err(class.is_empty());
    }
    Ok(classes.iter().map(|class| class.name.clone()).collect())
}

/// The error for a class that cannot be divided.
fn too_few(path: &Path, class: Option<&Class>) -> DataError {
    let name = class.map(|class| class.name.as_str()).unwrap_or_default();
    let reason = format!(
        "class {name} has one picture, and a split needs one to train on and one to test on"
    );
    DataError::folder(class.map_or(path, |class| &class.path), reason)
}

#[cfg(test)]
mod tests;

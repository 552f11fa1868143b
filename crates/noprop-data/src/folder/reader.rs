//! Reading the pictures of a folder: pixels, labels and the list of files.

use std::path::Path;

use noprop_files::{Hasher, sha256};

use super::options::{BadPictures, FolderOptions, SIDES};
use super::tree::Class;
use crate::error::{DataError, Remedy};
use crate::listing::{Half, Listing};
use crate::picture;
use crate::pictures::Pictures;
use crate::split::Split;

/// The most bytes that the pictures of a half may take while they are read, three planes each.
const MAX_BYTES: u64 = 16 << 30;

/// The treatment of a class without pictures.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Emptiness {
    Refused,
    Allowed,
}

/// A reader of pictures that all have the same options and size.
pub(super) struct Reader<'a> {
    options: &'a FolderOptions,
    /// The size of the options, or else of the first picture.
    size: Option<(usize, usize)>,
    /// True if any picture has colour.
    colour: bool,
    /// The hash over the bytes of all files.
    pub hasher: Hasher,
    pub listing: Listing,
    pub bad: Vec<DataError>,
}

impl<'a> Reader<'a> {
    pub fn new(options: &'a FolderOptions) -> Self {
        Self {
            options,
            size: options.size,
            colour: false,
            hasher: Hasher::default(),
            listing: Listing::default(),
            bad: Vec::new(),
        }
    }

    /// Reads the pictures of `classes`. The label of a class is its index in `names`.
    pub fn read(
        &mut self,
        half: Half,
        classes: &[Class],
        names: &[String],
        emptiness: Emptiness,
    ) -> Result<Pictures, DataError> {
        let mut pictures = Pictures::default();
        for class in classes {
            // A class that is not among the names has no files.
            let label = (0..).zip(names).find(|(_, name)| **name == class.name);
            let label = label.map_or(u32::MAX, |(label, _)| label);
            let before = pictures.labels.len();
            for name in &class.files {
                let file = class.path.join(name);
                match self.add(&mut pictures, label, &file) {
                    Ok(sha256) => {
                        within_memory(&file, pictures.bytes())?;
                        self.listing.push(half, class.place.join(name), sha256);
                    }
                    Err(bad @ (DataError::Picture { .. } | DataError::Read { .. }))
                        if self.options.bad == BadPictures::Skip =>
                    {
                        self.bad.push(bad);
                    }
                    Err(error) => return Err(error),
                }
            }
            if pictures.labels.len() == before && emptiness == Emptiness::Refused {
                return Err(class.is_empty());
            }
        }
        self.colour |= pictures.colour;
        Ok(pictures)
    }

    /// Adds the picture in the file at `path`, and returns the hash of the file.
    fn add(
        &mut self,
        pictures: &mut Pictures,
        label: u32,
        path: &Path,
    ) -> Result<String, DataError> {
        let (picture, bytes) = picture::read(path)?;
        let own = (picture.height() as usize, picture.width() as usize);
        let size = match (self.size, self.options.size) {
            (Some(size), Some(_)) => size,
            (Some(size), None) if size == own => size,
            (Some((height, width)), None) => {
                let reason =
                    format!("it is {} x {} pixels and others {height} x {width}", own.0, own.1);
                return Err(DataError::folder_with(path, reason, Remedy::Scale));
            }
            (None, _) => own,
        };
        if !(SIDES.contains(&size.0) && SIDES.contains(&size.1)) {
            let reason = format!("{} x {} pixels are too many to learn from", size.0, size.1);
            return Err(DataError::folder_with(path, reason, Remedy::Scale));
        }
        self.size = Some(size);
        self.hasher.update(&bytes);
        let added = pictures.push(&picture, self.shape(), label);
        added.map_err(|fault| DataError::Picture { path: path.into(), fault })?;
        Ok(sha256(&bytes))
    }

    /// The (planes, H, W) with which pictures are read: three planes until it is known whether any has colour. A network of one
    /// channel gets luma.
    fn shape(&self) -> (usize, usize, usize) {
        let (height, width) = self.size.unwrap_or_default();
        (self.options.channels.unwrap_or(3), height, width)
    }

    /// Notes that the pictures with the indices `test`, in the order of reading, are for testing.
    pub fn divided(&mut self, test: &[u32]) {
        for row in test {
            self.hasher.update(&row.to_le_bytes());
        }
        self.listing.move_to_test(test);
    }

    /// Makes a split of pictures, after all are read: with the channels of the options, else with three if any picture has
    /// colour, and with one if none has.
    pub fn split(&self, pictures: Pictures, classes: usize) -> Result<Split, DataError> {
        let channels = self.options.channels.unwrap_or(if self.colour { 3 } else { 1 });
        pictures.split(self.shape(), channels, classes)
    }
}

/// Refuses a folder without pictures.
pub(super) fn not_empty(
    pictures: Pictures,
    path: &Path,
    reason: &str,
) -> Result<Pictures, DataError> {
    if pictures.labels.is_empty() { Err(DataError::folder(path, reason)) } else { Ok(pictures) }
}

/// Refuses a folder whose pictures would need `bytes` of memory.
fn within_memory(path: &Path, bytes: u64) -> Result<(), DataError> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let reason = format!("with it the pictures need more than {} GiB of memory", MAX_BYTES >> 30);
    Err(DataError::folder_with(path, reason, Remedy::ScaleDown))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder must not take all memory of the machine before it is refused.
    #[test]
    fn a_folder_that_is_too_large_is_refused_with_what_to_do() {
        let path = Path::new("train/cat/1.png");
        within_memory(path, MAX_BYTES).unwrap();
        let error = within_memory(path, MAX_BYTES + 1).unwrap_err();
        assert!(error.to_string().contains("train/cat/1.png"), "{error}");
        assert_eq!(error.remedy(), Some(Remedy::ScaleDown));
    }
}

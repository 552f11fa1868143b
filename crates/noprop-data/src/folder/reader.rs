//! Reading the pictures of a folder: pixels, labels and the list of files.

use std::path::Path;

use candle_core::{Device, Tensor};

use noprop_files::{Hasher, sha256};

use super::options::{BadPictures, FolderOptions, SIDES};
use super::tree::Class;
use crate::error::{DataError, PictureFault, Remedy};
use crate::listing::{Half, Listing};
use crate::picture;
use crate::split::Split;

/// The most bytes that the pictures of a half may take while they are read, three planes each.
const MAX_BYTES: usize = 16 << 30;

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
    /// The hash over the bytes of all files.
    pub hasher: Hasher,
    pub listing: Listing,
    pub bad: Vec<DataError>,
}

/// Pictures of one half, or of both.
pub(super) struct Pictures {
    /// The planes of each, one after another.
    pixels: Vec<u8>,
    pub labels: Vec<u32>,
    pub colour: bool,
}

impl<'a> Reader<'a> {
    pub fn new(options: &'a FolderOptions) -> Self {
        Self {
            options,
            size: options.size,
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
        let mut pictures = Pictures { pixels: Vec::new(), labels: Vec::new(), colour: false };
        for class in classes {
            // A class that is not among the names has no files.
            let label = names.iter().position(|name| *name == class.name).unwrap_or(usize::MAX);
            let before = pictures.labels.len();
            for name in &class.files {
                let file = class.path.join(name);
                match self.picture(half, &file, &class.place.join(name)) {
                    Ok((pixels, colour)) => {
                        within_memory(&file, pictures.pixels.len() + pixels.len())?;
                        pictures.pixels.extend(pixels);
                        pictures.labels.push(u32::try_from(label).unwrap_or(u32::MAX));
                        pictures.colour |= colour;
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
        Ok(pictures)
    }

    /// The number of planes of a picture as it is read: three until it is known whether any picture has colour. A network of one
    /// channel gets luma.
    fn planes(&self) -> usize {
        self.options.channels.unwrap_or(3)
    }

    /// Reads the planes of a picture, and whether it has colour. `place` is the path of the file in the data set.
    fn picture(
        &mut self,
        half: Half,
        path: &Path,
        place: &Path,
    ) -> Result<(Vec<u8>, bool), DataError> {
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
        let colour = picture.pixels().any(|pixel| pixel.0.iter().any(|shade| *shade != pixel.0[0]));
        let fault = |fault: PictureFault| DataError::Picture { path: path.into(), fault };
        let pixels = picture::fit(&picture, (self.planes(), size.0, size.1)).map_err(fault)?;
        self.listing.push(half, place.into(), sha256(&bytes));
        Ok((pixels, colour))
    }

    /// Notes that the pictures with the indices `test`, in the order of reading, are for testing.
    pub fn divided(&mut self, test: &[u32]) {
        for row in test {
            self.hasher.update(&row.to_le_bytes());
        }
        self.listing.move_to_test(test);
    }

    /// The pictures as bytes of `channels` planes.
    pub fn split(
        &self,
        pictures: Pictures,
        channels: usize,
        classes: usize,
    ) -> Result<Split, DataError> {
        let (height, width) = self.size.unwrap_or_default();
        let (count, plane) = (pictures.labels.len(), height * width);
        let pixels = match self.planes() {
            planes if planes == channels => pictures.pixels,
            // Without colour all planes are equal.
            planes => {
                let pictures = pictures.pixels.chunks_exact(planes * plane);
                pictures.flat_map(|planes| planes[..plane].to_vec()).collect()
            }
        };
        let images = Tensor::from_vec(pixels, (count, channels, height, width), &Device::Cpu)?;
        Split::new(images, Tensor::from_vec(pictures.labels, count, &Device::Cpu)?, classes)
    }
}

impl Pictures {
    /// Returns the pictures, if there are any.
    pub fn not_empty(self, path: &Path, reason: &str) -> Result<Self, DataError> {
        match self.labels.is_empty() {
            true => Err(DataError::folder(path, reason)),
            false => Ok(self),
        }
    }
}

/// Refuses a folder whose pictures would need `bytes` of memory.
fn within_memory(path: &Path, bytes: usize) -> Result<(), DataError> {
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

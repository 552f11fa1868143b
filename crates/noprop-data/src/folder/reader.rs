//! From the files of a folder to pixels, labels and the list of what was read.

use std::path::Path;

use candle_core::{Device, Tensor};

use super::tree::Class;
use super::{BadPictures, FolderOptions, SIDES};
use crate::digest::{Hasher, sha256};
use crate::listing::{Half, Listing};
use crate::picture::{self, PictureFault};
use crate::{DataError, Split};

/// Pixels that all pictures of a half may take, three planes each, while they are read.
const MAX_BYTES: usize = 16 << 30;

/// The treatment of a class without pictures.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Emptiness {
    Refused,
    Allowed,
}

/// Reads pictures, and keeps what is the same for all of them.
pub(super) struct Reader<'a> {
    options: &'a FolderOptions,
    /// The first picture's, unless one was asked for.
    size: Option<(usize, usize)>,
    /// Over the bytes of all files.
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

    /// Reads the pictures of `classes`, whose labels count in the order of `names`.
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

    /// The planes of a picture while it is not known whether any has colour. A network of one channel sees luma.
    fn planes(&self) -> usize {
        self.options.channels.unwrap_or(3)
    }

    /// The planes of a picture, and whether it has colour. `place` is the file's path in the data set.
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
                let reason = format!(
                    "it is {} x {} pixels and others {height} x {width}: say with --image-size what to scale them to",
                    own.0, own.1
                );
                return Err(DataError::Folder { path: path.into(), reason });
            }
            (None, _) => own,
        };
        if !(SIDES.contains(&size.0) && SIDES.contains(&size.1)) {
            let reason = format!(
                "{} x {} pixels are too many to learn from: use --image-size",
                size.0, size.1
            );
            return Err(DataError::Folder { path: path.into(), reason });
        }
        self.size = Some(size);
        self.hasher.update(&bytes);
        let colour = picture.pixels().any(|pixel| pixel.0.iter().any(|shade| *shade != pixel.0[0]));
        let fault = |fault: PictureFault| DataError::Picture { path: path.into(), fault };
        let pixels = picture::fit(&picture, (self.planes(), size.0, size.1)).map_err(fault)?;
        self.listing.push(half, place.into(), sha256(&bytes));
        Ok((pixels, colour))
    }

    /// Notes which of the pictures that were read are for testing.
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
            // Without colour the planes are alike.
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
    /// The pictures, if there are any.
    pub fn not_empty(self, path: &Path, reason: &str) -> Result<Self, DataError> {
        match self.labels.is_empty() {
            true => Err(DataError::Folder { path: path.into(), reason: reason.into() }),
            false => Ok(self),
        }
    }
}

/// Refuses a folder whose pictures would need `bytes` of memory.
fn within_memory(path: &Path, bytes: usize) -> Result<(), DataError> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let reason = format!(
        "with it the pictures need more than {} GiB of memory: scale them down with --image-size, or take fewer",
        MAX_BYTES >> 30
    );
    Err(DataError::Folder { path: path.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder must not take all of the machine's memory before anybody is told.
    #[test]
    fn a_folder_that_is_too_large_is_refused_with_what_to_do() {
        let path = Path::new("train/cat/1.png");
        within_memory(path, MAX_BYTES).unwrap();
        let error = within_memory(path, MAX_BYTES + 1).unwrap_err().to_string();
        assert!(error.contains("train/cat/1.png") && error.contains("--image-size"), "{error}");
    }
}

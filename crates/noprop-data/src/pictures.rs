//! Pictures of one size with their labels, as they are read one after another.

use candle_core::{Device, Tensor};
use image::RgbImage;

use crate::error::{DataError, PictureFault};
use crate::picture;
use crate::split::Split;

/// Pictures of one size with their labels.
#[derive(Default)]
pub(crate) struct Pictures {
    /// The planes of each picture, one after another.
    pixels: Vec<u8>,
    pub labels: Vec<u32>,
    /// True if any picture has colour.
    pub colour: bool,
}

impl Pictures {
    /// Adds a picture, scaled to (planes, H, W) = `shape`, which is the same for all.
    pub fn push(
        &mut self,
        picture: &RgbImage,
        shape: (usize, usize, usize),
        label: u32,
    ) -> Result<(), PictureFault> {
        self.pixels.extend(picture::fit(picture, shape)?);
        self.labels.push(label);
        self.colour = self.colour
            || picture.pixels().any(|pixel| pixel.0.iter().any(|shade| *shade != pixel.0[0]));
        Ok(())
    }

    /// The memory that the pixels take, in bytes.
    pub fn bytes(&self) -> u64 {
        self.pixels.len() as u64
    }

    /// Makes a split of the pictures, which were added with `shape`. It has as many `channels` as they have planes, or one if
    /// none of them has colour.
    pub fn split(
        self,
        (planes, height, width): (usize, usize, usize),
        channels: usize,
        classes: usize,
    ) -> Result<Split, DataError> {
        let (count, plane) = (self.labels.len(), height * width);
        let mut pixels = self.pixels;
        if channels < planes {
            // Without colour all planes are equal.
            let pictures = pixels.chunks_exact((planes * plane).max(1));
            pixels = pictures.flat_map(|planes| planes[..plane].to_vec()).collect();
        }
        let images = Tensor::from_vec(pixels, (count, channels * plane), &Device::Cpu)?;
        let labels = Tensor::from_vec(self.labels, count, &Device::Cpu)?;
        Split::flat(images, labels, (channels, height, width), classes)
    }
}

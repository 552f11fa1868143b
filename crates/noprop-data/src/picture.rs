//! A person's own picture, made to look like an image of a data set.
//!
//! A file is read only if all of its picture is in it, because the decoders would fill in what is missing without an error. The
//! steps, in this order:
//!
//! 1. The size is checked before a pixel is decoded.
//! 2. The orientation that the camera noted is applied.
//! 3. Transparent parts are laid over white, as a viewer shows them.
//! 4. Colour becomes luma for a network of one channel, and grey becomes three equal channels for a network of three.
//! 5. If asked for, light and dark change places.
//! 6. The picture is scaled with a Lanczos filter to fit the wanted size, its aspect ratio kept, and put in the middle. The
//!    rest gets the median shade of the picture's own border. A picture of the wanted size is not resampled: its pixels
//!    arrive unchanged.
//!
//! Nothing is cropped, and nothing is centred by content. Of an animation the first picture is taken.

mod drawing;
mod fit;
mod jpeg;
mod png;
#[cfg(test)]
mod tests;

use std::fs::{self, File, FileType};
use std::io::{Cursor, Read};
use std::path::Path;

use candle_core::{Device, Tensor};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage, Rgba,
};

pub use drawing::drawing;
pub(crate) use fit::fit;
pub use fit::ground;

pub use crate::error::{Content, MAX_PIXELS, MAX_SIDE, PictureFault};
use crate::error::{DataError, MAX_FILE};

const MAX_ALLOC: u64 = 1 << 30;
/// A picture of 16 bits a channel whose values are all below this one has 12 bits, or is a mask. With 8 bits it would be black.
const MIN_HIGHEST: u16 = 1 << 12;

/// The sense of light and dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Polarity {
    /// As in the file. MNIST is light ink on a dark ground.
    #[default]
    AsIs,
    /// Reversed: for dark ink on light paper.
    Inverted,
}

/// Opens a PNG or JPEG of any size, grey or colour, as `[1, C, H, W]`, f32 in 0..=1, for a network that takes
/// (C, H, W) = `wanted`. The [module](self) lists the steps.
///
/// # Errors
/// [`DataError::Read`] if the file cannot be read, [`DataError::Picture`] if it is not a picture that can be used.
pub fn open(
    path: &Path,
    wanted: (usize, usize, usize),
    polarity: Polarity,
) -> Result<Tensor, DataError> {
    let (picture, _) = read(path)?;
    fitted(&picture, wanted, polarity)
        .map_err(|fault| DataError::Picture { path: path.into(), fault })
}

/// As [`open`], for the bytes of a file.
///
/// # Errors
/// [`PictureFault`] if they are not a picture that can be used.
pub fn of_bytes(
    file: &[u8],
    wanted: (usize, usize, usize),
    polarity: Polarity,
) -> Result<Tensor, PictureFault> {
    check_length(file.len() as u64)?;
    fitted(&decode(file)?, wanted, polarity)
}

/// Scales a picture, and returns it as `[1, C, H, W]`.
fn fitted(
    picture: &RgbImage,
    wanted: (usize, usize, usize),
    polarity: Polarity,
) -> Result<Tensor, PictureFault> {
    let bytes = fit(picture, wanted)?;
    let pixels: Vec<f32> = bytes
        .into_iter()
        .map(|shade| match polarity {
            Polarity::AsIs => shade,
            Polarity::Inverted => 255 - shade,
        })
        .map(|shade| f32::from(shade) / 255.0)
        .collect();
    let (channels, height, width) = wanted;
    let image = Tensor::from_vec(pixels, (1, channels, height, width), &Device::Cpu);
    image.map_err(|_| PictureFault::Shape(wanted))
}

/// Reads a picture and the bytes of its file.
pub(crate) fn read(path: &Path) -> Result<(RgbImage, Vec<u8>), DataError> {
    let reading = |source| DataError::Read { path: path.into(), source };
    let fault = |fault| DataError::Picture { path: path.into(), fault };
    // The kind is checked first, because opening a named pipe waits for its writer.
    let metadata = fs::metadata(path).map_err(reading)?;
    check_file(metadata.file_type()).map_err(fault)?;
    check_length(metadata.len()).map_err(fault)?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    let file = File::open(path).map_err(reading)?;
    // The file may be growing.
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(reading)?;
    check_length(bytes.len() as u64).map_err(fault)?;
    let picture = decode(&bytes).map_err(fault)?;
    Ok((picture, bytes))
}

fn check_file(kind: FileType) -> Result<(), PictureFault> {
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(PictureFault::NoFile("a folder"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Err(PictureFault::NoFile("a named pipe"));
        }
        if kind.is_socket() {
            return Err(PictureFault::NoFile("a socket"));
        }
    }
    Err(PictureFault::NoFile("a device"))
}

fn check_length(bytes: u64) -> Result<(), PictureFault> {
    if bytes > MAX_FILE { Err(PictureFault::TooLong(bytes)) } else { Ok(()) }
}

fn check_size(width: u32, height: u32) -> Result<(), PictureFault> {
    if width == 0 || height == 0 {
        return Err(PictureFault::Empty);
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || width.max(height) > MAX_SIDE {
        return Err(PictureFault::TooLarge { width, height });
    }
    Ok(())
}

impl From<ImageError> for PictureFault {
    fn from(error: ImageError) -> Self {
        // A decoder may write several lines.
        let text = error.to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        Self::Damaged(words.join(" "))
    }
}

/// Decodes a PNG or JPEG, after it is known to be complete and of a reasonable size.
pub(crate) fn decode(file: &[u8]) -> Result<RgbImage, PictureFault> {
    let format = image::guess_format(file).ok();
    let format = match format {
        Some(ImageFormat::Png) => png::check(file).map(|()| ImageFormat::Png)?,
        Some(ImageFormat::Jpeg) => jpeg::check(file).map(|()| ImageFormat::Jpeg)?,
        _ => return Err(PictureFault::NoPicture(Content::of(file))),
    };
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    // An orientation that cannot be read is not a reason to refuse the picture.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder)?;
    if let Some(highest @ 1..MIN_HIGHEST) = highest(&picture) {
        return Err(PictureFault::Dark(highest));
    }
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    over_white(picture)
}

/// The highest value of a picture of 16 bits a channel, transparency apart.
fn highest(picture: &DynamicImage) -> Option<u16> {
    let (values, channels, colours) = match picture {
        DynamicImage::ImageLuma16(picture) => (picture.as_raw(), 1, 1),
        DynamicImage::ImageLumaA16(picture) => (picture.as_raw(), 2, 1),
        DynamicImage::ImageRgb16(picture) => (picture.as_raw(), 3, 3),
        DynamicImage::ImageRgba16(picture) => (picture.as_raw(), 4, 3),
        _ => return None,
    };
    values.chunks_exact(channels).flat_map(|pixel| pixel.iter().take(colours)).max().copied()
}

/// Converts a picture to three channels, with white in transparent parts.
fn over_white(picture: DynamicImage) -> Result<RgbImage, PictureFault> {
    if !picture.color().has_alpha() {
        return Ok(picture.into_rgb8());
    }
    let picture = picture.into_rgba8();
    let laid = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let &Rgba([r, g, b, alpha]) = picture.get_pixel(x, y);
        let blend = |shade: u8| {
            let (shade, alpha) = (u32::from(shade), u32::from(alpha));
            // At most 255 · 255 / 255.
            u8::try_from((shade * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
        };
        image::Rgb([blend(r), blend(g), blend(b)])
    });
    let opaque = picture.pixels().all(|pixel| pixel.0[3] == u8::MAX);
    let blank = laid.as_raw().iter().all(|&shade| shade == u8::MAX);
    if blank && !opaque { Err(PictureFault::Invisible) } else { Ok(laid) }
}

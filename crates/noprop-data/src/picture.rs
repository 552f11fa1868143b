//! A person's own picture, made to look like an image of a data set.
//!
//! What is done, in this order: the file's own size is checked before a pixel is decoded; the camera's orientation is
//! applied; transparent parts are laid over white, as a viewer shows them; colour becomes luma for a network of one
//! channel, and grey becomes three equal channels for one of three; if asked, light and dark change places; the picture
//! is scaled with a Lanczos filter to fit the wanted size, its aspect ratio kept, and put in the middle. What is left
//! at the sides gets the median shade of the picture's own border. A picture of the wanted size is not resampled: its
//! pixels arrive unchanged. Nothing is cropped and nothing is centred by content.

use std::fmt;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use candle_core::{Device, Tensor};
use image::imageops::{self, FilterType};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage, Rgba,
};

use crate::DataError;

/// The largest number of pixels that is decoded; cameras make a quarter of it.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The longest side that is decoded.
pub const MAX_SIDE: u32 = 30_000;
const MAX_ALLOC: u64 = 1 << 30;
/// More bytes than this are not read.
const MAX_FILE: u64 = 1 << 29;

/// Which way light and dark are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Polarity {
    /// As in the file. MNIST is light ink on a dark ground.
    #[default]
    AsIs,
    /// Changed over: for dark ink on light paper.
    Inverted,
}

/// Why a file cannot be used as a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureFault {
    /// The file does not start like one.
    NoPicture,
    /// It has no pixels.
    Empty,
    /// It has more pixels than anybody's camera makes.
    TooLarge {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// It starts well and goes on badly.
    Damaged(String),
    /// The wanted size is none, or the network wants a number of channels that no picture has.
    Shape {
        /// (C, H, W) asked for.
        wanted: (usize, usize, usize),
    },
}

impl fmt::Display for PictureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPicture => f.write_str("it is neither PNG nor JPEG; save it as one of them"),
            Self::Empty => f.write_str("it has no pixels"),
            Self::TooLarge { width, height } => write!(
                f,
                "it is {width} x {height} pixels; make it smaller (at most {} million pixels, {MAX_SIDE} a side)",
                MAX_PIXELS / 1_000_000
            ),
            Self::Damaged(reason) => write!(f, "it is damaged or not supported: {reason}"),
            Self::Shape { wanted: (c, h, w) } => write!(
                f,
                "a picture has 1 or 3 channels and at least one pixel, the network wants {c} x {h} x {w}"
            ),
        }
    }
}

/// Opens a PNG or JPEG of any size, grey or colour, as [1, C, H, W] f32 in 0..=1 for a network that takes
/// (C, H, W) = `wanted`; the module says what is done to it.
///
/// # Errors
/// [`DataError::Read`] if the file cannot be read, [`DataError::Picture`] if it is no picture that can be used.
pub fn open(
    path: &Path,
    wanted: (usize, usize, usize),
    polarity: Polarity,
) -> Result<Tensor, DataError> {
    let fault = |fault| DataError::Picture { path: path.into(), fault };
    let (picture, _) = read(path)?;
    let bytes = fit(&picture, wanted).map_err(fault)?;
    let pixels: Vec<f32> = bytes
        .into_iter()
        .map(|shade| match polarity {
            Polarity::AsIs => shade,
            Polarity::Inverted => 255 - shade,
        })
        .map(|shade| f32::from(shade) / 255.0)
        .collect();
    let (channels, height, width) = wanted;
    Ok(Tensor::from_vec(pixels, (1, channels, height, width), &Device::Cpu)?)
}

/// A picture, and the bytes of its file.
pub(crate) fn read(path: &Path) -> Result<(RgbImage, Vec<u8>), DataError> {
    let reading = |source| DataError::Read { path: path.into(), source };
    let fault = |fault| DataError::Picture { path: path.into(), fault };
    let file = std::fs::File::open(path).map_err(reading)?;
    if !file.metadata().map_err(reading)?.is_file() {
        return Err(fault(PictureFault::NoPicture));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(reading)?;
    let picture = decode(Cursor::new(&bytes)).map_err(|failed| match failed {
        Failed::Io(source) => reading(source),
        Failed::Fault(reason) => fault(reason),
    })?;
    Ok((picture, bytes))
}

#[derive(Debug)]
enum Failed {
    Io(std::io::Error),
    Fault(PictureFault),
}

impl From<std::io::Error> for Failed {
    fn from(source: std::io::Error) -> Self {
        Self::Io(source)
    }
}

impl From<ImageError> for Failed {
    fn from(error: ImageError) -> Self {
        // One line, whatever the decoder says.
        let text = error.to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        Self::Fault(PictureFault::Damaged(words.join(" ")))
    }
}

/// Decodes once the size is known to be reasonable.
fn decode(source: impl std::io::BufRead + Seek) -> Result<RgbImage, Failed> {
    let mut reader = ImageReader::new(source).with_guessed_format()?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(Failed::Fault(PictureFault::NoPicture));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Failed::Fault(PictureFault::Empty));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || width.max(height) > MAX_SIDE {
        return Err(Failed::Fault(PictureFault::TooLarge { width, height }));
    }
    // A camera's note that cannot be read is no reason to refuse the picture.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(over_white(picture))
}

/// Three channels; what is transparent becomes white.
fn over_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let &Rgba([r, g, b, alpha]) = picture.get_pixel(x, y);
        let blend = |shade: u8| {
            let (shade, alpha) = (u32::from(shade), u32::from(alpha));
            // At most 255 · 255 / 255.
            u8::try_from((shade * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
        };
        image::Rgb([blend(r), blend(g), blend(b)])
    })
}

/// C · H · W shades, channel by channel.
pub(crate) fn fit(
    picture: &RgbImage,
    (channels, height, width): (usize, usize, usize),
) -> Result<Vec<u8>, PictureFault> {
    let shape = || PictureFault::Shape { wanted: (channels, height, width) };
    let side = |length: usize| u32::try_from(length).ok().filter(|&l| l > 0);
    let (target_height, target_width) = side(height).zip(side(width)).ok_or_else(shape)?;
    let scaled = scale(picture, target_width, target_height);
    let planes: Vec<Vec<u8>> = match channels {
        1 => vec![DynamicImage::ImageRgb8(scaled.clone()).into_luma8().into_raw()],
        3 => (0..3)
            .map(|channel| scaled.pixels().filter_map(|p| p.0.get(channel).copied()).collect())
            .collect(),
        _ => return Err(shape()),
    };
    let (inner_height, inner_width) = (scaled.height() as usize, scaled.width() as usize);
    let (top, left) = ((height - inner_height) / 2, (width - inner_width) / 2);
    let mut values = Vec::with_capacity(channels * height * width);
    for plane in planes {
        let ground = border_median(&plane, inner_width, inner_height);
        let mut square = vec![ground; height * width];
        let rows = square.chunks_exact_mut(width).skip(top);
        for (row, line) in rows.zip(plane.chunks_exact(inner_width)) {
            for (slot, &shade) in row.iter_mut().skip(left).zip(line) {
                *slot = shade;
            }
        }
        values.extend(square);
    }
    Ok(values)
}

/// The largest picture of the same aspect ratio that fits.
fn scale(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (w, h) = picture.dimensions();
    if (w, h) == (width, height) {
        return picture.clone();
    }
    let ratio = (f64::from(width) / f64::from(w)).min(f64::from(height) / f64::from(h));
    let side = |length: u32, most: u32| {
        // In 1..=most, so that the cast cannot cut.
        (f64::from(length) * ratio).round().clamp(1.0, f64::from(most)) as u32
    };
    imageops::resize(picture, side(w, width), side(h, height), FilterType::Lanczos3)
}

/// The shade that the ground of a drawing has, and a fair one for a photograph.
fn border_median(plane: &[u8], width: usize, height: usize) -> u8 {
    let mut border: Vec<u8> = plane
        .chunks_exact(width)
        .enumerate()
        .flat_map(|(y, row)| {
            let edge_row = y == 0 || y + 1 == height;
            row.iter()
                .enumerate()
                .filter(move |&(x, _)| edge_row || x == 0 || x + 1 == width)
                .map(|(_, &shade)| shade)
        })
        .collect();
    border.sort_unstable();
    border.get(border.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{GrayImage, Luma, LumaA, Rgb};
    use proptest::prelude::*;

    use super::*;

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn open_bytes(
        bytes: &[u8],
        wanted: (usize, usize, usize),
        polarity: Polarity,
    ) -> Result<Vec<f32>, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picture");
        std::fs::write(&path, bytes).unwrap();
        let tensor = open(&path, wanted, polarity)?;
        let (c, h, w) = wanted;
        assert_eq!(tensor.dims(), [1, c, h, w]);
        Ok(tensor.flatten_all()?.to_vec1()?)
    }

    /// A PNG of a test image must give the tensor that the network was tested on, bit for bit.
    #[test]
    fn a_picture_of_the_right_size_arrives_unchanged() {
        let shade = |x: u32, y: u32| u8::try_from((x * 28 + y) % 256).unwrap();
        let picture = GrayImage::from_fn(28, 28, |x, y| Luma([shade(x, y)]));
        let expected: Vec<f32> = picture.iter().map(|&p| f32::from(p) / 255.0).collect();
        let bytes = png(picture);
        assert_eq!(open_bytes(&bytes, (1, 28, 28), Polarity::AsIs).unwrap(), expected);
        let inverted = open_bytes(&bytes, (1, 28, 28), Polarity::Inverted).unwrap();
        for (a, b) in inverted.iter().zip(&expected) {
            assert!((a + b - 1.0).abs() < 1e-6);
        }
    }

    /// Interleaved channels, or H and W changed over, would go unnoticed on square grey pictures.
    #[test]
    fn colour_comes_channel_by_channel_and_row_by_row() {
        let picture =
            RgbImage::from_fn(2, 1, |x, _| Rgb([10 + x as u8, 20 + x as u8, 30 + x as u8]));
        let values = open_bytes(&png(picture), (3, 1, 2), Polarity::AsIs).unwrap();
        let expected = [10, 11, 20, 21, 30, 31].map(|p| p as f32 / 255.0);
        assert_eq!(values, expected);
    }

    /// Stretching a tall digit to a square would turn it into another shape; black bars round a scan would be ink.
    #[test]
    fn the_aspect_ratio_is_kept_and_the_ground_goes_on() {
        let paper = 200;
        let picture = GrayImage::from_fn(40, 120, |x, y| {
            let ink = (10..30).contains(&x) && (30..90).contains(&y);
            Luma([if ink { 0 } else { paper }])
        });
        let values = open_bytes(&png(picture), (1, 28, 28), Polarity::Inverted).unwrap();
        let ground = 1.0 - f32::from(paper) / 255.0;
        let row = |y: usize| &values[y * 28..][..28];
        assert!(row(0).iter().all(|v| (v - ground).abs() < 0.02), "{:?}", row(0));
        // 40 x 120 becomes 9 x 28, in the middle; its ink is half as wide.
        let ink = row(14).iter().filter(|&&v| v > 0.6).count();
        assert!((4..=5).contains(&ink), "{:?}", row(14));
        assert!((row(14)[0] - ground).abs() < 1e-6);
    }

    /// An editor's transparent ground is stored as black: without blending, the whole picture would be black.
    #[test]
    fn transparency_is_laid_over_white() {
        let picture =
            image::GrayAlphaImage::from_fn(4, 4, |x, _| LumaA([0, if x == 0 { 255 } else { 0 }]));
        let values = open_bytes(&png(picture), (1, 4, 4), Polarity::AsIs).unwrap();
        assert_eq!(values[..4], [0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn what_is_no_picture_is_refused_with_a_reason() {
        let refused = |bytes: &[u8]| {
            let error = open_bytes(bytes, (1, 28, 28), Polarity::AsIs).unwrap_err();
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            match error {
                DataError::Picture { fault, .. } => fault,
                other => panic!("{other}"),
            }
        };
        assert_eq!(refused(b""), PictureFault::NoPicture);
        assert_eq!(refused(b"GIF89a, not a PNG"), PictureFault::NoPicture);
        let good = png(GrayImage::new(20, 20));
        assert!(matches!(refused(&good[..50]), PictureFault::Damaged(_)));
        // The header alone says 50,000 x 50,000; decoding it would want gigabytes.
        let bomb = with_size(&good, 50_000, 50_000);
        assert_eq!(refused(&bomb), PictureFault::TooLarge { width: 50_000, height: 50_000 });
        assert!(matches!(refused(&with_size(&good, 50_000, 1)), PictureFault::TooLarge { .. }));
        assert!(matches!(
            refused(&with_size(&good, 0, 7)),
            PictureFault::Empty | PictureFault::Damaged(_)
        ));
        let error = open_bytes(&good, (2, 28, 28), Polarity::AsIs).unwrap_err();
        assert!(error.to_string().contains("2 x 28 x 28"), "{error}");
        let error = open_bytes(&good, (1, 0, 28), Polarity::AsIs).unwrap_err();
        assert!(error.to_string().contains("1 x 0 x 28"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path(), (1, 28, 28), Polarity::AsIs).is_err());
    }

    /// The same PNG with another size in its header (bytes 16..24, checksum at 29..33).
    fn with_size(png: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut bytes = png.to_vec();
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Damage at any place is an error or another picture, never a panic.
        #[test]
        fn damaged_files_never_panic(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut jpeg = Cursor::new(Vec::new());
            let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(9, 7, Rgb([1, 2, 3])));
            picture.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
            for mut bytes in [jpeg.into_inner(), png(picture)] {
                let at = at.index(bytes.len());
                bytes[at] = with;
                bytes.truncate(cut.index(bytes.len()) + 1);
                let _ = decode(Cursor::new(bytes));
            }
        }

        #[test]
        fn every_size_fits(w in 1u32..60, h in 1u32..60, height in 1usize..40, width in 1usize..40) {
            let picture = RgbImage::from_pixel(w, h, Rgb([255, 255, 255]));
            let values = fit(&picture, (3, height, width)).unwrap();
            prop_assert_eq!(values.len(), 3 * height * width);
            prop_assert!(values.iter().all(|&v| v == 255));
        }
    }
}

//! Scaling a picture to the size and the channels that a network takes.

use image::imageops::{self, FilterType};
use image::{DynamicImage, RgbImage};

use super::PictureFault;

/// Scales a picture to C · H · W shades, channel by channel. A single channel is the luma of the three.
pub(crate) fn fit(
    picture: &RgbImage,
    wanted: (usize, usize, usize),
) -> Result<Vec<u8>, PictureFault> {
    let (channels, height, width) = wanted;
    let side = |length: usize| u32::try_from(length).ok().filter(|&l| l > 0);
    let (target_height, target_width) =
        side(height).zip(side(width)).ok_or(PictureFault::Shape(wanted))?;
    let scaled = scale(picture, target_width, target_height);
    let (inner_height, inner_width) = (scaled.height() as usize, scaled.width() as usize);
    let planes = match channels {
        1 => vec![DynamicImage::ImageRgb8(scaled).into_luma8().into_raw()],
        3 => {
            let (pixels, _) = scaled.as_raw().as_chunks::<3>();
            (0..3).map(|channel| pixels.iter().map(|pixel| pixel[channel]).collect()).collect()
        }
        _ => return Err(PictureFault::Shape(wanted)),
    };
    let (top, left) = ((height - inner_height) / 2, (width - inner_width) / 2);
    let mut values = Vec::with_capacity(channels * height * width);
    for plane in planes {
        let ground = border_median(&plane, inner_width, inner_height);
        let mut square = vec![ground; height * width];
        let rows = square.chunks_exact_mut(width).skip(top);
        for (row, line) in rows.zip(plane.chunks_exact(inner_width)) {
            row[left..left + inner_width].copy_from_slice(line);
        }
        values.extend(square);
    }
    Ok(values)
}

/// Scales a picture to the largest size of the same aspect ratio that fits.
fn scale(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (w, h) = picture.dimensions();
    if (w, h) == (width, height) {
        return picture.clone();
    }
    let ratio = (f64::from(width) / f64::from(w)).min(f64::from(height) / f64::from(h));
    let side = |length: u32, most: u32| {
        // In 1..=most, so the cast is exact.
        (f64::from(length) * ratio).round().clamp(1.0, f64::from(most)) as u32
    };
    imageops::resize(picture, side(w, width), side(h, height), FilterType::Lanczos3)
}

/// The shade of an image's ground: dark for light ink on a dark ground, light for dark ink on paper.
///
/// `bytes` are those of an image of shape (C, H, W), channel by channel. The shade is the median over the border of the
/// mean over the channels, and 0 for an image without pixels.
pub fn ground(bytes: &[u8], (channels, height, width): (usize, usize, usize)) -> u8 {
    let pixels = height * width;
    let mut sums = vec![0; pixels];
    for plane in bytes.chunks_exact(pixels.max(1)).take(channels) {
        for (sum, &shade) in sums.iter_mut().zip(plane) {
            *sum += usize::from(shade);
        }
    }
    // The mean of bytes is a byte.
    let means: Vec<u8> = sums.iter().map(|sum| (sum / channels.max(1)) as u8).collect();
    border_median(&means, width, height)
}

/// The median shade of the border: the ground of a drawing, and a fair shade for a photograph.
fn border_median(plane: &[u8], width: usize, height: usize) -> u8 {
    let mut border = Vec::with_capacity(2 * (width + height));
    for (y, row) in plane.chunks_exact(width.max(1)).enumerate() {
        match row {
            [left, .., right] if y > 0 && y + 1 < height => border.extend([left, right]),
            _ => border.extend(row),
        }
    }
    border.sort_unstable();
    border.get(border.len() / 2).copied().unwrap_or_default()
}

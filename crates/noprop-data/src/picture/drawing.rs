//! A digit that a person has drawn, made to look like one of MNIST.

use image::imageops::{self, FilterType};
use image::{GrayImage, Luma};

use super::PictureFault;

/// The side of the box that MNIST's digits fill, for a picture of 28 pixels.
const BOX: f64 = 20.0 / 28.0;
/// The largest side of a drawing.
const MAX_SIDE: usize = 1024;

/// Returns the drawing as an image of `size` × `size` shades, made as the digits of MNIST were: the ink is cut out and scaled to fit a
/// box of 20 of 28 pixels with its aspect ratio kept, and the box is moved until its centre of mass is in the middle. Thin ink would be
/// fainter than MNIST's, so the shades are stretched until the strongest is white.
///
/// `ink` holds `side` × `side` values row by row, 0 for no ink and 255 for full ink. A drawing without ink is black.
///
/// # Errors
/// [`PictureFault::Shape`] if `ink` does not have that size or the side is above 1024, [`PictureFault::Empty`] if a side is 0.
pub fn drawing(ink: &[u8], side: usize, size: usize) -> Result<Vec<u8>, PictureFault> {
    if side == 0 || size == 0 {
        return Err(PictureFault::Empty);
    }
    let shape = || PictureFault::Shape((1, side, side));
    if side > MAX_SIDE || size > MAX_SIDE || ink.len() != side * side {
        return Err(shape());
    }
    let length = |side: usize| u32::try_from(side).map_err(|_| shape());
    let page = GrayImage::from_raw(length(side)?, length(side)?, ink.to_vec()).ok_or_else(shape)?;
    let mut image = GrayImage::new(length(size)?, length(size)?);
    let Some((left, top, width, height)) = bounds(&page) else { return Ok(image.into_raw()) };
    let cut = imageops::crop_imm(&page, left, top, width, height).to_image();
    let ratio = size as f64 * BOX / f64::from(width.max(height));
    // At most the size of the image, so the cast is exact.
    let scaled = |length: u32| (f64::from(length) * ratio).round().max(1.0) as u32;
    let mut digit = imageops::resize(&cut, scaled(width), scaled(height), FilterType::Triangle);
    let strongest = digit.pixels().map(|pixel| pixel.0[0]).max().unwrap_or(0).max(1);
    for Luma([shade]) in digit.pixels_mut() {
        *shade = u8::try_from(u32::from(*shade) * 255 / u32::from(strongest)).unwrap_or(u8::MAX);
    }
    let (x, y) = centre_of_mass(&digit);
    let middle = size as f64 / 2.0;
    let place = |centre: f64| (middle - centre).round() as i64;
    imageops::replace(&mut image, &digit, place(x), place(y));
    Ok(image.into_raw())
}

/// Returns left, top, width and height of the ink.
fn bounds(page: &GrayImage) -> Option<(u32, u32, u32, u32)> {
    let inked = || page.enumerate_pixels().filter(|(.., pixel)| pixel.0[0] > 0);
    let (left, right) = (inked().map(|(x, ..)| x).min()?, inked().map(|(x, ..)| x).max()?);
    let (top, bottom) = (inked().map(|(_, y, _)| y).min()?, inked().map(|(_, y, _)| y).max()?);
    Some((left, top, right - left + 1, bottom - top + 1))
}

/// Returns the centre of mass in pixels from the left upper corner. The image has ink.
fn centre_of_mass(digit: &GrayImage) -> (f64, f64) {
    let (mut mass, mut x, mut y) = (0.0, 0.0, 0.0);
    for (column, row, pixel) in digit.enumerate_pixels() {
        let shade = f64::from(pixel.0[0]);
        mass += shade;
        x += shade * (f64::from(column) + 0.5);
        y += shade * (f64::from(row) + 0.5);
    }
    (x / mass, y / mass)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of 100 × 100 with a block of ink.
    fn block(left: usize, top: usize, width: usize, height: usize) -> Vec<u8> {
        let inked = |x, y| (left..left + width).contains(&x) && (top..top + height).contains(&y);
        let pixels = (0..100 * 100).map(|at| if inked(at % 100, at / 100) { 200 } else { 0 });
        pixels.collect()
    }

    /// A small digit in a corner and a large one in the middle are the same image, as MNIST has it.
    #[test]
    fn size_and_place_do_not_matter() {
        let small = drawing(&block(3, 5, 10, 20), 100, 28).unwrap();
        let large = drawing(&block(40, 10, 40, 80), 100, 28).unwrap();
        assert_eq!(small, large);
        let rows: Vec<usize> = (0..28).filter(|y| small[y * 28 + 14] > 0).collect();
        let columns: Vec<usize> = (0..28).filter(|x| small[14 * 28 + x] > 0).collect();
        assert_eq!((rows[0], rows.len(), columns[0], columns.len()), (4, 20, 9, 10));
        assert_eq!(small[14 * 28 + 14], 255);
    }

    #[test]
    fn hostile_sizes_are_refused_and_no_ink_is_black() {
        assert_eq!(drawing(&[0; 100], 10, 28).unwrap(), [0; 784]);
        assert!(matches!(drawing(&[], 0, 28), Err(PictureFault::Empty)));
        assert!(matches!(drawing(&[0; 99], 10, 28), Err(PictureFault::Shape(_))));
        assert!(drawing(&[1], usize::MAX, 28).is_err());
        assert!(drawing(&block(0, 0, 1, 100), 100, 28).is_ok());
    }
}

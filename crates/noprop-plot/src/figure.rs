//! The interface of a figure, and the files that are made of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use noprop_files::write_atomically;
use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;
use plotters::prelude::DrawingBackend;

use crate::canvas::Canvas;
use crate::picture::Placed;
use crate::{PlotError, font};

/// Something that can be drawn.
pub trait Figure {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// The pictures in it, which lie below everything else.
    fn pictures(&self) -> Vec<Placed<'_>> {
        Vec::new()
    }

    /// Draws everything except the pictures on a canvas of that size.
    ///
    /// # Errors
    /// [`PlotError::Empty`] if there is nothing to draw.
    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError>;
}

/// Writes `stem`.png and `stem`.svg, each whole or not at all, and returns their paths.
///
/// # Errors
/// [`PlotError`]; existing files are then unchanged.
pub fn save(figure: &impl Figure, stem: &Path) -> Result<[PathBuf; 2], PlotError> {
    font::register()?;
    let size = figure.size();
    let png = raster(figure, size)?;
    let svg = vector(figure, size)?;
    let paths = [stem.with_extension("png"), stem.with_extension("svg")];
    for (path, bytes) in paths.iter().zip([png.as_slice(), svg.as_bytes()]) {
        write_atomically(path, |file| file.write_all(bytes))
            .map_err(|source| PlotError::File { path: path.clone(), source })?;
    }
    Ok(paths)
}

fn raster(figure: &impl Figure, size: (u32, u32)) -> Result<Vec<u8>, PlotError> {
    let row = size.0 as usize * 3;
    let mut pixels = vec![255u8; row * size.1 as usize];
    for placed in figure.pictures() {
        let ((left, top), width) = (placed.origin(), placed.size().0 as usize * 3);
        let rows = pixels.chunks_exact_mut(row).skip(top.max(0) as usize);
        for (row, line) in rows.zip(placed.pixels().chunks_exact(width)) {
            let start = left.max(0) as usize * 3;
            if let Some(place) = row.get_mut(start..start + width) {
                place.copy_from_slice(line);
            }
        }
    }
    {
        let canvas = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        figure.draw(&canvas)?;
        canvas.present()?;
    }
    encode(&pixels, size)
}

/// A PNG of three bytes per pixel.
fn encode(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, PlotError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let draw = |error: png::EncodingError| PlotError::Draw(error.to_string());
    let mut writer = encoder.write_header().map_err(draw)?;
    writer.write_image_data(pixels).map_err(draw)?;
    writer.finish().map_err(draw)?;
    Ok(bytes)
}

fn vector(figure: &impl Figure, size: (u32, u32)) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
        canvas.fill(&plotters::style::WHITE)?;
        figure.draw(&canvas)?;
        canvas.present()?;
    }
    // A picture drawn as one rectangle per pixel would be a hundred times as large as a PNG within the SVG.
    let mut pictures = String::new();
    for placed in figure.pictures() {
        let ((left, top), (width, height)) = (placed.origin(), placed.size());
        let (size, pixels) = placed.own_pixels();
        let data = base64(&encode(&pixels, size)?);
        // Writing to a string does not fail.
        let _ = writeln!(
            pictures,
            r#"<image x="{left}" y="{top}" width="{width}" height="{height}" preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>"#
        );
    }
    // Above the white ground, which is the first element, and below everything else.
    let ground = "/>\n";
    let above = text.find(ground).map_or(text.len(), |at| at + ground.len());
    text.insert_str(above, &pictures);
    Ok(text)
}

/// Bytes as base64 (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    /// The examples of RFC 4648.
    #[test]
    fn base64_is_that_of_the_standard() {
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let coded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(cases.map(|text| base64(text.as_bytes())), coded);
    }
}

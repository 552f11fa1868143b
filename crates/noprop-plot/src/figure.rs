//! The interface of a figure, and the files that are made of it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use noprop_files::{Unfinished, folder_of, sync_directory};
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

/// The first `most` of `all`, which are drawn, and if there are more a remark, such as "the first 40 of 50 rows".
pub(crate) fn first<'a, T>(all: &'a [T], most: usize, name: &str) -> (&'a [T], String) {
    match all.get(..most) {
        Some(first) if first.len() < all.len() => {
            (first, format!("the first {most} of {} {name}", all.len()))
        }
        _ => (all, String::new()),
    }
}

/// The path of a figure in a format: `stem` with `ending` added, or in the place of another figure's.
fn path_of(stem: &Path, ending: &str) -> PathBuf {
    let is_figure = |there: &OsStr| ["png", "svg"].iter().any(|it| there.eq_ignore_ascii_case(it));
    if stem.extension().is_some_and(is_figure) {
        return stem.with_extension(ending);
    }
    let mut name = stem.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    stem.with_file_name(name)
}

/// Writes `stem`.png and `stem`.svg, each whole or not at all, and returns their paths. Both are on the disk before one has its name.
///
/// # Errors
/// [`PlotError`]; existing files are then unchanged, unless the system refuses to rename the second of two whole files, or to sync
/// their folder.
pub fn save(figure: &impl Figure, stem: &Path) -> Result<[PathBuf; 2], PlotError> {
    font::register()?;
    let size = figure.size();
    let png = raster(figure, size)?;
    let svg = vector(figure, size)?;
    let paths = ["png", "svg"].map(|ending| path_of(stem, ending));
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| PlotError::File { path, source }
    };
    let mut whole = Vec::new();
    for (path, bytes) in paths.iter().zip([png.as_slice(), svg.as_bytes()]) {
        whole.push(unfinished(path, bytes).map_err(failed(path))?);
    }
    for (path, file) in paths.iter().zip(whole) {
        file.persist(path).map_err(failed(path))?;
    }
    let [path, _] = &paths;
    sync_directory(folder_of(path)).map_err(failed(path))?;
    Ok(paths)
}

/// Writes the content of the file `path` to the disk, under another name.
fn unfinished(path: &Path, bytes: &[u8]) -> io::Result<Unfinished> {
    // It could not be replaced, and the other file would be by then.
    if path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut file = Unfinished::create(folder_of(path))?;
    file.write_all(bytes)?;
    file.sync()?;
    Ok(file)
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
        let data = BASE64_STANDARD.encode(encode(&pixels, size)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of two runs must not have one name.
    #[test]
    fn a_figure_keeps_the_whole_name() {
        let of = |stem: &str| path_of(Path::new(stem), "svg");
        assert_eq!(of("a/lr0.01"), Path::new("a/lr0.01.svg"));
        assert_eq!(of("a/curve.png"), Path::new("a/curve.svg"));
        assert_eq!(of("curve"), Path::new("curve.svg"));
        assert_eq!(of("a/curve/"), Path::new("a/curve.svg"));
        assert_eq!(of("curve.PNG"), Path::new("curve.svg"));
    }
}

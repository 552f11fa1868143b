//! A figure, and how it becomes files.

use std::io::Write;
use std::path::{Path, PathBuf};

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::style;

/// Where a figure is drawn.
pub type Canvas<B> = DrawingArea<B, Shift>;

/// Something that can be drawn.
pub trait Figure {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws on a white canvas of that size.
    ///
    /// # Errors
    /// [`PlotError::Empty`] if there is nothing to draw.
    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError>;
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self::Draw(error.to_string())
    }
}

/// Writes `stem`.png and `stem`.svg, each whole or not at all, and returns their paths.
///
/// # Errors
/// [`PlotError`]; files that were there are then untouched.
pub fn save(figure: &impl Figure, stem: &Path) -> Result<[PathBuf; 2], PlotError> {
    style::register_fonts()?;
    let size = figure.size();
    let png = raster(figure, size)?;
    let svg = vector(figure, size)?;
    let paths = [stem.with_extension("png"), stem.with_extension("svg")];
    for (path, bytes) in paths.iter().zip([png.as_slice(), svg.as_bytes()]) {
        write(path, bytes)?;
    }
    Ok(paths)
}

fn raster(figure: &impl Figure, (width, height): (u32, u32)) -> Result<Vec<u8>, PlotError> {
    let mut pixels = vec![255u8; width as usize * height as usize * 3];
    {
        let canvas = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        figure.draw(&canvas)?;
        canvas.present()?;
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let draw = |error: png::EncodingError| PlotError::Draw(error.to_string());
    let mut writer = encoder.write_header().map_err(draw)?;
    writer.write_image_data(&pixels).map_err(draw)?;
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
    Ok(text)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PlotError> {
    let failed = |source| PlotError::File { path: path.into(), source };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".unfinished-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // tempfile makes files for their owner alone; a figure is an ordinary file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

//! A small picture that is drawn as part of a figure.

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::figure::Canvas;
use crate::{PlotError, style};

/// A grey or colour picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    channels: u32,
    bytes: Vec<u8>,
}

/// Larger pictures than this are not drawn pixel by pixel.
const MAX_SIDE: u32 = 512;

impl Picture {
    /// `bytes` in row order, the channels of a pixel together; `channels` is 1 (grey) or 3 (RGB).
    ///
    /// # Errors
    /// [`PlotError::Picture`] if the bytes do not fit, or a side is 0 or above 512.
    pub fn new(width: u32, height: u32, channels: u32, bytes: Vec<u8>) -> Result<Self, PlotError> {
        let sides = 1..=MAX_SIDE;
        let fits = sides.contains(&width)
            && sides.contains(&height)
            && matches!(channels, 1 | 3)
            && bytes.len() == (width * height * channels) as usize;
        if fits {
            Ok(Self { width, height, channels, bytes })
        } else {
            Err(PlotError::Picture { width, height, channels, bytes: bytes.len() })
        }
    }

    /// Draws the picture as large as it fits into a square of `side` pixels, centred, with its outline.
    pub(crate) fn draw<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        (left, top): (i32, i32),
        side: i32,
    ) -> Result<(), PlotError> {
        let longest = self.width.max(self.height);
        let edge = |place: u32, length: u32| {
            let scaled = f64::from(side) * f64::from(place) / f64::from(longest);
            let margin = f64::from(side) * f64::from(longest - length) / f64::from(longest) / 2.0;
            (scaled + margin).round() as i32
        };
        let (size, width) = (self.channels as usize, self.width as usize);
        for (row, y) in self.bytes.chunks_exact(size * width).zip(0u32..) {
            let pixels: Vec<&[u8]> = row.chunks_exact(size).collect();
            let mut x = 0u32;
            // Neighbours of one colour are one rectangle: a fifth of the file.
            for run in pixels.chunk_by(|a, b| a == b) {
                let end = x + run.len() as u32;
                let colour = match run.first() {
                    Some(&&[r, g, b]) => RGBColor(r, g, b),
                    Some(&&[grey]) => RGBColor(grey, grey, grey),
                    _ => continue,
                };
                let corners = [
                    (left + edge(x, self.width), top + edge(y, self.height)),
                    (left + edge(end, self.width), top + edge(y + 1, self.height)),
                ];
                canvas.draw(&Rectangle::new(corners, colour.filled()))?;
                x = end;
            }
        }
        let frame = [(left, top), (left + side, top + side)];
        canvas.draw(&Rectangle::new(frame, style::GRID))?;
        Ok(())
    }
}

//! Images with predicted and true labels.

use plotters::element::{Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::Color;

use crate::figure::{Canvas, Figure};
use crate::style::{self, Anchor};
use crate::{Picture, PlotError};

/// One image with its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The image.
    pub picture: Picture,
    /// What the network says.
    pub predicted: String,
    /// What it is.
    pub truth: String,
}

/// Images in rows; wrong answers are framed and written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleGrid {
    /// Says what is shown.
    pub title: String,
    /// In reading order.
    pub samples: Vec<Sample>,
    /// Images a row.
    pub columns: usize,
}

const SIDE: i32 = 112;
const GAP: i32 = 16;
const WORDS: i32 = 26;
const TOP: i32 = 56;

impl SampleGrid {
    fn columns(&self) -> i32 {
        self.columns.clamp(1, 20) as i32
    }
}

impl Figure for SampleGrid {
    fn size(&self) -> (u32, u32) {
        let columns = self.columns();
        let rows = (self.samples.len().min(400) as i32 + columns - 1) / columns;
        let width = (GAP + columns * (SIDE + GAP)).max(640);
        (width as u32, (TOP + rows * (SIDE + WORDS + GAP) + GAP) as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.samples.is_empty() {
            return Err(PlotError::Empty { what: "no images" });
        }
        let title = style::bold(style::TITLE, style::INK, Anchor::Left);
        canvas.draw(&Text::new(style::shortened(&self.title, 80), (GAP, TOP / 2), title))?;
        for (index, sample) in (0..).zip(self.samples.iter().take(400)) {
            let (row, column) = (index / self.columns(), index % self.columns());
            let left = GAP + column * (SIDE + GAP);
            let top = TOP + row * (SIDE + WORDS + GAP);
            sample.picture.draw(canvas, (left, top), SIDE)?;
            let right = sample.predicted == sample.truth;
            let (words, colour) = if right {
                (style::shortened(&sample.predicted, 12), style::INK)
            } else {
                let (said, is) = (&sample.predicted, &sample.truth);
                let words =
                    format!("{} (is {})", style::shortened(said, 5), style::shortened(is, 5));
                (words, style::VERMILION)
            };
            if !right {
                for grown in 1..=3 {
                    let corners =
                        [(left - grown, top - grown), (left + SIDE + grown, top + SIDE + grown)];
                    canvas.draw(&Rectangle::new(corners, colour.stroke_width(1)))?;
                }
            }
            let at = (left + SIDE / 2, top + SIDE + WORDS / 2 + 2);
            canvas.draw(&Text::new(
                words,
                at,
                style::text(style::LABEL, colour, Anchor::Centre),
            ))?;
        }
        Ok(())
    }
}

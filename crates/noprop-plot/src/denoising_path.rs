//! Class probabilities along the chain of blocks.

use plotters::element::{Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::figure::{Canvas, Figure};
use crate::style::{self, Anchor};
use crate::{Picture, PlotError};

/// One image on its way through the blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct PathSample {
    /// The image.
    pub picture: Picture,
    /// Its true class, an index into the class names.
    pub truth: usize,
    /// Class probabilities after each block: `probabilities[block][class]`.
    pub probabilities: Vec<Vec<f64>>,
}

/// A strip an image: blocks from left to right, classes from top to bottom, darker for likelier.
#[derive(Debug, Clone, PartialEq)]
pub struct DenoisingPath {
    /// Says what is shown.
    pub title: String,
    /// One a class.
    pub class_names: Vec<String>,
    /// Few: each is a strip of the figure.
    pub samples: Vec<PathSample>,
}

const LEFT: i32 = 20;
const SIDE: i32 = 150;
const TOP: i32 = 70;
const GAP: i32 = 34;
const MAX_SAMPLES: usize = 20;

impl DenoisingPath {
    fn row(&self) -> i32 {
        (240 / self.class_names.len().max(1) as i32).clamp(3, 24)
    }

    fn strip(&self) -> i32 {
        (self.row() * self.class_names.len() as i32).max(SIDE)
    }

    fn blocks(&self) -> i32 {
        self.samples.iter().map(|sample| sample.probabilities.len()).max().unwrap_or(1).max(1)
            as i32
    }

    fn column(&self) -> i32 {
        (640 / self.blocks()).clamp(4, 64)
    }
}

impl Figure for DenoisingPath {
    fn size(&self) -> (u32, u32) {
        let width = LEFT + SIDE + 130 + self.column() * self.blocks() + 140;
        let samples = self.samples.len().min(MAX_SAMPLES) as i32;
        let height = TOP + samples * (self.strip() + GAP) + 40;
        (width.max(760) as u32, height as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.samples.is_empty() || self.class_names.is_empty() {
            return Err(PlotError::Empty { what: "no images" });
        }
        let title = style::bold(style::TITLE, style::INK, Anchor::Left);
        canvas.draw(&Text::new(style::shortened(&self.title, 90), (LEFT, 24), title))?;
        let words = "each column is a block, darker is likelier, the true class is outlined";
        let faint = style::text(style::TICK, style::FAINT, Anchor::Left);
        canvas.draw(&Text::new(words, (LEFT, 50), faint))?;
        for (index, sample) in (0..).zip(self.samples.iter().take(MAX_SAMPLES)) {
            let top = TOP + index * (self.strip() + GAP);
            self.draw_strip(canvas, sample, top)?;
        }
        Ok(())
    }
}

impl DenoisingPath {
    fn draw_strip<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        sample: &PathSample,
        top: i32,
    ) -> Result<(), PlotError> {
        let (row, column) = (self.row(), self.column());
        let left = LEFT + SIDE + 130;
        sample.picture.draw(canvas, (LEFT, top), SIDE)?;
        let every = (16 / row).max(1) as usize;
        for (class, name) in self.class_names.iter().enumerate() {
            let true_class = class == sample.truth;
            let crowded = every > 1 && class.abs_diff(sample.truth) < every;
            if !true_class && (crowded || class % every != 0) {
                continue;
            }
            let colour = if true_class { style::VERMILION } else { style::FAINT };
            let at = (left - 8, top + class as i32 * row + row / 2);
            let style = style::text(13.0, colour, Anchor::Right);
            canvas.draw(&Text::new(style::shortened(name, 14), at, style))?;
        }
        let label_below = |at: i32, text: String| -> Result<(), PlotError> {
            let place = (left + at, top + row * self.class_names.len() as i32 + 12);
            let style = style::text(13.0, style::FAINT, Anchor::Centre);
            canvas.draw(&Text::new(text, place, style))?;
            Ok(())
        };
        let blocks = sample.probabilities.len();
        let label_every = blocks.div_ceil(12).max(1);
        for (block, probabilities) in sample.probabilities.iter().enumerate() {
            let x = left + block as i32 * column;
            for (class, &p) in probabilities.iter().take(self.class_names.len()).enumerate() {
                let y = top + class as i32 * row;
                let corners = [(x, y), (x + column, y + row)];
                canvas.draw(&Rectangle::new(corners, style::intensity(p).filled()))?;
                if row >= 12 && column >= 12 {
                    canvas.draw(&Rectangle::new(corners, style::GRID))?;
                }
                if row >= 16 && column >= 44 && p >= 0.05 {
                    let ink = if p > 0.55 { RGBColor(255, 255, 255) } else { style::INK };
                    let at = (x + column / 2, y + row / 2);
                    let style = style::text(12.0, ink, Anchor::Centre);
                    canvas.draw(&Text::new(format!("{:.0} %", 100.0 * p), at, style))?;
                }
            }
            if block % label_every == 0 || block + 1 == blocks {
                let prefix = if block == 0 { "block 1" } else { "" };
                let text = if block == 0 { prefix.to_owned() } else { (block + 1).to_string() };
                label_below(block as i32 * column + column / 2, text)?;
            }
        }
        if sample.truth < self.class_names.len() {
            let y = top + sample.truth as i32 * row;
            let corners = [(left, y), (left + blocks as i32 * column, y + row)];
            canvas.draw(&Rectangle::new(corners, style::VERMILION.stroke_width(2)))?;
        }
        Ok(())
    }
}

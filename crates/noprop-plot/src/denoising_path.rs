//! Class probabilities along the chain of blocks.

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::canvas::Canvas;
use crate::class_label::{self, labels};
use crate::figure::Figure;
use crate::font::{Anchor, Face, head, head_width};
use crate::picture::Placed;
use crate::{Picture, PlotError, style};

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

/// One strip per image: blocks from left to right, classes from top to bottom, darker for likelier.
#[derive(Debug, Clone, PartialEq)]
pub struct DenoisingPath {
    /// The title of the figure.
    pub title: String,
    /// One per class.
    pub class_names: Vec<String>,
    /// The images, one strip each; there should be few.
    pub samples: Vec<PathSample>,
}

const LEFT: i32 = 20;
const SIDE: i32 = 150;
/// Room for the names of classes.
const NAMES: i32 = 130;
const TOP: i32 = 76;
const GAP: i32 = 34;
const SMALL: Face = Face::regular(13.0);
/// The most images in a figure.
const MOST_SAMPLES: usize = 20;
/// The most classes of a strip; of more, the likeliest are shown.
const MOST_CLASSES: usize = 20;
/// The most blocks of a strip; of more, every k-th is shown.
const MOST_BLOCKS: usize = 160;

impl DenoisingPath {
    fn shown(&self) -> &[PathSample] {
        self.samples.get(..MOST_SAMPLES).unwrap_or(&self.samples)
    }

    /// Classes in a strip.
    fn rows(&self) -> i32 {
        self.class_names.len().min(MOST_CLASSES) as i32
    }

    /// The height of a class.
    fn row(&self) -> i32 {
        (240 / self.rows().max(1)).clamp(16, 24)
    }

    fn strip(&self) -> i32 {
        (self.row() * self.rows()).max(SIDE)
    }

    /// The top of each strip.
    fn tops(&self) -> impl Iterator<Item = i32> {
        let height = self.strip() + GAP;
        (0..).map(move |index| TOP + index * height)
    }

    /// Blocks of the longest path.
    fn blocks(&self) -> usize {
        self.shown().iter().map(|sample| sample.probabilities.len()).max().unwrap_or(1).max(1)
    }

    /// The distance between blocks that are shown.
    fn every(&self) -> usize {
        self.blocks().div_ceil(MOST_BLOCKS)
    }

    /// The width of a block.
    fn column(&self) -> i32 {
        (640 / self.blocks().div_ceil(self.every()) as i32).clamp(4, 64)
    }

    /// The classes of a sample's strip, in their order: all, or the true one and those to which some block gives a high probability.
    fn classes(&self, sample: &PathSample) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..self.class_names.len()).collect();
        if classes.len() > MOST_CLASSES {
            let likeliest = |class: usize| {
                let over_blocks = sample.probabilities.iter().filter_map(|block| block.get(class));
                over_blocks.copied().fold(0.0, f64::max)
            };
            let rank: Vec<f64> = classes.iter().map(|&class| likeliest(class)).collect();
            classes.sort_by(|&a, &b| {
                (b == sample.truth).cmp(&(a == sample.truth)).then(rank[b].total_cmp(&rank[a]))
            });
            classes.truncate(MOST_CLASSES);
            classes.sort_unstable();
        }
        classes
    }

    fn remark(&self) -> String {
        let blocks = match self.every() {
            1 => "each column is a block".to_owned(),
            every => format!("each column is one in {every} of {} blocks", self.blocks()),
        };
        let classes = match self.class_names.len() {
            ..=MOST_CLASSES => String::new(),
            all => format!("; of {all} classes the {MOST_CLASSES} likeliest"),
        };
        format!("{blocks}, darker is likelier, the true class is outlined{classes}")
    }
}

impl Figure for DenoisingPath {
    fn size(&self) -> (u32, u32) {
        let columns = self.blocks().div_ceil(self.every()) as i32;
        let width = LEFT + SIDE + NAMES + self.column() * columns + 40;
        let height = TOP + self.shown().len() as i32 * (self.strip() + GAP) + 10;
        let width = width.max(head_width(&self.title, &self.remark()));
        (width.unsigned_abs(), height.unsigned_abs())
    }

    fn pictures(&self) -> Vec<Placed<'_>> {
        let places = self.shown().iter().zip(self.tops());
        let placed = places.map(|(sample, top)| Placed {
            picture: &sample.picture,
            corner: (LEFT, top),
            side: SIDE.unsigned_abs(),
        });
        placed.collect()
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.samples.is_empty() || self.class_names.is_empty() {
            return Err(PlotError::Empty { what: "no images" });
        }
        head(canvas, &self.title, &self.remark())?;
        let names = self.class_names.iter().map(String::as_str);
        let labels = labels(names, class_label::CLASSES, SMALL, f64::from(NAMES - 16));
        for (sample, top) in self.shown().iter().zip(self.tops()) {
            let frame = [(LEFT, top), (LEFT + SIDE, top + SIDE)];
            canvas.draw(&Rectangle::new(frame, style::GRID))?;
            self.draw_strip(canvas, sample, top, &labels)?;
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
        labels: &[String],
    ) -> Result<(), PlotError> {
        let (row, column) = (self.row(), self.column());
        let left = LEFT + SIDE + NAMES;
        let classes = self.classes(sample);
        // The last block is always shown, and those at the chosen distance before it.
        let last = sample.probabilities.len().saturating_sub(1);
        let shown = sample.probabilities.iter().enumerate().skip(last % self.every());
        let blocks: Vec<_> = (0..).zip(shown.step_by(self.every())).collect();
        let right = left + blocks.len() as i32 * column;
        let label_every = (60 / column).max(1);
        for &(place, (block, probabilities)) in &blocks {
            let x = left + place * column;
            for (y, &class) in (0..).map(|place| top + place * row).zip(&classes) {
                let p = probabilities.get(class).copied().unwrap_or(0.0);
                let corners = [(x, y), (x + column, y + row)];
                canvas.draw(&Rectangle::new(corners, style::intensity(p).filled()))?;
                if column >= 12 {
                    canvas.draw(&Rectangle::new(corners, style::GRID))?;
                }
                if column >= 44 && p >= 0.05 {
                    let ink = if p > 0.55 { RGBColor(255, 255, 255) } else { style::INK };
                    let at = (x + column / 2, y + row / 2);
                    let words = format!("{:.0} %", 100.0 * p);
                    Face::regular(12.0).pen(ink, Anchor::Centre).write(canvas, at, &words)?;
                }
            }
            let is_last = block == last;
            // Leaves room for the number of the last block.
            let has_room = place % label_every == 0 && x + 30 < right - column;
            if is_last || has_room {
                let words = if place == 0 {
                    format!("block {}", block + 1)
                } else {
                    (block + 1).to_string()
                };
                let at = (x + column / 2, top + row * self.rows() + 12);
                SMALL.pen(style::FAINT, Anchor::Centre).write(canvas, at, &words)?;
            }
        }
        let end = (right, top + row * self.rows());
        canvas.draw(&Rectangle::new([(left, top), end], style::GRID))?;
        for (y, &class) in (0..).map(|place| top + place * row).zip(&classes) {
            let is_true = class == sample.truth;
            let colour = if is_true { style::VERMILION } else { style::FAINT };
            if let Some(label) = labels.get(class) {
                let at = (left - 8, y + row / 2);
                SMALL.pen(colour, Anchor::Right).write(canvas, at, label)?;
            }
            if is_true {
                let corners = [(left, y), (right, y + row)];
                canvas.draw(&Rectangle::new(corners, colour.stroke_width(2)))?;
            }
        }
        Ok(())
    }
}

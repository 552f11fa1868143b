//! Images with predicted and true labels.

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;
use plotters::style::Color;

use crate::canvas::Canvas;
use crate::class_label::{self, labels};
use crate::figure::{Figure, first};
use crate::font::{Anchor, LABEL, head, head_width};
use crate::picture::Placed;
use crate::{Picture, PlotError, style};

/// One image with its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The image.
    pub picture: Picture,
    /// The network's answer, an index into the class names.
    pub predicted: usize,
    /// The true class.
    pub truth: usize,
}

/// Images in rows; wrong answers have a frame and the true label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleGrid {
    /// The title of the figure.
    pub title: String,
    /// One per class.
    pub class_names: Vec<String>,
    /// In reading order.
    pub samples: Vec<Sample>,
    /// Images per row.
    pub columns: usize,
}

const SIDE: i32 = 112;
const GAP: i32 = 16;
/// A line of text below an image.
const LINE: i32 = 20;
const TOP: i32 = 72;
/// The width of words below an image.
const ROOM: f64 = (SIDE + GAP - 6) as f64;
/// The most images in a figure.
const MOST: usize = 400;

/// The layout of an answer.
#[derive(Clone, Copy)]
enum Layout {
    /// On one line: "cat (is dog)".
    Line,
    /// On two lines: "cat", and below it "is dog".
    TwoLines,
}

impl SampleGrid {
    fn shown(&self) -> (&[Sample], String) {
        first(&self.samples, MOST, "images")
    }

    fn columns(&self) -> i32 {
        self.columns.min(self.samples.len()).clamp(1, 20) as i32
    }

    /// Labels of the classes, and the layout of wrong answers with them.
    fn labels(&self) -> (Vec<String>, Layout) {
        let names = self.class_names.iter().map(String::as_str);
        let labels = labels(names, class_label::CLASSES, LABEL, ROOM - LABEL.width("is "));
        let (shown, _) = self.shown();
        let mut wrong = shown.iter().filter(|sample| sample.predicted != sample.truth);
        let fits = |sample: &Sample| {
            let words = format!(
                "{} (is {})",
                label(&labels, sample.predicted),
                label(&labels, sample.truth)
            );
            LABEL.width(&words) <= ROOM
        };
        let layout = if wrong.all(fits) { Layout::Line } else { Layout::TwoLines };
        (labels, layout)
    }

    /// The height of a row.
    fn row(layout: Layout) -> i32 {
        SIDE + GAP
            + match layout {
                Layout::Line => LINE + 6,
                Layout::TwoLines => 2 * LINE + 6,
            }
    }

    /// Left and top of each image.
    fn corners(&self, layout: Layout) -> impl Iterator<Item = (i32, i32)> {
        let (columns, row) = (self.columns(), Self::row(layout));
        (0..).map(move |index| (GAP + index % columns * (SIDE + GAP), TOP + index / columns * row))
    }
}

/// The label of a class, or its number if it has no name.
fn label(labels: &[String], class: usize) -> String {
    labels.get(class).cloned().unwrap_or_else(|| class.to_string())
}

impl Figure for SampleGrid {
    fn size(&self) -> (u32, u32) {
        let (columns, (_, layout)) = (self.columns(), self.labels());
        let (shown, remark) = self.shown();
        let rows = (shown.len() as i32 + columns - 1) / columns;
        let width = (GAP + columns * (SIDE + GAP)).max(head_width(&self.title, &remark));
        (width.unsigned_abs(), (TOP + rows * Self::row(layout) + GAP).unsigned_abs())
    }

    fn pictures(&self) -> Vec<Placed<'_>> {
        let (_, layout) = self.labels();
        let places = self.shown().0.iter().zip(self.corners(layout));
        let placed = places.map(|(sample, corner)| Placed {
            picture: &sample.picture,
            corner,
            side: SIDE.unsigned_abs(),
        });
        placed.collect()
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.samples.is_empty() {
            return Err(PlotError::Empty { what: "no images" });
        }
        let (shown, remark) = self.shown();
        head(canvas, &self.title, &remark)?;
        let (labels, layout) = self.labels();
        for (sample, (left, top)) in shown.iter().zip(self.corners(layout)) {
            let frame = |grown: i32| {
                [(left - grown, top - grown), (left + SIDE + grown, top + SIDE + grown)]
            };
            let (said, is) = (label(&labels, sample.predicted), label(&labels, sample.truth));
            let below = (left + SIDE / 2, top + SIDE + LINE / 2 + 5);
            if sample.predicted == sample.truth {
                canvas.draw(&Rectangle::new(frame(0), style::GRID))?;
                LABEL.pen(style::INK, Anchor::Centre).write(canvas, below, &said)?;
                continue;
            }
            for grown in 1..=3 {
                canvas.draw(&Rectangle::new(frame(grown), style::VERMILION.stroke_width(1)))?;
            }
            let pen = LABEL.pen(style::VERMILION, Anchor::Centre);
            match layout {
                Layout::Line => pen.write(canvas, below, &format!("{said} (is {is})"))?,
                Layout::TwoLines => {
                    pen.write(canvas, below, &said)?;
                    pen.write(canvas, (below.0, below.1 + LINE), &format!("is {is}"))?;
                }
            }
        }
        Ok(())
    }
}

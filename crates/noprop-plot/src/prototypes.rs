//! Class embeddings that are images: before training, after it, and the difference.

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;

use crate::canvas::Canvas;
use crate::class_label::{self, labels};
use crate::figure::Figure;
use crate::font::{Anchor, INDENT, LABEL, head, head_width};
use crate::picture::Placed;
use crate::{Picture, PlotError, style};

/// One class's embedding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototype {
    /// The class.
    pub name: String,
    /// Before training.
    pub start: Picture,
    /// After it.
    pub learned: Picture,
    /// The change by training, with middle grey for no change.
    pub change: Picture,
}

/// Classes side by side, three rows each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototypes {
    /// The title of the figure.
    pub title: String,
    /// A remark on the scale of the change.
    pub note: String,
    /// In the order of the classes.
    pub classes: Vec<Prototype>,
}

const SIDE: i32 = 96;
const GAP: i32 = 12;
const WORDS: i32 = 24;
const TOP: i32 = 84;
/// Room for the names of the rows.
const LEFT: i32 = 92;
/// Classes side by side.
const COLUMNS: i32 = 10;
/// The most classes in a figure.
const MOST: usize = 100;
const ROWS: [&str; 3] = ["start", "learned", "change"];
/// The height of a band of classes.
const BAND: i32 = WORDS + 3 * (SIDE + GAP) + GAP;

impl Prototypes {
    fn shown(&self) -> &[Prototype] {
        self.classes.get(..MOST).unwrap_or(&self.classes)
    }

    fn remark(&self) -> String {
        match self.classes.len() {
            ..=MOST => self.note.clone(),
            all => format!("the first {MOST} of {all} classes; {}", self.note),
        }
    }
}

/// Left and top of each class, its name included.
fn corners() -> impl Iterator<Item = (i32, i32)> {
    (0..).map(|index| (LEFT + index % COLUMNS * (SIDE + GAP), TOP + index / COLUMNS * BAND))
}

/// The top of each of a class's pictures.
fn tops(top: i32) -> [i32; 3] {
    [0, 1, 2].map(|row| top + WORDS + row * (SIDE + GAP))
}

impl Figure for Prototypes {
    fn size(&self) -> (u32, u32) {
        let shown = self.shown().len() as i32;
        let width = LEFT + shown.min(COLUMNS) * (SIDE + GAP) + GAP;
        let width = width.max(head_width(&self.title, &self.remark()));
        let height = TOP + (shown + COLUMNS - 1) / COLUMNS * BAND;
        (width.unsigned_abs(), height.unsigned_abs())
    }

    fn pictures(&self) -> Vec<Placed<'_>> {
        let side = SIDE.unsigned_abs();
        let places = self.shown().iter().zip(corners());
        let placed = places.flat_map(|(class, (left, top))| {
            let pictures = [&class.start, &class.learned, &class.change].into_iter().zip(tops(top));
            pictures.map(move |(picture, top)| Placed { picture, corner: (left, top), side })
        });
        placed.collect()
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.classes.is_empty() {
            return Err(PlotError::Empty { what: "no classes" });
        }
        head(canvas, &self.title, &self.remark())?;
        let names = self.classes.iter().map(|class| class.name.as_str());
        let labels = labels(names, class_label::CLASSES, LABEL, f64::from(SIDE + GAP - 6));
        for (label, (left, top)) in labels.iter().take(MOST).zip(corners()) {
            let at = (left + SIDE / 2, top + WORDS / 2 - 4);
            LABEL.pen(style::INK, Anchor::Centre).write(canvas, at, label)?;
            for (top, words) in tops(top).into_iter().zip(ROWS) {
                let frame = [(left, top), (left + SIDE, top + SIDE)];
                canvas.draw(&Rectangle::new(frame, style::GRID))?;
                if left == LEFT {
                    let at = (INDENT, top + SIDE / 2);
                    LABEL.pen(style::INK, Anchor::Left).write(canvas, at, words)?;
                }
            }
        }
        Ok(())
    }
}

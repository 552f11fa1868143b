//! Class embeddings that are images: what each was before training, what it became, and the difference.

use plotters::element::Text;
use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::style::{self, Anchor};
use crate::{Picture, PlotError};

/// One class's embedding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototype {
    /// The class.
    pub name: String,
    /// Before training.
    pub start: Picture,
    /// After it.
    pub learned: Picture,
    /// What training added, middle grey for nothing.
    pub change: Picture,
}

/// Classes side by side, three rows each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototypes {
    /// Says what is shown.
    pub title: String,
    /// Says how the change is scaled.
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
/// More classes than this are not drawn.
const MOST: usize = 100;
const ROWS: [&str; 3] = ["start", "learned", "change"];
/// The height of a band of classes.
const BAND: i32 = WORDS + 3 * (SIDE + GAP) + GAP;

impl Figure for Prototypes {
    fn size(&self) -> (u32, u32) {
        let shown = self.classes.len().min(MOST) as i32;
        let width = (LEFT + shown.min(COLUMNS) * (SIDE + GAP) + GAP).max(760);
        (width as u32, (TOP + (shown + COLUMNS - 1) / COLUMNS * BAND) as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.classes.is_empty() {
            return Err(PlotError::Empty { what: "no classes" });
        }
        let title = style::bold(style::TITLE, style::INK, Anchor::Left);
        canvas.draw(&Text::new(style::shortened(&self.title, 90), (GAP, 28), title))?;
        let note = style::text(style::LABEL, style::INK, Anchor::Left);
        canvas.draw(&Text::new(style::shortened(&self.note, 110), (GAP, 58), note))?;
        for (index, class) in (0..).zip(self.classes.iter().take(MOST)) {
            let (band, column) = (index / COLUMNS, index % COLUMNS);
            let top = TOP + band * BAND;
            let left = LEFT + column * (SIDE + GAP);
            let name = style::text(style::LABEL, style::INK, Anchor::Centre);
            let at = (left + SIDE / 2, top + WORDS / 2 - 4);
            canvas.draw(&Text::new(style::shortened(&class.name, 11), at, name))?;
            let pictures = [&class.start, &class.learned, &class.change];
            for ((row, picture), words) in (0..).zip(pictures).zip(ROWS) {
                let top = top + WORDS + row * (SIDE + GAP);
                picture.draw(canvas, (left, top), SIDE)?;
                if column == 0 {
                    let label = style::text(style::LABEL, style::INK, Anchor::Left);
                    canvas.draw(&Text::new(words, (GAP, top + SIDE / 2), label))?;
                }
            }
        }
        Ok(())
    }
}

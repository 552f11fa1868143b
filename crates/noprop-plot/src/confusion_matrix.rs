//! Which classes are taken for which.

use plotters::element::{Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, FontTransform, RGBColor};

use crate::PlotError;
use crate::figure::{Canvas, Figure};
use crate::style::{self, Anchor};

/// Images by true class (row) and predicted class (column).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    /// Says what is shown.
    pub title: String,
    /// One a class.
    pub class_names: Vec<String>,
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

const TOP: i32 = 70;
/// Beyond this many classes a number does not fit into its cell.
const NUMBERED: usize = 24;
const RIGHT_ANSWER: RGBColor = RGBColor(236, 236, 236);

impl ConfusionMatrix {
    fn cell(&self) -> i32 {
        (640 / self.class_names.len().max(1) as i32).clamp(6, 64)
    }

    fn body(&self) -> i32 {
        self.cell() * self.class_names.len() as i32
    }

    /// Whether names are too long to stand side by side below the columns.
    fn has_long_names(&self) -> bool {
        let long = self.class_names.iter().any(|name| name.chars().count() > 4);
        long || self.class_names.len() > NUMBERED
    }

    /// Room for the names of rows and of columns, in pixels.
    fn margins(&self) -> (i32, i32) {
        if self.has_long_names() { (160, 150) } else { (84, 70) }
    }
}

impl Figure for ConfusionMatrix {
    fn size(&self) -> (u32, u32) {
        let (left, bottom) = self.margins();
        ((left + self.body().max(480) + 40) as u32, (TOP + self.body() + bottom) as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.class_names.is_empty() || self.counts.is_empty() {
            return Err(PlotError::Empty { what: "no classes" });
        }
        let (cell, (margin, _)) = (self.cell(), self.margins());
        let title = style::bold(style::TITLE, style::INK, Anchor::Left);
        canvas.draw(&Text::new(style::shortened(&self.title, 70), (20, TOP / 2), title))?;
        let off_diagonal = |(row, column): (usize, usize)| row != column;
        let cells = || {
            self.counts.iter().enumerate().flat_map(|(row, counts)| {
                counts.iter().enumerate().map(move |(column, &count)| ((row, column), count))
            })
        };
        // Colour counts mistakes only: right answers are a hundred times as many and would hide them.
        let most = cells().filter(|(at, _)| off_diagonal(*at)).map(|(_, count)| count).max();
        let most = most.unwrap_or(0).max(1) as f64;
        let numbered = self.class_names.len() <= NUMBERED;
        for ((row, column), count) in cells() {
            let (left, top) = (margin + column as i32 * cell, TOP + row as i32 * cell);
            let share = (count as f64 / most).sqrt();
            let fill = if off_diagonal((row, column)) {
                style::intensity(0.9 * share)
            } else {
                RIGHT_ANSWER
            };
            let corners = [(left, top), (left + cell, top + cell)];
            canvas.draw(&Rectangle::new(corners, fill.filled()))?;
            if numbered {
                canvas.draw(&Rectangle::new(corners, style::GRID))?;
            }
            if numbered && count > 0 {
                let dark = off_diagonal((row, column)) && share > 0.6;
                let ink = if dark { RGBColor(255, 255, 255) } else { style::INK };
                let size = (f64::from(cell) / 4.0).clamp(8.0, style::LABEL);
                let at = (left + cell / 2, top + cell / 2);
                let style = style::text(size, ink, Anchor::Centre);
                canvas.draw(&Text::new(count.to_string(), at, style))?;
            }
        }
        self.name_classes(canvas)
    }
}

impl ConfusionMatrix {
    fn name_classes<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let (cell, body, (margin, _)) = (self.cell(), self.body(), self.margins());
        // Names a line of text apart at least.
        let every = (18 / cell).max(1) as usize;
        let long = self.has_long_names();
        for (index, name) in self.class_names.iter().enumerate().step_by(every) {
            let middle = index as i32 * cell + cell / 2;
            let name = style::shortened(name, 14);
            let row = style::text(style::TICK, style::INK, Anchor::Right);
            canvas.draw(&Text::new(name.clone(), (margin - 8, TOP + middle), row))?;
            let (at, column) = if long {
                let turned = style::text(style::TICK, style::INK, Anchor::Right);
                ((margin + middle, TOP + body + 8), turned.transform(FontTransform::Rotate270))
            } else {
                let plain = style::text(style::TICK, style::INK, Anchor::Centre);
                ((margin + middle, TOP + body + 14), plain)
            };
            canvas.draw(&Text::new(name, at, column))?;
        }
        let label = style::text(style::LABEL, style::FAINT, Anchor::Centre);
        let below = if long { 128 } else { 46 };
        canvas.draw(&Text::new(
            "predicted class",
            (margin + body / 2, TOP + body + below),
            label.clone(),
        ))?;
        let turned = label.transform(FontTransform::Rotate270);
        canvas.draw(&Text::new("true class", (20, TOP + body / 2), turned))?;
        Ok(())
    }
}

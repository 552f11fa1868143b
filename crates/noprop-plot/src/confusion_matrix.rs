//! True classes against predicted ones.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use plotters::element::Rectangle;
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::canvas::Canvas;
use crate::class_label::{self, labels};
use crate::figure::Figure;
use crate::font::{Anchor, Face, LABEL, TICK, head, head_width};
use crate::{PlotError, style};

/// Images by true class (row) and predicted class (column).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    /// The title of the figure.
    pub title: String,
    /// One per class.
    pub class_names: Vec<String>,
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

const TOP: i32 = 76;
/// Room for the words beside the names of classes.
const WORDS: i32 = 44;
/// The longest name of a class in pixels.
const NAME: f64 = 130.0;
/// The most classes with a number in each cell.
const NUMBERED: usize = 24;
/// The most classes that are all drawn.
const MOST: usize = 200;
/// The number of classes that are drawn if there are more, with room for every name.
const MOST_MISTAKEN: usize = 50;
const RIGHT_ANSWER: RGBColor = RGBColor(236, 236, 236);

/// The classes that are drawn, and their places.
struct Grid {
    /// Indices of classes, rising.
    classes: Vec<usize>,
    /// A name for each of them.
    labels: Vec<String>,
    /// The side of a cell in pixels.
    cell: i32,
    /// The width of the widest name in pixels.
    widest: i32,
    names: Names,
}

/// The place of the names of columns.
#[derive(Clone, Copy)]
enum Names {
    /// Side by side.
    Level,
    /// From bottom to top.
    Upright,
}

impl Grid {
    fn body(&self) -> i32 {
        self.cell * self.classes.len() as i32
    }

    /// Room left of the cells.
    fn left(&self) -> i32 {
        WORDS + self.widest + 8
    }

    /// Room below the cells for the names of columns.
    fn bottom(&self) -> i32 {
        match self.names {
            Names::Level => 26,
            Names::Upright => self.widest + 10,
        }
    }
}

impl ConfusionMatrix {
    fn grid(&self) -> Grid {
        let names = self.class_names.iter().map(String::as_str);
        let all = labels(names, class_label::CLASSES, TICK, NAME);
        let classes = self.drawn();
        let labels: Vec<String> =
            classes.iter().filter_map(|&class| all.get(class).cloned()).collect();
        let cell = (900 / classes.len().max(1) as i32).clamp(6, 64);
        let widest = labels.iter().map(|label| TICK.width(label).ceil() as i32).max().unwrap_or(0);
        let names = if widest <= cell - 4 { Names::Level } else { Names::Upright };
        Grid { classes, labels, cell, widest, names }
    }

    /// All classes, or if there are too many those with the most frequent mistakes, in their order.
    fn drawn(&self) -> Vec<usize> {
        let all = 0..self.class_names.len();
        if all.len() <= MOST {
            return all.collect();
        }
        let mut mistakes: Vec<_> = self.mistakes().filter(|(_, _, count)| *count > 0).collect();
        mistakes.sort_by_key(|&(_, _, count)| Reverse(count));
        let mut drawn = BTreeSet::new();
        for class in mistakes.iter().flat_map(|&(row, column, _)| [row, column]).chain(all) {
            if drawn.len() == MOST_MISTAKEN {
                break;
            }
            drawn.insert(class);
        }
        drawn.into_iter().collect()
    }

    /// Truth, prediction and count of classes that have a name.
    fn cells(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        let classes = self.class_names.len();
        self.counts.iter().take(classes).enumerate().flat_map(move |(row, counts)| {
            let counts = counts.iter().take(classes).enumerate();
            counts.map(move |(column, &count)| (row, column, count))
        })
    }

    /// The cells off the diagonal.
    fn mistakes(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        self.cells().filter(|(row, column, _)| row != column)
    }

    /// The number of mistakes, and the number of those that are drawn.
    fn remark(&self, grid: &Grid) -> String {
        let sum = |counts: &mut dyn Iterator<Item = (usize, usize, u64)>| {
            counts.fold(0, |sum: u64, (_, _, count)| sum.saturating_add(count))
        };
        let (all, mistakes) = (sum(&mut self.cells()), sum(&mut self.mistakes()));
        if mistakes == 0 {
            return format!("no wrong answer among {all}; grey for right answers");
        }
        let is_drawn = |class: usize| grid.classes.binary_search(&class).is_ok();
        let mut drawn =
            self.mistakes().filter(|&(row, column, _)| is_drawn(row) && is_drawn(column));
        let part = match (grid.classes.len(), self.class_names.len()) {
            (some, classes) if some < classes => format!(
                ", {} of them here, between the {some} of {classes} classes with the most frequent mistakes",
                sum(&mut drawn)
            ),
            _ => String::new(),
        };
        format!("wrong answers: {mistakes} of {all}{part}; darker for more, grey for right answers")
    }
}

impl Figure for ConfusionMatrix {
    fn size(&self) -> (u32, u32) {
        let grid = self.grid();
        let width = grid.left() + grid.body() + 40;
        let width = width.max(head_width(&self.title, &self.remark(&grid)));
        (width.unsigned_abs(), (TOP + grid.body() + grid.bottom() + WORDS).unsigned_abs())
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.class_names.is_empty() || self.counts.is_empty() {
            return Err(PlotError::Empty { what: "no classes" });
        }
        let grid = self.grid();
        head(canvas, &self.title, &self.remark(&grid))?;
        // Colour shows mistakes only: a hundred times as many correct answers would hide them.
        let count = |row: usize, column: usize| {
            self.counts.get(row).and_then(|counts| counts.get(column)).copied().unwrap_or(0)
        };
        let classes = || (0..).zip(&grid.classes);
        let cells = || classes().flat_map(|row| classes().map(move |column| (row, column)));
        let wrong = cells().filter(|(row, column)| row != column);
        let most =
            wrong.map(|((_, &row), (_, &column))| count(row, column)).max().unwrap_or(0).max(1);
        let numbered = grid.classes.len() <= NUMBERED;
        for ((y, &row), (x, &column)) in cells() {
            let (left, top) = (grid.left() + x * grid.cell, TOP + y * grid.cell);
            let count = count(row, column);
            let share = (count as f64 / most as f64).sqrt();
            let (fill, ink) = match row == column {
                true => (RIGHT_ANSWER, style::INK),
                false if share > 0.6 => (style::intensity(0.9 * share), RGBColor(255, 255, 255)),
                false => (style::intensity(0.9 * share), style::INK),
            };
            let corners = [(left, top), (left + grid.cell, top + grid.cell)];
            // There are many white cells, and the ground is white already.
            if count > 0 || row == column {
                canvas.draw(&Rectangle::new(corners, fill.filled()))?;
            }
            if numbered {
                canvas.draw(&Rectangle::new(corners, style::GRID))?;
            }
            if numbered && count > 0 {
                let face = Face::regular((f64::from(grid.cell) / 4.0).clamp(8.0, 16.0));
                let at = (left + grid.cell / 2, top + grid.cell / 2);
                let words = short(count, face, f64::from(grid.cell - 2));
                face.pen(ink, Anchor::Centre).write(canvas, at, &words)?;
            }
        }
        let end = (grid.left() + grid.body(), TOP + grid.body());
        canvas.draw(&Rectangle::new([(grid.left(), TOP), end], style::GRID))?;
        name_classes(canvas, &grid)
    }
}

fn name_classes<B: DrawingBackend>(canvas: &Canvas<B>, grid: &Grid) -> Result<(), PlotError> {
    let (left, body) = (grid.left(), grid.body());
    // Names are at least a line of text apart.
    let every = ((17 + grid.cell) / grid.cell).max(1) as usize;
    let row = TICK.pen(style::INK, Anchor::Right);
    for (index, label) in (0..).zip(&grid.labels).step_by(every) {
        let middle = index * grid.cell + grid.cell / 2;
        row.write(canvas, (left - 8, TOP + middle), label)?;
        match grid.names {
            Names::Level => {
                let column = TICK.pen(style::INK, Anchor::Centre);
                column.write(canvas, (left + middle, TOP + body + 14), label)?;
            }
            Names::Upright => {
                row.upwards().write(canvas, (left + middle, TOP + body + 8), label)?
            }
        }
    }
    let words = LABEL.pen(style::FAINT, Anchor::Centre);
    let below = (left + body / 2, TOP + body + grid.bottom() + WORDS / 2);
    words.write(canvas, below, "predicted class")?;
    words.upwards().write(canvas, (22, TOP + body / 2), "true class")
}

/// A count, in thousands or a larger unit if its digits would not fit.
fn short(count: u64, face: Face, room: f64) -> String {
    let units = [(0, ""), (3, "k"), (6, "M"), (9, "G"), (12, "T"), (15, "P"), (18, "E")];
    let written = units.map(|(power, name)| format!("{}{name}", count / 10u64.pow(power)));
    let fitting = written.iter().find(|words| face.width(words) <= room);
    fitting.cloned().unwrap_or_default()
}

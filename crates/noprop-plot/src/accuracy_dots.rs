//! Accuracies as dots, in each row with a reported one.

use plotters::element::{Circle, PathElement};
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::PlotError;
use crate::axis::Axis;
use crate::canvas::Canvas;
use crate::class_label::{SERIES, labels};
use crate::figure::{Figure, first};
use crate::font::{Anchor, INDENT, LABEL, TICK, TITLE};
use crate::style::{self, Mark};

const WIDTH: i32 = 1000;
const LEFT: i32 = 250;
const RIGHT: i32 = 40;
const TOP: i32 = 96;
const ROW: i32 = 44;
const BOTTOM: i32 = 56;
/// The most rows in a figure.
const MOST_ROWS: usize = 40;

/// A measured accuracy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dot {
    /// 0..=1.
    pub accuracy: f64,
    /// The standard deviation over seeds. The line through the dot reaches as far on both sides.
    pub spread: Option<f64>,
}

/// The accuracies of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct DotRow {
    /// The name of the row.
    pub name: String,
    /// In the order of [`AccuracyDots::series`].
    pub dots: Vec<Option<Dot>>,
    /// The accuracy that others report, 0..=1.
    pub reported: Option<f64>,
}

/// Rows of dots on one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyDots {
    /// The title, above the rows.
    pub title: String,
    /// The names of the dots of a row, at most three.
    pub series: Vec<String>,
    /// The name of the reported accuracies.
    pub reported: String,
    /// From top to bottom.
    pub rows: Vec<DotRow>,
}

impl Figure for AccuracyDots {
    fn size(&self) -> (u32, u32) {
        let rows = self.rows.len().clamp(1, MOST_ROWS) as i32;
        (WIDTH.unsigned_abs(), (TOP + rows * ROW + BOTTOM).unsigned_abs())
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let (rows, remark) = first(&self.rows, MOST_ROWS, "rows");
        let dots = || rows.iter().flat_map(|row| row.dots.iter().flatten());
        let values = dots().flat_map(Dot::ends).chain(rows.iter().filter_map(|row| row.reported));
        let label = match dots().any(Dot::has_spread) {
            true => "test images classified correctly, ± one standard deviation over seeds",
            false => "test images classified correctly",
        };
        let Some(axis) = Axis::shares(label, values) else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        let bottom = self.size().1.cast_signed() - BOTTOM;
        TITLE.pen(style::INK, Anchor::Left).write(canvas, (INDENT, 30), &self.title)?;
        draw_axis(canvas, &axis, bottom)?;
        self.legend(canvas)?;
        TICK.pen(style::FAINT, Anchor::Left).write(canvas, (INDENT, bottom + 40), &remark)?;
        let names = self.rows.iter().map(|row| row.name.as_str());
        let labels = labels(names, SERIES, LABEL, f64::from(LEFT - INDENT - 18));
        for ((index, row), label) in (0..).zip(rows).zip(&labels) {
            let y = TOP + index * ROW + ROW / 2;
            LABEL.pen(style::INK, Anchor::Right).write(canvas, (LEFT - 18, y), label)?;
            if let Some(reported) = row.reported.and_then(|share| column(&axis, share)) {
                Mark::Diamond.draw(canvas, (reported, y), 7, style::INK)?;
            }
            for ((dot, colour), lower) in row.dots.iter().zip(COLOURS).zip([0, 1, 2]) {
                let Some(dot) = dot else { continue };
                let Some(x) = column(&axis, dot.accuracy) else { continue };
                // Dots of one row may be equal.
                let y = y - 5 * (self.series.len() as i32 - 1) + 10 * lower;
                if let [Some(low), Some(high)] = dot.ends().map(|end| column(&axis, end)) {
                    let line = vec![(low, y), (high, y)];
                    canvas.draw(&PathElement::new(line, colour.stroke_width(2)))?;
                }
                canvas.draw(&Circle::new((x, y), 5, colour.filled()))?;
            }
        }
        Ok(())
    }
}

const COLOURS: [RGBColor; 3] = [style::BLUE, style::VERMILION, style::GREEN];

impl Dot {
    /// Returns whether the line through it can be drawn.
    fn has_spread(&self) -> bool {
        self.accuracy.is_finite() && self.spread.is_some_and(f64::is_finite)
    }

    /// The ends of the spread, cut to 0..=1.
    fn ends(&self) -> [f64; 2] {
        let spread = self.spread.unwrap_or(0.0);
        [self.accuracy - spread, self.accuracy + spread].map(|end| end.clamp(0.0, 1.0))
    }
}

impl AccuracyDots {
    /// A line of marks with their names. A mark that does not occur is left out.
    fn legend<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let seen = |index: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.dots.get(index)?.as_ref())
                .any(|dot| dot.accuracy.is_finite())
        };
        let series = self.series.iter().zip(COLOURS).enumerate().filter(|(index, _)| seen(*index));
        let mut marks: Vec<_> =
            series.map(|(_, (name, colour))| (name, Mark::Dot, colour)).collect();
        if self.rows.iter().any(|row| row.reported.is_some_and(f64::is_finite)) {
            marks.push((&self.reported, Mark::Diamond, style::INK));
        }
        let (y, mut x) = (64, INDENT + 10);
        for (index, (name, mark, colour)) in marks.iter().enumerate() {
            // The rest of the room, in equal parts.
            let room = (WIDTH - x) / (marks.len() - index) as i32 - 40;
            let name = TICK.fit(name, f64::from(room));
            mark.draw(canvas, (x, y), 5, *colour)?;
            TICK.pen(style::INK, Anchor::Left).write(canvas, (x + 12, y), &name)?;
            x += 40 + TICK.width(&name).ceil() as i32;
        }
        Ok(())
    }
}

/// The place of a share, in pixels from the left.
fn column(axis: &Axis, share: f64) -> Option<i32> {
    let part = axis.place(share)?;
    Some(LEFT + (part * f64::from(WIDTH - LEFT - RIGHT)).round() as i32)
}

fn draw_axis<B: DrawingBackend>(
    canvas: &Canvas<B>,
    axis: &Axis,
    bottom: i32,
) -> Result<(), PlotError> {
    for (part, name) in axis.ticks() {
        let x = LEFT + (part * f64::from(WIDTH - LEFT - RIGHT)).round() as i32;
        let line = vec![(x, TOP), (x, bottom)];
        canvas.draw(&PathElement::new(line, style::GRID.stroke_width(1)))?;
        TICK.pen(style::INK, Anchor::Centre).write(canvas, (x, bottom + 16), name)?;
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2;
    LABEL.pen(style::INK, Anchor::Centre).write(canvas, (middle, bottom + 40), &axis.label)
}

//! Accuracies as dots, each row beside a reported one.

use plotters::element::{Circle, PathElement, Polygon, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::PlotError;
use crate::figure::{Canvas, Figure};
use crate::panel::around;
use crate::style::{self, Anchor};

const WIDTH: i32 = 1000;
const LEFT: i32 = 250;
const RIGHT: i32 = 40;
const TOP: i32 = 96;
const ROW: i32 = 44;
const BOTTOM: i32 = 56;
/// More rows than these are left out.
const MOST_ROWS: usize = 40;
/// The least share that the figure spans: differences of a few images would otherwise fill it.
const LEAST_SPAN: f64 = 0.01;

/// A measured accuracy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dot {
    /// 0..=1.
    pub accuracy: f64,
    /// Drawn to both sides of it.
    pub spread: Option<f64>,
}

/// Accuracies of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct DotRow {
    /// What was measured.
    pub name: String,
    /// In the order of [`AccuracyDots::series`].
    pub dots: Vec<Option<Dot>>,
    /// What others report, 0..=1.
    pub reported: Option<f64>,
}

/// Rows of dots on one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyDots {
    /// Above the rows.
    pub title: String,
    /// What the dots of a row are, at most three.
    pub series: Vec<String>,
    /// What the reported accuracies are.
    pub reported: String,
    /// From top to bottom.
    pub rows: Vec<DotRow>,
}

impl Figure for AccuracyDots {
    fn size(&self) -> (u32, u32) {
        let rows = i32::try_from(self.rows.len().clamp(1, MOST_ROWS)).unwrap_or(1);
        (WIDTH.unsigned_abs(), (TOP + rows * ROW + BOTTOM).unsigned_abs())
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let rows = &self.rows[..self.rows.len().min(MOST_ROWS)];
        let ends = |dot: &Dot| {
            let spread = dot.spread.unwrap_or(0.0);
            [dot.accuracy - spread, dot.accuracy + spread]
        };
        let measured = rows.iter().flat_map(|row| row.dots.iter().flatten().flat_map(ends));
        let values = measured.chain(rows.iter().filter_map(|row| row.reported));
        let Some(x) = around(values) else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        let middle = (x.start + x.end) / 2.0;
        let half = ((x.end - x.start) / 2.0).max(LEAST_SPAN / 2.0);
        let axis = Axis { low: (middle - half).max(0.0), high: (middle + half).min(1.0) };
        let bottom = self.size().1.cast_signed() - BOTTOM;
        canvas.draw(&Text::new(
            style::shortened(&self.title, 90),
            (24, 30),
            style::bold(style::TITLE, style::INK, Anchor::Left),
        ))?;
        axis.draw(canvas, bottom)?;
        self.legend(canvas)?;
        for (index, row) in (0..).zip(rows) {
            let y = TOP + index * ROW + ROW / 2;
            let style = style::text(style::LABEL, style::INK, Anchor::Right);
            canvas.draw(&Text::new(style::shortened(&row.name, 26), (LEFT - 18, y), style))?;
            if let Some(reported) = row.reported.filter(|value| value.is_finite()) {
                diamond(canvas, (axis.place(reported), y))?;
            }
            for ((dot, colour), lower) in row.dots.iter().zip(COLOURS).zip([0, 1, 2]) {
                let Some(dot) = dot.filter(|dot| dot.accuracy.is_finite()) else { continue };
                // Dots of one row may be equal.
                let y = y - 5 * (self.series.len() as i32 - 1) + 10 * lower;
                let [low, high] = ends(&dot).map(|end| axis.place(end));
                let line = vec![(low, y), (high, y)];
                canvas.draw(&PathElement::new(line, colour.stroke_width(2)))?;
                canvas.draw(&Circle::new((axis.place(dot.accuracy), y), 5, colour.filled()))?;
            }
        }
        Ok(())
    }
}

const COLOURS: [RGBColor; 3] = [style::BLUE, style::VERMILION, style::GREEN];

impl AccuracyDots {
    /// A line of marks with their names.
    fn legend<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let y = 64;
        // About a letter's width at this size.
        let width = |words: &str| 40 + 8 * i32::try_from(words.chars().count()).unwrap_or(0);
        let mut x = LEFT;
        for ((index, name), colour) in self.series.iter().enumerate().zip(COLOURS) {
            // A mark that is nowhere to be seen needs no name.
            if !self.rows.iter().any(|row| row.dots.get(index).is_some_and(Option::is_some)) {
                continue;
            }
            canvas.draw(&Circle::new((x, y), 5, colour.filled()))?;
            let style = style::text(style::TICK, style::INK, Anchor::Left);
            canvas.draw(&Text::new(name.clone(), (x + 12, y), style))?;
            x += width(name);
        }
        if self.rows.iter().any(|row| row.reported.is_some()) {
            diamond(canvas, (x, y))?;
            let style = style::text(style::TICK, style::INK, Anchor::Left);
            canvas.draw(&Text::new(self.reported.clone(), (x + 12, y), style))?;
        }
        Ok(())
    }
}

/// An axis of shares from left to right.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn place(&self, share: f64) -> i32 {
        let part = ((share - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        LEFT + (part * f64::from(WIDTH - LEFT - RIGHT)).round() as i32
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, bottom: i32) -> Result<(), PlotError> {
        let step = tidy_step((self.high - self.low) / 8.0);
        let decimals = if step < 0.001 { 2 } else { usize::from(step < 0.01) };
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        for tick in first..=last {
            let share = tick as f64 * step;
            let x = self.place(share);
            let line = vec![(x, TOP), (x, bottom)];
            canvas.draw(&PathElement::new(line, style::GRID.stroke_width(1)))?;
            let words = format!("{:.decimals$} %", 100.0 * share);
            let style = style::text(style::TICK, style::INK, Anchor::Centre);
            canvas.draw(&Text::new(words, (x, bottom + 16), style))?;
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2;
        let style = style::text(style::LABEL, style::INK, Anchor::Centre);
        canvas.draw(&Text::new(
            "test images classified correctly",
            (middle, bottom + 40),
            style,
        ))?;
        Ok(())
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn tidy_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    // Rounding may leave even the last a hair too small.
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

fn diamond<B: DrawingBackend>(canvas: &Canvas<B>, (x, y): (i32, i32)) -> Result<(), PlotError> {
    let corners = vec![(x - 8, y), (x, y - 8), (x + 8, y), (x, y + 8)];
    canvas.draw(&Polygon::new(corners, style::INK.filled()))?;
    Ok(())
}

//! Ratios as bars, each with the bound that it is to keep.

use plotters::element::{PathElement, Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::Color;

use crate::PlotError;
use crate::figure::{Canvas, Figure};
use crate::style::{self, Anchor};

const WIDTH: u32 = 1000;
const TOP: i32 = 70;
const ROW: i32 = 64;
const BOTTOM: i32 = 46;
const LEFT: i32 = 30;
const RIGHT: i32 = 90;
/// Where the line at 1 must be for the words before it to fit.
const ROOMY: i32 = 700;

/// One ratio.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioBar {
    /// What was measured.
    pub name: String,
    /// Ours divided by the other's, not negative.
    pub ratio: f64,
    /// The largest ratio that is good enough.
    pub bound: Option<f64>,
}

/// Bars from 0, with a line at 1, where both are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioBars {
    /// Above the bars.
    pub title: String,
    /// What all are divided by.
    pub other: String,
    /// What the bounds are.
    pub bound: String,
    /// From top to bottom.
    pub bars: Vec<RatioBar>,
}

impl Figure for RatioBars {
    fn size(&self) -> (u32, u32) {
        let rows = i32::try_from(self.bars.len().clamp(1, 40)).unwrap_or(40);
        (WIDTH, (TOP + rows * ROW + BOTTOM).unsigned_abs())
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.bars.is_empty() {
            return Err(PlotError::Empty { what: "ratios" });
        }
        let finite = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
        let longest = self.bars.iter().map(|bar| finite(bar.ratio)).fold(1.0, f64::max) * 1.02;
        let (width, height) = self.size();
        let room = f64::from(width.cast_signed() - LEFT - RIGHT);
        let x = |ratio: f64| LEFT + (finite(ratio) / longest * room).round() as i32;
        let end = height.cast_signed() - BOTTOM;
        canvas.draw(&Text::new(
            style::shortened(&self.title, 90),
            (LEFT, 30),
            style::bold(style::TITLE, style::INK, Anchor::Left),
        ))?;
        for (row, bar) in (0..).zip(self.bars.iter().take(40)) {
            let top = TOP + row * ROW;
            canvas.draw(&Text::new(
                style::shortened(&bar.name, 110),
                (LEFT, top + 8),
                style::text(style::TICK, style::INK, Anchor::Left),
            ))?;
            let (low, high) = (top + 22, top + 46);
            let colour = match bar.bound {
                Some(bound) if bar.ratio > bound => style::VERMILION,
                _ => style::BLUE,
            };
            let corners = [(LEFT, low), (x(bar.ratio), high)];
            canvas.draw(&Rectangle::new(corners, colour.filled()))?;
            canvas.draw(&Text::new(
                format!("{:.2}", bar.ratio),
                (x(bar.ratio) + 8, (low + high) / 2),
                style::bold(style::LABEL, style::INK, Anchor::Left),
            ))?;
            if let Some(bound) = bar.bound {
                let line = vec![(x(bound), low - 4), (x(bound), high + 4)];
                canvas.draw(&PathElement::new(line, style::INK.stroke_width(2)))?;
            }
        }
        let equal = vec![(x(1.0), TOP), (x(1.0), end)];
        canvas.draw(&PathElement::new(equal, style::FAINT.stroke_width(1)))?;
        let bounded = self.bars.iter().any(|bar| bar.bound.is_some());
        let bound = if bounded { format!("; black: {}", self.bound) } else { String::new() };
        // Where bars much longer than 1 leave no room before the line, there is some behind it.
        let (place, anchor) = match x(1.0) {
            one if one < ROOMY => (one + 14, Anchor::Left),
            one => ((LEFT + one) / 2, Anchor::Centre),
        };
        let words = [
            (LEFT, "0".to_owned(), Anchor::Left),
            (x(1.0), format!("1: as much as {}", self.other), Anchor::Right),
            (place, format!("shorter is better{bound}"), anchor),
        ];
        for (at, word, anchor) in words {
            let place = (at, end + 18);
            canvas.draw(&Text::new(word, place, style::text(style::TICK, style::FAINT, anchor)))?;
        }
        Ok(())
    }
}

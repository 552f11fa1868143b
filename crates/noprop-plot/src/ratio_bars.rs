//! Ratios as bars, each with its bound.

use plotters::element::{PathElement, Rectangle};
use plotters::prelude::DrawingBackend;
use plotters::style::Color;

use crate::PlotError;
use crate::canvas::Canvas;
use crate::class_label::{SERIES, labels};
use crate::figure::{Figure, first};
use crate::font::{Anchor, Face, TICK, head};
use crate::style;

const WIDTH: i32 = 1000;
const TOP: i32 = 70;
const ROW: i32 = 64;
const BOTTOM: i32 = 60;
const LEFT: i32 = 30;
const RIGHT: i32 = 90;
const VALUE: Face = Face::bold(16.0);
/// The most bars in a figure.
const MOST: usize = 40;

/// One ratio.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioBar {
    /// The name of the bar.
    pub name: String,
    /// Our value divided by the other's, not negative.
    pub ratio: f64,
    /// The largest acceptable ratio.
    pub bound: Option<f64>,
}

/// Bars from 0, with a line at 1, where both are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioBars {
    /// The title, above the bars.
    pub title: String,
    /// The name of the divisor.
    pub other: String,
    /// The name of the bounds.
    pub bound: String,
    /// From top to bottom.
    pub bars: Vec<RatioBar>,
}

/// The places of ratios, in pixels from the left.
fn columns(bars: &[RatioBar]) -> impl Fn(f64) -> i32 {
    let all = bars.iter().flat_map(|bar| [Some(bar.ratio), bar.bound]).flatten();
    let longest = all.filter(|ratio| ratio.is_finite()).fold(1.0, f64::max);
    let room = f64::from(WIDTH - LEFT - RIGHT);
    // A ratio that is NaN becomes 0, and an infinite one takes all the room.
    move |ratio| LEFT + (f64::max(0.0, ratio / longest).min(1.0) * room).round() as i32
}

/// The left end of a bar's value, to the right of the bar and of the vertical lines that would run through the value.
fn beside(end: i32, value: &str, lines: [Option<i32>; 2]) -> i32 {
    const GAP: i32 = 8;
    let width = VALUE.width(value).ceil() as i32;
    let mut lines = lines;
    lines.sort_unstable();
    lines.into_iter().flatten().fold(end + GAP, |left, line| {
        match (left - GAP..left + width + GAP).contains(&line) {
            true => line.max(end) + GAP,
            false => left,
        }
    })
}

impl Figure for RatioBars {
    fn size(&self) -> (u32, u32) {
        let rows = self.bars.len().clamp(1, MOST) as i32;
        (WIDTH.unsigned_abs(), (TOP + rows * ROW + BOTTOM).unsigned_abs())
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        if self.bars.is_empty() {
            return Err(PlotError::Empty { what: "ratios" });
        }
        let (bars, remark) = first(&self.bars, MOST, "bars");
        let x = columns(bars);
        let end = self.size().1.cast_signed() - BOTTOM;
        head(canvas, &self.title, &remark)?;
        let names = self.bars.iter().map(|bar| bar.name.as_str());
        let labels = labels(names, SERIES, TICK, f64::from(WIDTH - LEFT - LEFT));
        for ((row, bar), label) in (0..).zip(bars).zip(&labels) {
            let top = TOP + row * ROW;
            TICK.pen(style::INK, Anchor::Left).write(canvas, (LEFT, top + 8), label)?;
            let (low, high) = (top + 22, top + 46);
            let colour = match bar.bound {
                Some(bound) if bar.ratio > bound => style::VERMILION,
                _ => style::BLUE,
            };
            let corners = [(LEFT, low), (x(bar.ratio), high)];
            canvas.draw(&Rectangle::new(corners, colour.filled()))?;
            let value = match bar.ratio {
                ratio if ratio.abs() < 1e6 => format!("{ratio:.2}"),
                ratio => format!("{ratio:.1e}"),
            };
            let lines = [bar.bound, Some(1.0)].map(|line| line.map(&x));
            let at = (beside(x(bar.ratio), &value, lines), (low + high) / 2);
            VALUE.pen(style::INK, Anchor::Left).write(canvas, at, &value)?;
            if let Some(bound) = bar.bound {
                let line = vec![(x(bound), low - 4), (x(bound), high + 4)];
                canvas.draw(&PathElement::new(line, style::INK.stroke_width(2)))?;
            }
        }
        let equal = vec![(x(1.0), TOP), (x(1.0), end)];
        canvas.draw(&PathElement::new(equal, style::FAINT.stroke_width(1)))?;
        let faint = TICK.pen(style::FAINT, Anchor::Left);
        faint.write(canvas, (LEFT, end + 16), "0")?;
        // If bars are much longer than 1, there is no room between the two.
        if x(1.0) > LEFT + 30 {
            TICK.pen(style::FAINT, Anchor::Centre).write(canvas, (x(1.0), end + 16), "1")?;
        }
        let bound = match self.bars.iter().any(|bar| bar.bound.is_some()) {
            true => format!("; black: {}", self.bound),
            false => String::new(),
        };
        let words = format!("thin line: 1, as much as {}; shorter is better{bound}", self.other);
        faint.write(canvas, (LEFT, end + 40), &words)
    }
}

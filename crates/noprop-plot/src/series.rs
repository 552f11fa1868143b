//! Named series of points, and the drawing of several of them.

use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::axis::Axis;
use crate::canvas::Canvas;
use crate::class_label::{SERIES, labels};
use crate::font::{TICK, head};
use crate::panel::{Line, Panel, least_size};
use crate::style;

/// A named series of (x, y).
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The name, drawn at the right end of the series.
    pub name: String,
    /// Points in order of x; one that is not finite interrupts the line.
    pub points: Vec<(f64, f64)>,
}

/// The most series in a figure.
const MOST: usize = 60;
/// In pixels.
const WIDEST_NAME: f64 = 420.0;

fn drawn(series: &[Series]) -> &[Series] {
    series.get(..MOST).unwrap_or(series)
}

pub(crate) fn places(series: &[Series]) -> impl Iterator<Item = f64> + Clone {
    drawn(series).iter().flat_map(|series| &series.points).map(|point| point.0)
}

pub(crate) fn values(series: &[Series]) -> impl Iterator<Item = f64> + Clone {
    drawn(series).iter().flat_map(|series| &series.points).map(|point| point.1)
}

/// Width and height of a figure with room for all names.
pub(crate) fn size(series: &[Series]) -> (u32, u32) {
    let (names, _) = names(drawn(series));
    let (width, height) = least_size(names.iter().map(String::as_str));
    (width.max(1000), height.max(600))
}

/// The names as they are drawn, and a remark if they begin with numbers.
pub(crate) fn names(series: &[Series]) -> (Vec<String>, String) {
    let given = series.iter().map(|series| series.name.as_str());
    let names = labels(given.clone(), SERIES, TICK, WIDEST_NAME);
    let remark = match names.iter().map(String::as_str).eq(given) {
        true => "",
        false => "Lines are numbered in the order in which they were given.",
    };
    (names, remark.into())
}

/// Draws each series in a look of its own.
pub(crate) fn draw<B: DrawingBackend>(
    canvas: &Canvas<B>,
    title: &str,
    (x, y): (Axis, Axis),
    series: &[Series],
) -> Result<(), PlotError> {
    let (names, mut remark) = names(drawn(series));
    if series.len() > MOST {
        remark = format!("the first {MOST} of {} lines. {remark}", series.len());
    }
    let lines: Vec<Line> = (0..)
        .zip(drawn(series))
        .zip(names)
        .map(|((index, series), name)| {
            let (colour, mark) = style::look(index);
            Line { name: Some(name), colour, mark: Some(mark), points: series.points.clone() }
        })
        .collect();
    head(canvas, title, &remark)?;
    Panel { x, y }.draw(canvas, &lines, &[])
}

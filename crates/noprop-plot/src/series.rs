//! Named series of points, and the figure of several of them on one pair of axes.

use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::axis::{Axis, Unit};
use crate::canvas::Canvas;
use crate::class_label::{SERIES, labels};
use crate::figure::{Figure, first};
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

/// The axes of a [`SeriesFigure`]. y is a share of answers, 0..=1; x is a training time in seconds, a number of steps or blocks, a width,
/// or the number of a part of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesAxes {
    /// Right answers over training time, which validation is not part of.
    AccuracyOverTime,
    /// Wrong answers over training time, which validation is part of. Their axis is logarithmic, because 98 % has twice the errors
    /// of 99 %; a share of 0 is below it.
    ErrorOverTime,
    /// Right answers against the number of steps in which a solver integrates time. The axis of steps is logarithmic, because
    /// from 2 to 4 they double as from 500 to 1000.
    AccuracyOverSteps,
    /// Right answers by the number of a block.
    AccuracyByBlock,
    /// Right answers by the number of a part of the time.
    AccuracyByTime,
    /// Right answers against how many blocks there are.
    AccuracyByNumberOfBlocks,
    /// Right answers against the width of a network. Its axis is logarithmic, because widths double.
    AccuracyByWidth,
}

/// Several series, each in a look of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFigure {
    /// The title of the figure.
    pub title: String,
    /// The meaning of x and y.
    pub axes: SeriesAxes,
    /// One line each.
    pub series: Vec<Series>,
}

/// The most series in a figure.
const MOST: usize = 60;
/// In pixels.
const WIDEST_NAME: f64 = 420.0;

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

impl SeriesFigure {
    /// The axes of x and y for the series that are drawn; `None` if there is nothing to draw.
    fn axes(&self, shown: &[Series]) -> Option<(Axis, Axis)> {
        let points = || shown.iter().flat_map(|series| &series.points);
        let (places, values) = (points().map(|point| point.0), points().map(|point| point.1));
        let accuracies = Axis::shares("images classified correctly", values.clone());
        let time = |name| Axis::from_zero(name, places.clone());
        let longest = shown.iter().map(|series| series.points.len()).max().unwrap_or(0);
        let parts = |name| Axis::whole(name, 1, longest);
        match self.axes {
            SeriesAxes::AccuracyOverTime => {
                Some((time("training time without validation, in seconds"), accuracies?))
            }
            SeriesAxes::ErrorOverTime => {
                let errors = Axis::log("wrong answers", values, Unit::Percent)?;
                Some((time("training time in seconds"), errors))
            }
            SeriesAxes::AccuracyOverSteps => {
                // At least from one step to ten, because shorter log axes have ticks between whole steps.
                let steps = places.filter(|steps| *steps > 0.0).chain([1.0, 10.0]);
                Some((Axis::log("steps of the solver", steps, Unit::Plain)?, accuracies?))
            }
            SeriesAxes::AccuracyByBlock => Some((parts("block"), accuracies?)),
            SeriesAxes::AccuracyByTime => Some((parts("part of the time"), accuracies?)),
            SeriesAxes::AccuracyByNumberOfBlocks => {
                let most = places.filter(|place| place.is_finite()).fold(1.0, f64::max);
                Some((Axis::whole("number of blocks T", 1, most as usize), accuracies?))
            }
            SeriesAxes::AccuracyByWidth => {
                Some((Axis::log_whole("width W of the network", places)?, accuracies?))
            }
        }
    }
}

impl Figure for SeriesFigure {
    /// With room for all names.
    fn size(&self) -> (u32, u32) {
        let (names, _) = names(first(&self.series, MOST, "lines").0);
        let (width, height) = least_size(names.iter().map(String::as_str));
        (width.max(1000), height.max(600))
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let (shown, cut) = first(&self.series, MOST, "lines");
        let (x, y) = self.axes(shown).ok_or(PlotError::Empty { what: "no answers" })?;
        let (names, numbered) = names(shown);
        let remark = if cut.is_empty() { numbered } else { format!("{cut}. {numbered}") };
        let named = shown.iter().zip(names).enumerate();
        let lines = named.map(|(index, (series, name))| {
            let (colour, mark) = style::look(index);
            Line { name: Some(name), colour, mark: Some(mark), points: series.points.clone() }
        });
        head(canvas, &self.title, &remark)?;
        Panel { x, y }.draw(canvas, &lines.collect::<Vec<_>>(), &[])
    }
}

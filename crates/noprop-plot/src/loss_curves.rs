//! The loss of every block over epochs.

use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::panel::{Line, Panel, Scale, around_log, compact};
use crate::{PlotError, style};

/// A named series of (x, y).
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Drawn at the series' right end.
    pub name: String,
    /// Points in order of x; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
}

/// Losses over epochs, one line a block, from dark (block 1) to light (the last).
#[derive(Debug, Clone, PartialEq)]
pub struct LossCurves {
    /// Says what is shown.
    pub title: String,
    /// Name of the loss, with its unit.
    pub y_label: String,
    /// One a block, in order.
    pub series: Vec<Series>,
}

/// More names than these would not fit beside the axes: every k-th line is named.
const NAMES: usize = 12;

impl Figure for LossCurves {
    fn size(&self) -> (u32, u32) {
        (1000, 600)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let empty = PlotError::Empty { what: "no losses" };
        let all = || self.series.iter().flat_map(|series| &series.points);
        let Some(y) = around_log(all().map(|point| point.1)) else {
            return Err(empty);
        };
        let last = all().map(|point| point.0).filter(|x| x.is_finite()).fold(1.0, f64::max);
        let count = self.series.len();
        let every = count.div_ceil(NAMES).max(1);
        let lines: Vec<Line> = (0..)
            .zip(&self.series)
            .map(|(index, series): (usize, _)| {
                let named = index % every == 0 || index + 1 == count;
                let share = index as f64 / (count.max(2) - 1) as f64;
                let positive: Vec<_> =
                    series.points.iter().filter(|point| point.1 > 0.0).copied().collect();
                let name = named.then(|| series.name.clone());
                Line::new(name, style::sequential(share), &positive)
            })
            .collect();
        let panel = Panel {
            title: self.title.clone(),
            title_size: style::TITLE,
            x_label: "epoch".into(),
            y_label: self.y_label.clone(),
            x: 1.0..last.max(2.0),
            y,
            scale: Scale::Log,
            right_margin: 90,
            y_format: compact,
        };
        panel.draw(canvas, &lines, &[])
    }
}

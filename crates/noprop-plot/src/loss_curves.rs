//! The loss of every block over epochs.

use plotters::prelude::DrawingBackend;

use crate::axis::{Axis, Unit};
use crate::canvas::Canvas;
use crate::figure::Figure;
use crate::font::head;
use crate::panel::{Line, Panel};
use crate::series::{self, Series};
use crate::style::Mark;
use crate::{PlotError, style};

/// Losses over epochs, one line per block, from dark (block 1) to light (the last).
#[derive(Debug, Clone, PartialEq)]
pub struct LossCurves {
    /// The title of the figure.
    pub title: String,
    /// Name of the loss, with its unit.
    pub y_label: String,
    /// One per block, in order.
    pub series: Vec<Series>,
}

/// The most names beside the axes; if there are more lines, every k-th is named.
const NAMES: usize = 12;

impl Figure for LossCurves {
    fn size(&self) -> (u32, u32) {
        (1000, 600)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let values = all().map(|point| point.1);
        let Some(y) = Axis::log(&self.y_label, values, Unit::Plain) else {
            return Err(PlotError::Empty { what: "no losses" });
        };
        let epochs = all().map(|point| point.0).filter(|x| x.is_finite());
        let x = Axis::whole("epoch", 1, epochs.fold(1.0, f64::max) as usize);
        let (names, remark) = series::names(&self.series);
        let count = self.series.len();
        let every = count.div_ceil(NAMES).max(1);
        let lines: Vec<Line> = self
            .series
            .iter()
            .zip(names)
            .enumerate()
            .map(|(index, (series, name))| Line {
                name: (index % every == 0 || index + 1 == count).then_some(name),
                colour: style::sequential(index as f64 / (count.max(2) - 1) as f64),
                mark: Some(Mark::Dot),
                points: series.points.clone(),
            })
            .collect();
        head(canvas, &self.title, &remark)?;
        Panel { x, y }.draw(canvas, &lines, &[])
    }
}

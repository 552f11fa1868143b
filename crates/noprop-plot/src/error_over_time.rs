//! The errors of several trainings over training time.

use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::axis::{Axis, Unit};
use crate::canvas::Canvas;
use crate::figure::Figure;
use crate::series::{self, Series};

/// Shares of wrong answers over training time, one line per training. The axis is logarithmic, because 98 % has twice the errors of
/// 99 %; a share of 0 is below it.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorOverTime {
    /// The title of the figure.
    pub title: String,
    /// x in seconds, y a share of wrong answers, 0..=1.
    pub series: Vec<Series>,
}

impl Figure for ErrorOverTime {
    fn size(&self) -> (u32, u32) {
        series::size(&self.series)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let Some(y) = Axis::log("wrong answers", series::values(&self.series), Unit::Percent)
        else {
            return Err(PlotError::Empty { what: "no errors" });
        };
        let x = Axis::from_zero("training time in seconds", series::places(&self.series));
        series::draw(canvas, &self.title, (x, y), &self.series)
    }
}

//! The accuracy of several trainings over training time.

use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::axis::Axis;
use crate::canvas::Canvas;
use crate::figure::Figure;
use crate::series::{self, Series};

/// Accuracy over cumulative training time, one line per method.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyOverTime {
    /// The title of the figure.
    pub title: String,
    /// x in seconds, y a share of right answers, 0..=1.
    pub series: Vec<Series>,
}

impl Figure for AccuracyOverTime {
    fn size(&self) -> (u32, u32) {
        series::size(&self.series)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let label = "images classified correctly";
        let Some(y) = Axis::shares(label, series::values(&self.series)) else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        let x = Axis::from_zero("training time in seconds", series::places(&self.series));
        series::draw(canvas, &self.title, (x, y), &self.series)
    }
}

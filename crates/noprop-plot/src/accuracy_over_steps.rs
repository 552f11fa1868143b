//! Accuracy against the number of steps in which time is integrated.

use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::axis::{Axis, Unit};
use crate::canvas::Canvas;
use crate::figure::Figure;
use crate::series::{self, Series};

/// Accuracy against the number of steps, one line per solver. The axis of steps is logarithmic, because from 2 to 4 they double as
/// from 500 to 1000.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyOverSteps {
    /// The title of the figure.
    pub title: String,
    /// x a number of steps, y a share of right answers, 0..=1.
    pub series: Vec<Series>,
}

impl Figure for AccuracyOverSteps {
    fn size(&self) -> (u32, u32) {
        series::size(&self.series)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let label = "images classified correctly";
        // At least from one step to ten, because shorter log axes have ticks between whole steps.
        let steps = series::places(&self.series).filter(|steps| *steps > 0.0).chain([1.0, 10.0]);
        let axes = Axis::log("steps of the solver", steps, Unit::Plain)
            .zip(Axis::shares(label, series::values(&self.series)));
        let Some(axes) = axes else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        series::draw(canvas, &self.title, axes, &self.series)
    }
}

//! Accuracy against the number of steps in which time is integrated.

use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::axis::{Axis, Unit};
use crate::figure::{Canvas, Figure};
use crate::series::{self, Series};

/// What more steps are worth, one line a solver. Steps stand on a log axis: from 2 to 4 they double as from 500 to 1000.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyOverSteps {
    /// Says what is shown.
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
        // From one step to ten at least: shorter log axes name parts of steps.
        let steps = series::places(&self.series).filter(|steps| *steps > 0.0).chain([1.0, 10.0]);
        let axes = Axis::log("steps of the solver", steps, Unit::Plain)
            .zip(Axis::shares(label, series::values(&self.series)));
        let Some(axes) = axes else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        series::draw(canvas, &self.title, axes, &self.series)
    }
}

//! Accuracy against the number of steps in which time is integrated.

use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::loss_curves::Series;
use crate::panel::{Line, Panel, Scale, around, percent};
use crate::{PlotError, style};

/// What more steps are worth, one line a solver. Steps stand on a log axis: from 2 to 4 they double as from 500 to 1000.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyOverSteps {
    /// Says what is shown.
    pub title: String,
    /// x a number of steps, y a share of right answers, 0..=1.
    pub series: Vec<Series>,
}

/// The least share that the figure spans: differences of a few images would otherwise fill it.
const LEAST_SPAN: f64 = 0.01;

impl Figure for AccuracyOverSteps {
    fn size(&self) -> (u32, u32) {
        (1000, 560)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        // A log axis has no place for fewer than one step.
        let points = |series: &Series| -> Vec<(f64, f64)> {
            let drawn = |point: &&(f64, f64)| point.0 >= 1.0 && point.1.is_finite();
            series.points.iter().filter(drawn).copied().collect()
        };
        let all: Vec<(f64, f64)> = self.series.iter().flat_map(points).collect();
        let Some(y) = around(all.iter().map(|point| point.1)) else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        let middle = (y.start + y.end) / 2.0;
        let half = ((y.end - y.start) / 2.0).max(LEAST_SPAN / 2.0);
        let last = all.iter().map(|point| point.0).filter(|x| x.is_finite()).fold(10.0, f64::max);
        let colours = [style::BLUE, style::VERMILION, style::GREEN];
        let lines: Vec<Line> = self
            .series
            .iter()
            .zip(colours.iter().cycle())
            .map(|(series, &colour)| Line::new(Some(series.name.clone()), colour, &points(series)))
            .collect();
        let panel = Panel {
            title: self.title.clone(),
            title_size: style::TITLE,
            x_label: "steps of the solver".into(),
            y_label: "images classified correctly".into(),
            x: 1.0..last * 1.1,
            y: (middle - half).max(0.0)..(middle + half).min(1.002),
            scale: Scale::Linear,
            right_margin: 110,
            y_format: percent,
        };
        panel.draw_over_decades(canvas, &lines)
    }
}

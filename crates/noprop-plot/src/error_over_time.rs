//! How the errors of several trainings fall with time.

use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::loss_curves::Series;
use crate::panel::{Line, Panel, Scale, around_log};
use crate::{PlotError, style};

/// Shares of wrong answers over training time, one line a training. On a log axis, because 98 % and 99 % are twice apart.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorOverTime {
    /// Says what is shown.
    pub title: String,
    /// x in seconds, y a share of wrong answers, 0..=1.
    pub series: Vec<Series>,
}

impl Figure for ErrorOverTime {
    fn size(&self) -> (u32, u32) {
        (1000, 600)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let Some(y) = around_log(all().map(|point| point.1)) else {
            return Err(PlotError::Empty { what: "no errors" });
        };
        let last = all().map(|point| point.0).filter(|x| x.is_finite()).fold(1.0, f64::max);
        let count = self.series.len().max(2) - 1;
        let lines: Vec<Line> = (0..)
            .zip(&self.series)
            .map(|(index, series): (usize, _)| {
                // A training without errors has no place on a log axis.
                let points: Vec<_> =
                    series.points.iter().filter(|point| point.1 > 0.0).copied().collect();
                let colour = style::sequential(index as f64 / count as f64);
                Line::new(Some(series.name.clone()), colour, &points)
            })
            .collect();
        let panel = Panel {
            title: self.title.clone(),
            title_size: style::TITLE,
            x_label: "training time in seconds".into(),
            y_label: "wrong answers".into(),
            x: 0.0..last * 1.02,
            y,
            scale: Scale::Log,
            right_margin: 210,
            y_format: |share| format!("{:.2} %", 100.0 * share),
        };
        panel.draw(canvas, &lines, &[])
    }
}

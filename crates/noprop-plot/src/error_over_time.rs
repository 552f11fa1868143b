//! How the errors of several trainings fall with time.

use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::loss_curves::Series;
use crate::panel::{Line, Panel, Scale, around};
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
        // Decades, drawn on an even axis: a logarithmic one names whole powers of ten alone, and errors span one or two. A
        // training without errors has no place there.
        let decades = |series: &Series| -> Vec<(f64, f64)> {
            let positive = series.points.iter().filter(|point| point.1 > 0.0);
            positive
                .map(|&(x, y)| (x, y.log10()))
                .filter(|(x, y)| x.is_finite() && y.is_finite())
                .collect()
        };
        let all: Vec<_> = self.series.iter().flat_map(decades).collect();
        let Some(y) = around(all.iter().map(|point| point.1)) else {
            return Err(PlotError::Empty { what: "no errors" });
        };
        let last = all.iter().map(|point| point.0).fold(1.0, f64::max);
        let count = self.series.len().max(2) - 1;
        let lines: Vec<Line> = (0..)
            .zip(&self.series)
            .map(|(index, series): (usize, _)| {
                let colour = style::sequential(index as f64 / count as f64);
                Line::new(Some(series.name.clone()), colour, &decades(series))
            })
            .collect();
        let panel = Panel {
            title: self.title.clone(),
            title_size: style::TITLE,
            x_label: "training time in seconds".into(),
            y_label: "wrong answers".into(),
            x: 0.0..last * 1.02,
            y,
            scale: Scale::Linear,
            right_margin: 210,
            y_format: |decade| format!("{:.2} %", 100.0 * 10f64.powf(decade)),
        };
        panel.draw(canvas, &lines, &[])
    }
}

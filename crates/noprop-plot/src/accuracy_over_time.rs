//! How accuracy rises with training time.

use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::loss_curves::Series;
use crate::panel::{Line, Panel, Scale, around, percent};
use crate::{PlotError, style};

/// Accuracy over cumulative training time, one line a method.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyOverTime {
    /// Says what is shown.
    pub title: String,
    /// x in seconds, y a share of right answers, 0..=1.
    pub series: Vec<Series>,
}

impl Figure for AccuracyOverTime {
    fn size(&self) -> (u32, u32) {
        (1000, 600)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let Some(y) = around(all().map(|point| point.1)) else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        let last = all().map(|point| point.0).filter(|x| x.is_finite()).fold(1.0, f64::max);
        let colours = [style::BLUE, style::VERMILION, style::GREEN];
        let lines: Vec<Line> = self
            .series
            .iter()
            .zip(colours.iter().cycle())
            .map(|(series, &colour)| Line::new(Some(series.name.clone()), colour, &series.points))
            .collect();
        let panel = Panel {
            title: self.title.clone(),
            title_size: style::TITLE,
            x_label: "training time in seconds".into(),
            y_label: "images classified correctly".into(),
            x: 0.0..last * 1.02,
            y: y.start.max(0.0)..y.end.min(1.002),
            scale: Scale::Linear,
            right_margin: 150,
            y_format: percent,
        };
        panel.draw(canvas, &lines, &[])
    }
}

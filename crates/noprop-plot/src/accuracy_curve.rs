//! Validation accuracy over epochs, the chosen epoch, the test accuracy.

use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::panel::{Line, Note, Panel, Scale, around, percent};
use crate::{PlotError, style};

/// How accuracy rose.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyCurve {
    /// Says what is shown.
    pub title: String,
    /// Accuracy on held-out training images, 0..=1, by epoch from 1.
    pub validation: Vec<f64>,
    /// The epoch whose weights were kept.
    pub best_epoch: usize,
    /// Accuracy on the test images, read once, if it was.
    pub test: Option<f64>,
}

impl Figure for AccuracyCurve {
    fn size(&self) -> (u32, u32) {
        (1000, 560)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let points: Vec<(f64, f64)> =
            (1..).map(f64::from).zip(self.validation.iter().copied()).collect();
        let values = self.validation.iter().copied().chain(self.test);
        let Some(y) = around(values) else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        let x = 1.0..(points.len() as f64).max(2.0);
        let mut lines = vec![Line::new(Some("validation".into()), style::BLUE, &points)];
        if let Some(test) = self.test {
            let level = [(x.start, test), (x.end, test)];
            lines.push(Line::new(
                Some(format!("test {:.2} %", 100.0 * test)),
                style::VERMILION,
                &level,
            ));
        }
        let best = self.best_epoch.checked_sub(1).and_then(|index| points.get(index));
        let notes: Vec<Note> = best
            .into_iter()
            .filter(|point| point.1.is_finite())
            .map(|&at| Note {
                at,
                text: format!("kept: epoch {}, {:.2} %", self.best_epoch, 100.0 * at.1),
                colour: style::BLUE,
            })
            .collect();
        let panel = Panel {
            title: self.title.clone(),
            title_size: style::TITLE,
            x_label: "epoch".into(),
            y_label: "images classified correctly".into(),
            x,
            y: y.start.max(0.0)..y.end.min(1.005),
            scale: Scale::Linear,
            right_margin: 110,
            y_format: percent,
        };
        panel.draw(canvas, &lines, &notes)
    }
}

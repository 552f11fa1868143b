//! Validation accuracy over epochs, the chosen epoch, the test accuracy.

use plotters::prelude::DrawingBackend;

use crate::axis::Axis;
use crate::canvas::Canvas;
use crate::figure::Figure;
use crate::font::head;
use crate::panel::{Line, Panel, Ring};
use crate::style::Mark;
use crate::{PlotError, style};

/// Validation accuracy over epochs.
#[derive(Debug, Clone, PartialEq)]
pub struct AccuracyCurve {
    /// The title of the figure.
    pub title: String,
    /// Accuracy on held-out training images, 0..=1, by epoch from 1.
    pub validation: Vec<f64>,
    /// The epoch whose weights were kept.
    pub best_epoch: usize,
    /// Accuracy on the test images, if it was measured.
    pub test: Option<f64>,
}

impl Figure for AccuracyCurve {
    fn size(&self) -> (u32, u32) {
        (1000, 560)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let values = self.validation.iter().copied().chain(self.test);
        let Some(y) = Axis::shares("images classified correctly", values) else {
            return Err(PlotError::Empty { what: "no accuracies" });
        };
        let points: Vec<_> = (1..).map(f64::from).zip(self.validation.iter().copied()).collect();
        let kept = self.best_epoch.checked_sub(1).and_then(|index| points.get(index));
        let kept = kept.copied().filter(|point| point.1.is_finite());
        let remark = kept.map_or_else(String::new, |(_, accuracy)| {
            format!("ringed and kept: epoch {}, {:.2} %", self.best_epoch, 100.0 * accuracy)
        });
        let x = Axis::whole("epoch", 1, points.len());
        let mut lines: Vec<Line> = Vec::new();
        lines.extend(self.test.map(|test| Line {
            name: Some(match test.is_finite() {
                true => format!("test {:.2} %", 100.0 * test),
                false => "test".into(),
            }),
            colour: style::VERMILION,
            mark: None,
            points: x.level(test),
        }));
        lines.push(Line {
            name: Some("validation".into()),
            colour: style::BLUE,
            mark: Some(Mark::Dot),
            points,
        });
        let rings: Vec<Ring> =
            kept.map(|at| Ring { at, colour: style::BLUE }).into_iter().collect();
        head(canvas, &self.title, &remark)?;
        Panel { x, y }.draw(canvas, &lines, &rings)
    }
}

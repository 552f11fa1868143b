//! A noise schedule: signal share, SNR, loss weights.

use plotters::element::Text;
use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::figure::{Canvas, Figure};
use crate::panel::{Line, Panel, Scale, around_log, compact};
use crate::style::{self, Anchor};

/// A schedule of T steps.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleFigure {
    /// Says what is shown.
    pub title: String,
    /// ᾱ_0 … ᾱ_T.
    pub alpha_bar: Vec<f64>,
    /// SNR(0) … SNR(T); zeros are left out of the log axis.
    pub snr: Vec<f64>,
    /// Loss weight of block 1 … T.
    pub weights: Vec<f64>,
}

impl Figure for ScheduleFigure {
    fn size(&self) -> (u32, u32) {
        (1350, 500)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let steps = self.alpha_bar.len().saturating_sub(1).max(1) as f64;
        let from = |first: i32, values: &[f64]| -> Vec<(f64, f64)> {
            (first..).map(f64::from).zip(values.iter().copied()).collect()
        };
        let title = style::bold(style::TITLE, style::INK, Anchor::Left);
        canvas.draw(&Text::new(style::shortened(&self.title, 90), (20, 26), title))?;
        let (_, below) = canvas.split_vertically(44);
        let panels = below.split_evenly((1, 3));
        let parts = [
            ("Share of the signal", "level t", "ᾱ", from(0, &self.alpha_bar), Scale::Linear),
            (
                "Signal-to-noise ratio",
                "level t",
                "SNR = ᾱ / (1 − ᾱ)",
                from(0, &self.snr),
                Scale::Log,
            ),
            (
                "Weight in the loss",
                "block",
                "factor before the block's error",
                from(1, &self.weights),
                Scale::Log,
            ),
        ];
        let colours = [style::BLUE, style::GREEN, style::VERMILION];
        for ((part, area), colour) in parts.into_iter().zip(&panels).zip(colours) {
            let (title, x_label, y_label, points, scale) = part;
            let shown: Vec<_> = match scale {
                Scale::Linear => points,
                Scale::Log => points.into_iter().filter(|point| point.1 > 0.0).collect(),
            };
            let y = match scale {
                Scale::Linear => Some(0.0..1.05),
                Scale::Log => around_log(shown.iter().map(|point| point.1)),
            };
            let (Some(y), false) = (y, shown.is_empty()) else {
                return Err(PlotError::Empty { what: "no schedule" });
            };
            let panel = Panel {
                title: title.into(),
                title_size: style::LABEL,
                x_label: x_label.into(),
                y_label: y_label.into(),
                x: 0.0..steps,
                y,
                scale,
                right_margin: 0,
                y_format: compact,
            };
            panel.draw(area, &[Line::new(None, colour, &shown)], &[])?;
        }
        Ok(())
    }
}

//! A noise schedule: signal share, SNR, loss weights.

use plotters::prelude::DrawingBackend;

use crate::PlotError;
use crate::axis::{Axis, Unit};
use crate::canvas::Canvas;
use crate::figure::Figure;
use crate::font::{Anchor, Face, INDENT, head};
use crate::panel::{Line, Panel};
use crate::style::{self, Mark};

/// A schedule of T steps.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleFigure {
    /// The title of the figure.
    pub title: String,
    /// ᾱ_0 … ᾱ_T.
    pub alpha_bar: Vec<f64>,
    /// SNR(0) … SNR(T).
    pub snr: Vec<f64>,
    /// Loss weight of step 1 … T. In discrete time a step is a block.
    pub weights: Vec<f64>,
}

const SUBTITLE: Face = Face::bold(16.0);

impl Figure for ScheduleFigure {
    fn size(&self) -> (u32, u32) {
        (1350, 520)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let log = |label, values: &[f64]| Axis::log(label, values.iter().copied(), Unit::Plain);
        let snr = log("SNR = ᾱ / (1 − ᾱ)", &self.snr);
        let weights = log("factor before the block's error", &self.weights);
        let (Some(snr), Some(weights), false) = (snr, weights, self.alpha_bar.is_empty()) else {
            return Err(PlotError::Empty { what: "no schedule" });
        };
        let levels = Axis::whole("level t", 0, self.alpha_bar.len() - 1);
        let steps = Axis::whole("step t", 1, self.weights.len());
        head(canvas, &self.title, "")?;
        let (_, below) = canvas.split_vertically(36);
        let areas = below.split_evenly((1, 3));
        let parts = [
            ("Share of the signal", (levels.clone(), Axis::whole_share("ᾱ")), 0, &self.alpha_bar),
            ("Signal-to-noise ratio", (levels, snr), 0, &self.snr),
            ("Weight in the loss", (steps, weights), 1, &self.weights),
        ];
        let colours = [style::BLUE, style::GREEN, style::VERMILION];
        for ((area, colour), (title, (x, y), first, values)) in areas.iter().zip(colours).zip(parts)
        {
            SUBTITLE.pen(style::INK, Anchor::Left).write(area, (INDENT, 52), title)?;
            let points = (first..).map(f64::from).zip(values.iter().copied()).collect();
            let line = Line { name: None, colour, mark: Some(Mark::Dot), points };
            Panel { x, y }.draw(area, &[line], &[])?;
        }
        Ok(())
    }
}

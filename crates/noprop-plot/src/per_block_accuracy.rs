//! Accuracy after each block.

use plotters::prelude::DrawingBackend;

use crate::figure::{Canvas, Figure};
use crate::panel::{Line, Panel, Scale, around, percent};
use crate::{PlotError, style};

/// What each block alone would have got right, and what the whole chain does.
#[derive(Debug, Clone, PartialEq)]
pub struct PerBlockAccuracy {
    /// Says what is shown.
    pub title: String,
    /// 0..=1, block 1 first.
    pub per_block: Vec<f64>,
    /// 0..=1, the readout of the last embedding.
    pub whole_chain: f64,
}

impl Figure for PerBlockAccuracy {
    fn size(&self) -> (u32, u32) {
        (1000, 560)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<(), PlotError> {
        let values = || self.per_block.iter().copied();
        let (Some(y), false) =
            (around(values().chain([self.whole_chain])), self.per_block.is_empty())
        else {
            return Err(PlotError::Empty { what: "no blocks" });
        };
        let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(values()).collect();
        let x = 1.0..(points.len() as f64).max(2.0);
        let level = [(x.start, self.whole_chain), (x.end, self.whole_chain)];
        let chain = format!("whole chain {:.2} %", 100.0 * self.whole_chain);
        let lines = [
            Line::new(Some("block alone".into()), style::BLUE, &points),
            Line::new(Some(chain), style::VERMILION, &level),
        ];
        // Differences of a few images fill the figure unless a percent is the least it shows.
        let middle = (y.start + y.end) / 2.0;
        let half = ((y.end - y.start) / 2.0).max(0.005);
        let panel = Panel {
            title: self.title.clone(),
            title_size: style::TITLE,
            x_label: "block".into(),
            y_label: "images classified correctly".into(),
            x,
            y: (middle - half).max(0.0)..(middle + half).min(1.002),
            scale: Scale::Linear,
            right_margin: 160,
            y_format: percent,
        };
        panel.draw(canvas, &lines, &[])
    }
}

//! Accuracy after each block.

use plotters::prelude::DrawingBackend;

use crate::axis::Axis;
use crate::canvas::Canvas;
use crate::figure::Figure;
use crate::font::head;
use crate::panel::{Line, Panel};
use crate::style::Mark;
use crate::{PlotError, style};

/// The accuracy of each block inside the chain, and of the whole chain.
#[derive(Debug, Clone, PartialEq)]
pub struct PerBlockAccuracy {
    /// The title of the figure.
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
        let y = Axis::shares("images classified correctly", values().chain([self.whole_chain]));
        let (Some(y), false) = (y, self.per_block.is_empty()) else {
            return Err(PlotError::Empty { what: "no blocks" });
        };
        let x = Axis::whole("block", 1, self.per_block.len());
        let lines = [
            Line {
                name: Some(format!("whole chain {:.2} %", 100.0 * self.whole_chain)),
                colour: style::VERMILION,
                mark: None,
                points: x.level(self.whole_chain),
            },
            Line {
                name: Some("block inside the chain".into()),
                colour: style::BLUE,
                mark: Some(Mark::Dot),
                points: (1..).map(f64::from).zip(values()).collect(),
            },
        ];
        head(canvas, &self.title, "")?;
        Panel { x, y }.draw(canvas, &lines, &[])
    }
}

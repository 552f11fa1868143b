//! Colours that all figures share, and the marks of lines.

use plotters::element::{Circle, Polygon, Rectangle};
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::PlotError;
use crate::canvas::Canvas;

pub(crate) const INK: RGBColor = RGBColor(30, 30, 30);
pub(crate) const FAINT: RGBColor = RGBColor(110, 110, 110);
pub(crate) const GRID: RGBColor = RGBColor(225, 225, 225);

// The palette of Okabe and Ito, whose colours colour-blind people can distinguish.
pub(crate) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(crate) const VERMILION: RGBColor = RGBColor(213, 94, 0);
pub(crate) const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const SKY: RGBColor = RGBColor(86, 180, 233);
const BLACK: RGBColor = RGBColor(0, 0, 0);
const PALETTE: [RGBColor; 7] = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK];

/// The colour and the mark of one of several lines. The first 28 differ.
pub(crate) fn look(index: usize) -> (RGBColor, Mark) {
    let shapes = [Mark::Dot, Mark::Square, Mark::Triangle, Mark::Diamond];
    (PALETTE[index % PALETTE.len()], shapes[index / PALETTE.len() % shapes.len()])
}

/// A shape on a line's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Dot,
    Square,
    Triangle,
    Diamond,
}

impl Mark {
    /// Draws the shape within `radius` pixels of its point.
    pub fn draw<B: DrawingBackend>(
        self,
        canvas: &Canvas<B>,
        (x, y): (i32, i32),
        radius: i32,
        colour: RGBColor,
    ) -> Result<(), PlotError> {
        let (r, fill) = (radius, colour.filled());
        match self {
            Self::Dot => canvas.draw(&Circle::new((x, y), r, fill))?,
            Self::Square => canvas.draw(&Rectangle::new([(x - r, y - r), (x + r, y + r)], fill))?,
            Self::Triangle => {
                let corners = vec![(x - r - 1, y + r), (x, y - r - 1), (x + r + 1, y + r)];
                canvas.draw(&Polygon::new(corners, fill))?;
            }
            Self::Diamond => {
                let r = r + 1;
                let corners = vec![(x - r, y), (x, y - r), (x + r, y), (x, y + r)];
                canvas.draw(&Polygon::new(corners, fill))?;
            }
        }
        Ok(())
    }
}

/// A perceptually uniform sequence from dark to light for `share` in 0..=1: points of the viridis map, joined linearly.
pub(crate) fn sequential(share: f64) -> RGBColor {
    const STOPS: [(f64, f64, f64); 6] = [
        (68.0, 1.0, 84.0),
        (65.0, 68.0, 135.0),
        (42.0, 120.0, 142.0),
        (34.0, 168.0, 132.0),
        (122.0, 209.0, 81.0),
        (225.0, 210.0, 40.0),
    ];
    between(&STOPS, share)
}

/// White to deep blue for `share` in 0..=1.
pub(crate) fn intensity(share: f64) -> RGBColor {
    const STOPS: [(f64, f64, f64); 3] =
        [(255.0, 255.0, 255.0), (120.0, 180.0, 215.0), (0.0, 70.0, 130.0)];
    between(&STOPS, share)
}

fn between(stops: &[(f64, f64, f64)], share: f64) -> RGBColor {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let place = share * (stops.len() - 1) as f64;
    let low = (place.floor() as usize).min(stops.len() - 2);
    let (a, b, part) = (stops[low], stops[low + 1], place - low as f64);
    let mix = |x: f64, y: f64| (x + (y - x) * part).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

//! Fonts, sizes and colours that all figures share.

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, TextStyle, register_font};

use crate::PlotError;

const FAMILY: &str = "sans-serif";

pub(crate) const TITLE: f64 = 22.0;
pub(crate) const LABEL: f64 = 16.0;
pub(crate) const TICK: f64 = 14.0;

pub(crate) const INK: RGBColor = RGBColor(30, 30, 30);
pub(crate) const FAINT: RGBColor = RGBColor(110, 110, 110);
pub(crate) const GRID: RGBColor = RGBColor(225, 225, 225);

// Okabe and Ito's palette, which colour-blind people can tell apart.
pub(crate) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(crate) const VERMILION: RGBColor = RGBColor(213, 94, 0);
pub(crate) const GREEN: RGBColor = RGBColor(0, 158, 115);

/// Makes the crate's own font the one that text is drawn in. Doing it again changes nothing.
pub(crate) fn register_fonts() -> Result<(), PlotError> {
    let fonts =
        [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
    for (style, bytes) in fonts {
        register_font(FAMILY, style, bytes)
            .map_err(|_| PlotError::Draw("the bundled font cannot be read".into()))?;
    }
    Ok(())
}

/// Where text stands relative to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Left,
    Centre,
    Right,
}

/// Text centred vertically on its point.
pub(crate) fn text(size: f64, colour: RGBColor, anchor: Anchor) -> TextStyle<'static> {
    let horizontal = match anchor {
        Anchor::Left => HPos::Left,
        Anchor::Centre => HPos::Center,
        Anchor::Right => HPos::Right,
    };
    (FAMILY, size).into_font().color(&colour.to_rgba()).pos(Pos::new(horizontal, VPos::Center))
}

/// Bold text, centred vertically on its point.
pub(crate) fn bold(size: f64, colour: RGBColor, anchor: Anchor) -> TextStyle<'static> {
    let plain = text(size, colour, anchor);
    let font = (FAMILY, size, FontStyle::Bold).into_font();
    TextStyle { font, ..plain }
}

/// A dark-to-light sequence for `share` in 0..=1, even to the eye: points of the viridis map, joined linearly.
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

/// `text` cut to `max` characters, with an ellipsis where something is missing.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{kept}…")
}

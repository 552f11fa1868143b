//! A pair of axes with lines on it.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::CoordTranslate;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::element::{Circle, PathElement, Text};
use plotters::prelude::{DrawingBackend, IntoLogRange};
use plotters::style::{Color, RGBColor};

use crate::PlotError;
use crate::figure::Canvas;
use crate::style::{self, Anchor};

/// How a value becomes a height.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// Axes and their words.
pub(crate) struct Panel {
    pub title: String,
    pub title_size: f64,
    pub x_label: String,
    pub y_label: String,
    pub x: Range<f64>,
    pub y: Range<f64>,
    pub scale: Scale,
    /// Room right of the axes for the names of lines, in pixels.
    pub right_margin: i32,
    pub y_format: fn(f64) -> String,
}

/// One line, with a name at its right end.
pub(crate) struct Line {
    pub name: Option<String>,
    pub colour: RGBColor,
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// The points that can be drawn.
    pub fn new(name: Option<String>, colour: RGBColor, points: &[(f64, f64)]) -> Self {
        let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        Self { name, colour, points: points.iter().filter(finite).copied().collect() }
    }
}

/// What is drawn on top of the lines.
pub(crate) struct Note {
    pub at: (f64, f64),
    pub text: String,
    pub colour: RGBColor,
}

impl Panel {
    /// Draws axes, lines, and notes.
    pub fn draw<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        lines: &[Line],
        notes: &[Note],
    ) -> Result<(), PlotError> {
        let mut builder = self.builder(canvas);
        match self.scale {
            Scale::Linear => {
                let chart = builder.build_cartesian_2d(self.x.clone(), self.y.clone())?;
                self.fill(canvas, chart, lines, notes)
            }
            Scale::Log => {
                let y = self.y.clone().log_scale();
                let chart = builder.build_cartesian_2d(self.x.clone(), y)?;
                self.fill(canvas, chart, lines, notes)
            }
        }
    }

    /// Draws axes and lines with a log scale for x, whatever the scale of y.
    pub fn draw_over_decades<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        lines: &[Line],
    ) -> Result<(), PlotError> {
        let x = self.x.clone().log_scale();
        let chart = self.builder(canvas).build_cartesian_2d(x, self.y.clone())?;
        self.fill(canvas, chart, lines, &[])
    }

    fn builder<'a, 'b, B: DrawingBackend>(&self, canvas: &'a Canvas<B>) -> ChartBuilder<'a, 'b, B> {
        let mut builder = ChartBuilder::on(canvas);
        builder
            .margin(12)
            .margin_right(12 + self.right_margin)
            .caption(
                style::shortened(&self.title, 90),
                style::bold(self.title_size, style::INK, Anchor::Left),
            )
            .set_label_area_size(LabelAreaPosition::Left, 78)
            .set_label_area_size(LabelAreaPosition::Bottom, 52);
        builder
    }

    fn fill<B, X, Y>(
        &self,
        canvas: &Canvas<B>,
        mut chart: ChartContext<'_, B, Cartesian2d<X, Y>>,
        lines: &[Line],
        notes: &[Note],
    ) -> Result<(), PlotError>
    where
        B: DrawingBackend,
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Cartesian2d<X, Y>: CoordTranslate<From = (f64, f64)>,
    {
        let span = self.x.end - self.x.start;
        // No more ticks than whole numbers: an epoch and a half means nothing.
        let ticks = (span.floor() as usize + 1).clamp(2, 11);
        let y_format = self.y_format;
        chart
            .configure_mesh()
            .x_labels(ticks)
            .y_labels(8)
            .x_max_light_lines(1)
            .y_max_light_lines(1)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| y_format(*y))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .label_style(style::text(style::TICK, style::INK, Anchor::Centre))
            .axis_desc_style(style::text(style::LABEL, style::INK, Anchor::Centre))
            .bold_line_style(style::GRID)
            .light_line_style(style::GRID.mix(0.35))
            .axis_style(style::FAINT)
            .draw()?;
        let few = lines.iter().all(|line| line.points.len() <= 40) && lines.len() <= 12;
        for line in lines {
            let stroke = line.colour.stroke_width(2);
            chart.draw_series([PathElement::new(line.points.clone(), stroke)])?;
            if few || line.points.len() == 1 {
                let dot = |&point| Circle::new(point, 4, line.colour.filled());
                chart.draw_series(line.points.iter().map(dot))?;
            }
        }
        // Curves rise or fall towards the right; the corner that they leave free holds the words.
        let corner = chart.backend_coord(&(self.x.end, self.y.start));
        for (index, note) in (0..).zip(notes) {
            chart.draw_series([Circle::new(note.at, 8, note.colour.stroke_width(2))])?;
            let style = style::text(style::LABEL, note.colour, Anchor::Right);
            let at = (corner.0 - 14, corner.1 - 20 - 22 * index);
            canvas.draw(&Text::new(note.text.clone(), at, style))?;
        }
        self.name_lines(canvas, &chart, lines)
    }

    /// Names at the right ends of the lines, moved apart where they would overlap.
    fn name_lines<B, X, Y>(
        &self,
        canvas: &Canvas<B>,
        chart: &ChartContext<'_, B, Cartesian2d<X, Y>>,
        lines: &[Line],
    ) -> Result<(), PlotError>
    where
        B: DrawingBackend,
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Cartesian2d<X, Y>: CoordTranslate<From = (f64, f64)>,
    {
        const APART: f64 = 18.0;
        let mut names: Vec<(i32, &str, RGBColor)> = lines
            .iter()
            .filter_map(|line| {
                let last = line.points.last()?;
                let (_, y) = chart.backend_coord(&(self.x.end, last.1));
                Some((y, line.name.as_deref()?, line.colour))
            })
            .collect();
        names.sort_by_key(|name| name.0);
        let wanted: Vec<f64> = names.iter().map(|name| f64::from(name.0)).collect();
        for (name, place) in names.iter_mut().zip(spread(&wanted, APART)) {
            name.0 = place.round() as i32;
        }
        let (right, _) = chart.backend_coord(&(self.x.end, self.y.start));
        for (y, name, colour) in names {
            let style = style::text(style::TICK, colour, Anchor::Left);
            canvas.draw(&Text::new(style::shortened(name, 24), (right + 14, y), style))?;
        }
        Ok(())
    }
}

/// Places as near as possible to `wanted` (rising), at least `apart` from each other: neighbours that would overlap form a
/// group, which is centred on the mean of what its members want.
fn spread(wanted: &[f64], apart: f64) -> Vec<f64> {
    // A group's sum and number of wishes, each less what its members before it take up: then groups need only not overlap.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for (index, want) in wanted.iter().enumerate() {
        let mut group = (want - index as f64 * apart, 1);
        while let Some(&before) = groups.last() {
            let mean = |(sum, count): (f64, usize)| sum / count as f64;
            if mean(before) <= mean(group) {
                break;
            }
            group = (group.0 + before.0, group.1 + before.1);
            groups.pop();
        }
        groups.push(group);
    }
    let starts = groups.iter().flat_map(|&(sum, count)| vec![sum / count as f64; count]);
    starts.enumerate().map(|(index, start)| start + index as f64 * apart).collect()
}

/// Tidy bounds around finite values: a tenth of their span more on each side, and never an empty range.
pub(crate) fn around(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (low, high) = extent(values)?;
    let pad = if high > low { (high - low) * 0.1 } else { high.abs().max(1e-3) * 0.1 };
    Some(low - pad..high + pad)
}

/// Bounds for a log axis around positive finite values.
pub(crate) fn around_log(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (low, high) = extent(values.filter(|value| *value > 0.0))?;
    Some((low / 1.3).max(f64::MIN_POSITIVE)..(high * 1.3).min(1e300))
}

fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |seen, value| match seen {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Few digits, however large or small.
pub(crate) fn compact(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (0.01..10_000.0).contains(&size) {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names must not overlap, stay in order, and stay near their lines.
    #[test]
    fn crowded_names_are_moved_apart_and_lonely_ones_stay() {
        let places = spread(&[10.0, 12.0, 13.0, 200.0], 18.0);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 18.0 - 1e-9), "{places:?}");
        assert_eq!(places[3], 200.0);
        assert!((places[1] - 35.0 / 3.0).abs() < 1e-9, "the crowd is centred: {places:?}");
        assert!(spread(&[], 18.0).is_empty());
    }

    #[test]
    fn bounds_are_never_empty_or_infinite() {
        let bad = [f64::NAN, f64::INFINITY];
        assert!(around(bad.into_iter()).is_none());
        for value in [0.0, 1.0, -5.0, 1e300] {
            let range = around([value].into_iter().chain(bad)).unwrap();
            assert!(range.start < range.end && range.end.is_finite(), "{range:?}");
        }
        assert!(around_log([0.0, -1.0].into_iter()).is_none());
    }
}

//! A pair of axes with lines on it.

use plotters::element::{Circle, PathElement};
use plotters::prelude::DrawingBackend;
use plotters::style::{Color, RGBColor};

use crate::PlotError;
use crate::axis::Axis;
use crate::canvas::Canvas;
use crate::font::{Anchor, INDENT, LABEL, TICK};
use crate::style::{self, Mark};

/// The axes.
pub(crate) struct Panel {
    pub x: Axis,
    pub y: Axis,
}

/// One line, with a name at its right end.
pub(crate) struct Line {
    pub name: Option<String>,
    pub colour: RGBColor,
    /// The mark on its points, unless they are too dense.
    pub mark: Option<Mark>,
    pub points: Vec<(f64, f64)>,
}

/// Pixels from the left and from the top.
type Pixel = (i32, i32);

/// A point with a remark.
pub(crate) struct Ring {
    pub at: (f64, f64),
    pub colour: RGBColor,
}

/// Room left of the axes.
const LEFT: i32 = 100;
/// Room above the axes.
const TOP: i32 = 72;
const BOTTOM: i32 = 64;
/// Room right of the axes for half of a tick's text.
const EDGE: i32 = 28;
/// The distance between the axes and the names of lines.
const LEADER: i32 = 30;
/// The distance from one name to the next.
const APART: i32 = 18;
/// The smallest distance between the axes and the names.
const PLOT: i32 = 640;

/// The smallest size of a figure with room for the names of all lines, in pixels.
pub(crate) fn least_size<'a>(names: impl Iterator<Item = &'a str> + Clone) -> (u32, u32) {
    let height = TOP + BOTTOM + APART * (names.clone().count() as i32 + 1);
    ((LEFT + PLOT + EDGE + room(names)).unsigned_abs(), height.unsigned_abs())
}

/// The room that names of lines take right of the axes.
fn room<'a>(names: impl Iterator<Item = &'a str>) -> i32 {
    let widest = names.map(|name| LEADER + TICK.width(name).ceil() as i32).max();
    widest.unwrap_or_default()
}

/// The rectangle between the axes, in pixels.
struct Frame<'a> {
    x: &'a Axis,
    y: &'a Axis,
    right: i32,
    bottom: i32,
}

impl Frame<'_> {
    fn column(&self, part: f64) -> i32 {
        LEFT + (part * f64::from(self.right - LEFT)).round() as i32
    }

    fn row(&self, part: f64) -> i32 {
        self.bottom - (part * f64::from(self.bottom - TOP)).round() as i32
    }

    fn place(&self, (x, y): (f64, f64)) -> Option<Pixel> {
        Some((self.column(self.x.place(x)?), self.row(self.y.place(y)?)))
    }
}

impl Panel {
    /// Draws axes, lines, and rings on points, below the room for a title and a remark.
    pub fn draw<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        lines: &[Line],
        rings: &[Ring],
    ) -> Result<(), PlotError> {
        let (width, height) = canvas.dim_in_pixel();
        let names: Vec<Option<String>> = lines.iter().map(|line| self.name(line)).collect();
        let frame = Frame {
            x: &self.x,
            y: &self.y,
            right: width.cast_signed() - EDGE - room(names.iter().flatten().map(String::as_str)),
            bottom: height.cast_signed() - BOTTOM,
        };
        self.draw_axes(canvas, &frame)?;
        let longest = lines.iter().map(|line| line.points.len()).max().unwrap_or(0);
        // The distance between marks of one line, in points. Lines differ by their shapes, so even long ones keep their marks.
        let shapes = lines.iter().any(|line| line.mark.is_some_and(|mark| mark != Mark::Dot));
        let every = match lines.len() {
            ..=12 if longest <= 40 => Some(1),
            _ if shapes => Some(longest.div_ceil(8).max(1)),
            _ => None,
        };
        let mut ends = Vec::new();
        let mut left_out = 0;
        for line in lines {
            let places: Vec<_> = line.points.iter().map(|point| frame.place(*point)).collect();
            left_out += places.iter().filter(|place| place.is_none()).count();
            // A point without a place interrupts its line.
            for part in places.split(Option::is_none).filter(|part| part.len() > 1) {
                let part: Vec<Pixel> = part.iter().flatten().copied().collect();
                canvas.draw(&PathElement::new(part, line.colour.stroke_width(2)))?;
            }
            let has_place = |index: usize| places.get(index).is_some_and(Option::is_some);
            for (index, place) in places.iter().enumerate() {
                // Between two points without a place, a point would be invisible without a mark.
                let alone = !has_place(index.wrapping_sub(1)) && !has_place(index + 1);
                let marked = line.mark.and(every).is_some_and(|every| index % every == 0);
                if let (Some(place), true) = (place, alone || marked) {
                    line.mark.unwrap_or(Mark::Dot).draw(canvas, *place, 4, line.colour)?;
                }
            }
            ends.push(places.into_iter().flatten().next_back());
        }
        for ring in rings {
            if let Some(at) = frame.place(ring.at) {
                canvas.draw(&Circle::new(at, 8, ring.colour.stroke_width(2)))?;
            }
        }
        if left_out > 0 {
            let words = format!("values without a place on these axes, left out: {left_out}");
            let at = (INDENT, height.cast_signed() - 8);
            TICK.pen(style::FAINT, Anchor::Left).write(canvas, at, &words)?;
        }
        let named = lines.iter().zip(names).zip(ends);
        let named = named.filter_map(|((line, name), end)| Some((line, name?, end)));
        name_lines(canvas, &frame, named.collect())
    }

    /// The name of a line, with a remark if nothing of the line can be drawn.
    fn name(&self, line: &Line) -> Option<String> {
        let is_seen = |&(x, y): &(f64, f64)| self.x.place(x).and(self.y.place(y)).is_some();
        let name = line.name.as_ref()?;
        Some(match line.points.iter().any(is_seen) {
            true => name.clone(),
            false => format!("{name}: no values"),
        })
    }

    fn draw_axes<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        frame: &Frame<'_>,
    ) -> Result<(), PlotError> {
        let (right, bottom) = (frame.right, frame.bottom);
        let tick = TICK.pen(style::INK, Anchor::Centre);
        for (part, name) in self.x.ticks() {
            let x = frame.column(part);
            canvas.draw(&PathElement::new(vec![(x, TOP), (x, bottom)], style::GRID))?;
            canvas.draw(&PathElement::new(vec![(x, bottom), (x, bottom + 5)], style::FAINT))?;
            tick.write(canvas, (x, bottom + 14), name)?;
        }
        let tick = TICK.pen(style::INK, Anchor::Right);
        for (part, name) in self.y.ticks() {
            let y = frame.row(part);
            canvas.draw(&PathElement::new(vec![(LEFT, y), (right, y)], style::GRID))?;
            canvas.draw(&PathElement::new(vec![(LEFT - 5, y), (LEFT, y)], style::FAINT))?;
            tick.write(canvas, (LEFT - 10, y), name)?;
        }
        let axes = vec![(LEFT, TOP), (LEFT, bottom), (right, bottom)];
        canvas.draw(&PathElement::new(axes, style::FAINT))?;
        let label = LABEL.pen(style::INK, Anchor::Centre);
        label.write(canvas, ((LEFT + right) / 2, bottom + 40), &self.x.label)?;
        let y_label = LABEL.fit(&self.y.label, f64::from(bottom - TOP));
        label.upwards().write(canvas, (14, (TOP + bottom) / 2), &y_label)
    }
}

/// Writes names right of the axes, moved apart if they would overlap, and joins each to the end of its line. The name of a
/// line without an end is at the bottom.
fn name_lines<B: DrawingBackend>(
    canvas: &Canvas<B>,
    frame: &Frame<'_>,
    mut named: Vec<(&Line, String, Option<Pixel>)>,
) -> Result<(), PlotError> {
    let row = |end: Option<Pixel>| end.map_or(frame.bottom, |end| end.1);
    named.sort_by_key(|(_, _, end)| row(*end));
    let wanted: Vec<i32> = named.iter().map(|(_, _, end)| row(*end)).collect();
    let right = frame.right;
    for ((line, name, end), y) in named.into_iter().zip(spread(&wanted, TOP..frame.bottom)) {
        TICK.pen(style::INK, Anchor::Left).write(canvas, (right + LEADER, y), &name)?;
        if let Some(end) = end {
            let leader = vec![end, (right, end.1), (right + LEADER - 14, y)];
            canvas.draw(&PathElement::new(leader, line.colour.mix(0.4)))?;
            let mark = line.mark.unwrap_or(Mark::Dot);
            mark.draw(canvas, (right + LEADER - 10, y), 4, line.colour)?;
        }
    }
    Ok(())
}

/// Places as near as possible to `wanted` (rising), a line of text from each other, and within `bounds` if there is room.
/// Neighbours that would overlap form a group, which is centred on the mean of the places that its members want.
fn spread(wanted: &[i32], bounds: std::ops::Range<i32>) -> Vec<i32> {
    let apart = f64::from(APART);
    let least = f64::from(bounds.start);
    let most = f64::from(bounds.end) - apart * wanted.len().saturating_sub(1) as f64;
    // The sum and the number of the places that the members of a group want, each reduced by the room of the members before it.
    // Then it is enough that groups do not overlap.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for (index, want) in wanted.iter().enumerate() {
        let want = (f64::from(*want) - index as f64 * apart).min(most).max(least);
        let mut group = (want, 1);
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
    starts.enumerate().map(|(index, start)| (start + index as f64 * apart).round() as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names must not overlap, stay in order, and stay near their lines.
    #[test]
    fn crowded_names_are_moved_apart_and_lonely_ones_stay() {
        let places = spread(&[50, 52, 53, 200], 0..400);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= APART - 1), "{places:?}");
        assert_eq!(places[3], 200);
        assert_eq!(places[1], 52, "the crowd is centred: {places:?}");
        assert!(spread(&[], 0..400).is_empty());
    }

    /// Many names at the edge of the figure must not leave it.
    #[test]
    fn crowded_names_stay_within_their_bounds() {
        let crowd = [400; 20];
        let places = spread(&crowd, 40..400);
        assert_eq!((places[0], places[19]), (58, 400));
        let places = spread(&[40; 20], 40..400);
        assert_eq!((places[0], places[19]), (40, 382));
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] == APART), "{places:?}");
    }
}

//! The bundled font: the characters that it can draw, their widths, and text cut to a width.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, ScaleFont};
use plotters::element::Text;
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBColor, register_font};

use crate::PlotError;
use crate::canvas::Canvas;
use crate::style;

const FAMILY: &str = "sans-serif";

static REGULAR: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::regular()).ok());
static BOLD: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::bold()).ok());

/// Registers the crate's own font as the one in which text is drawn. Repeated calls change nothing.
pub(crate) fn register() -> Result<(), PlotError> {
    let fonts =
        [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
    for (style, bytes) in fonts {
        register_font(FAMILY, style, bytes)
            .map_err(|_| PlotError::Draw("the bundled font cannot be read".into()))?;
    }
    Ok(())
}

/// A weight of the font at a size.
#[derive(Clone, Copy)]
pub(crate) struct Face {
    weight: FontStyle,
    size: f64,
}

/// The title of a figure.
pub(crate) const TITLE: Face = Face::bold(22.0);
/// Names and values.
pub(crate) const LABEL: Face = Face::regular(16.0);
/// Ticks and remarks.
pub(crate) const TICK: Face = Face::regular(14.0);

impl Face {
    pub const fn regular(size: f64) -> Self {
        Self { weight: FontStyle::Normal, size }
    }

    pub const fn bold(size: f64) -> Self {
        Self { weight: FontStyle::Bold, size }
    }

    fn font(self) -> Option<&'static FontRef<'static>> {
        match self.weight {
            FontStyle::Bold => BOLD.as_ref(),
            _ => REGULAR.as_ref(),
        }
    }

    /// Returns whether a character is drawn correctly. The font lacks most scripts of Asia and most emoji. Text is set character by
    /// character from left to right, which is wrong for scripts that run the other way and for combining marks.
    fn can_draw(self, character: char) -> bool {
        let runs_left = matches!(
            character,
            '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        );
        let Some(font) = self.font() else { return false };
        let glyph = font.glyph_id(character);
        glyph.0 != 0
            && !runs_left
            && character != char::REPLACEMENT_CHARACTER
            && font.h_advance_unscaled(glyph) > 0.0
            && font.outline(glyph).is_some()
    }

    /// `text` with an ellipsis in place of characters that cannot be drawn, and with single spaces between words.
    fn drawable(self, text: &str) -> impl Iterator<Item = char> {
        let mut before = ' ';
        let shown = text.chars().map(move |character| match character {
            ' ' => ' ',
            character if self.can_draw(character) => character,
            _ => '…',
        });
        shown.filter(move |&character| {
            let repeated = character == before && matches!(character, ' ' | '…');
            before = character;
            !repeated
        })
    }

    /// The width of drawable text in pixels.
    pub fn width(self, text: &str) -> f64 {
        let mut before = None;
        text.chars().map(|character| self.advance(&mut before, character)).sum()
    }

    /// The distance by which a character moves the end of the text. `before` is the character in front of it.
    fn advance(self, before: &mut Option<char>, character: char) -> f64 {
        let Some(font) = self.font() else { return 0.0 };
        let font = font.as_scaled(self.size as f32);
        let glyph = font.glyph_id(character);
        let kern = before.map_or(0.0, |before| font.kern(font.glyph_id(before), glyph));
        *before = Some(character);
        f64::from(font.h_advance(glyph) + kern)
    }

    /// As much of `text` as can be drawn within `room` pixels, with an ellipsis for each missing part.
    pub fn fit(self, text: &str, room: f64) -> String {
        let mut fitting = String::new();
        let (mut width, mut before) = (0.0, None);
        // The end of the longest prefix that leaves room for an ellipsis.
        let mut cut = None;
        let ellipsis = self.width("…");
        for character in self.drawable(text) {
            if width + ellipsis <= room {
                cut = Some(fitting.len());
            }
            width += self.advance(&mut before, character);
            if width > room {
                let Some(cut) = cut else { return String::new() };
                fitting.truncate(cut);
                fitting.truncate(fitting.trim_end_matches([' ', '…']).len());
                fitting.push('…');
                return fitting;
            }
            fitting.push(character);
        }
        fitting.truncate(fitting.trim_end().len());
        fitting
    }

    pub fn pen(self, colour: RGBColor, anchor: Anchor) -> Pen {
        Pen { face: self, colour, anchor, direction: Direction::Right }
    }
}

/// The part of the text that is at its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Left,
    Centre,
    Right,
}

#[derive(Clone, Copy)]
enum Direction {
    Right,
    Up,
}

/// Writes text, centred on its point across its direction. Characters that cannot be drawn and text beyond the canvas are left out,
/// so any text is safe to write.
#[derive(Clone, Copy)]
pub(crate) struct Pen {
    face: Face,
    colour: RGBColor,
    anchor: Anchor,
    direction: Direction,
}

impl Pen {
    /// For text that runs from bottom to top.
    pub fn upwards(self) -> Self {
        Self { direction: Direction::Up, ..self }
    }

    pub fn write<B: DrawingBackend>(
        &self,
        canvas: &Canvas<B>,
        at: (i32, i32),
        text: &str,
    ) -> Result<(), PlotError> {
        let (width, height) = canvas.dim_in_pixel();
        // The room before and behind the point, in the direction of the text.
        let (before, behind) = match self.direction {
            Direction::Right => (at.0, width.cast_signed() - at.0),
            Direction::Up => (height.cast_signed() - at.1, at.1),
        };
        let (horizontal, room) = match self.anchor {
            Anchor::Left => (HPos::Left, behind),
            Anchor::Centre => (HPos::Center, 2 * before.min(behind)),
            Anchor::Right => (HPos::Right, before),
        };
        let text = self.face.fit(text, f64::from(room));
        if text.is_empty() {
            return Ok(());
        }
        let font = (FAMILY, self.face.size, self.face.weight).into_font();
        let style = font.color(&self.colour.to_rgba()).pos(Pos::new(horizontal, VPos::Center));
        let style = match self.direction {
            Direction::Right => style,
            Direction::Up => style.transform(FontTransform::Rotate270),
        };
        canvas.draw(&Text::new(text, at, style))?;
        Ok(())
    }
}

/// The left end of titles and remarks, in pixels.
pub(crate) const INDENT: i32 = 20;

/// Writes a title and, if there is a remark, a line below it.
pub(crate) fn head<B: DrawingBackend>(
    canvas: &Canvas<B>,
    title: &str,
    remark: &str,
) -> Result<(), PlotError> {
    TITLE.pen(style::INK, Anchor::Left).write(canvas, (INDENT, 26), title)?;
    TICK.pen(style::FAINT, Anchor::Left).write(canvas, (INDENT, 52), remark)
}

/// The width of a figure that shows title and remark whole, unless they are very long.
pub(crate) fn head_width(title: &str, remark: &str) -> i32 {
    let widest = TITLE.width(title).max(TICK.width(remark)).ceil() as i32;
    (INDENT + widest + INDENT).clamp(640, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that cannot be drawn would become boxes, or break the SVG.
    #[test]
    fn only_drawable_characters_remain() {
        let cases = [
            ("plain text", "plain text"),
            ("naïve Größe Ж ə", "naïve Größe Ж ə"),
            ("猫", "…"),
            ("猫 and 犬", "… and …"),
            ("قطة", "…"),
            ("a\u{1b}[31mred", "a…[31mred"),
            ("a\r\nb\tc\0", "a…b…c…"),
            ("\u{202e}abc\u{fffd}", "…abc…"),
            ("cafe\u{301}", "cafe…"),
            ("  two   words ", "two words"),
            ("", ""),
        ];
        for (text, drawn) in cases {
            assert_eq!(LABEL.fit(text, 1000.0), drawn, "{text:?}");
        }
    }

    #[test]
    fn text_is_cut_to_its_room_and_no_shorter() {
        let text = "W".repeat(200);
        for room in [0.0, 5.0, 14.0, 30.0, 100.0, 333.0] {
            let cut = TITLE.fit(&text, room);
            assert!(TITLE.width(&cut) <= room, "{room}: {cut}");
            assert!(cut.is_empty() || cut.ends_with('…'));
            assert!(room < 25.0 || TITLE.width(&format!("W{cut}")) > room, "{room}: {cut}");
        }
        let fits = LABEL.width("fits");
        assert_eq!(LABEL.fit("fits", fits), "fits");
        assert_eq!(LABEL.fit("fit  …", 100.0), "fit …");
    }
}

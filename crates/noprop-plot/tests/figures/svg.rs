//! A reader of SVG for the tests: it refuses XML that is not well-formed, and measures the text.

#![expect(clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;

use ab_glyph::{Font, FontRef, ScaleFont};

/// An SVG's elements, in order.
pub struct Svg {
    pub elements: Vec<Element>,
}

/// An element without its children.
pub struct Element {
    pub name: String,
    pub attributes: HashMap<String, String>,
    pub text: String,
}

impl Element {
    pub fn number(&self, attribute: &str) -> f64 {
        self.attributes[attribute].parse().unwrap()
    }

    /// Left, top, right and bottom of a text, by the widths of the font's characters.
    pub fn bounds(&self) -> [f64; 4] {
        let bold = self.attributes.contains_key("font-weight");
        let bytes = if bold { dejavu::sans::bold() } else { dejavu::sans::regular() };
        let font = FontRef::try_from_slice(bytes).unwrap();
        // In the PNG the size is the height of a line, 1.24 times the size in the SVG.
        let height = self.number("font-size") * 1.24;
        let scaled = font.as_scaled(height as f32);
        let advance = |c| f64::from(scaled.h_advance(font.glyph_id(c)));
        let width: f64 = self.text.chars().map(advance).sum();
        let (x, y) = (self.number("x"), self.number("y"));
        let before = match self.attributes["text-anchor"].as_str() {
            "start" => 0.0,
            "middle" => width / 2.0,
            _ => width,
        };
        // Letters without the parts below the line.
        let half = height * 0.35;
        if self.attributes.contains_key("transform") {
            return [x - half, y - (width - before), x + half, y + before];
        }
        [x - before, y - half, x - before + width, y + half]
    }
}

impl Svg {
    /// # Panics
    /// If `text` is not well-formed.
    pub fn parse(text: &str) -> Self {
        let allowed = |c: char| matches!(c, '\n' | ' '..='\u{fffc}' | '\u{10000}'..);
        assert!(text.chars().all(allowed), "a character that XML or the font lacks");
        let (mut elements, mut open): (Vec<Element>, Vec<usize>) = (Vec::new(), Vec::new());
        for piece in text.split_inclusive('>').filter(|piece| !piece.trim().is_empty()) {
            let (before, tag) = piece.split_once('<').unwrap_or_else(|| panic!("> in {piece}"));
            let tag = tag.strip_suffix('>').unwrap_or_else(|| panic!("no end: <{tag}"));
            match open.last() {
                Some(&inner) => elements[inner].text.push_str(unescaped(before).trim()),
                None => assert!(before.trim().is_empty(), "text outside: {before}"),
            }
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(elements[open.pop().unwrap()].name, name);
                continue;
            }
            if tag.strip_suffix('/').is_none() {
                open.push(elements.len());
            }
            elements.push(element(tag.strip_suffix('/').unwrap_or(tag)));
        }
        assert!(open.is_empty() && elements[0].name == "svg");
        Self { elements }
    }

    pub fn size(&self) -> (f64, f64) {
        (self.elements[0].number("width"), self.elements[0].number("height"))
    }

    pub fn of(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(move |element| element.name == name)
    }

    pub fn texts(&self) -> Vec<&str> {
        self.of("text").map(|element| element.text.as_str()).collect()
    }

    /// Returns whether some text contains these words.
    pub fn shows(&self, words: &str) -> bool {
        self.of("text").any(|element| element.text.contains(words))
    }

    /// The middles of marks of a colour that lie left of `right`.
    pub fn marks(&self, colour: &str) -> Vec<(f64, f64)> {
        let circles = self.of("circle").filter(|circle| circle.attributes["fill"] == colour);
        circles.map(|circle| (circle.number("cx"), circle.number("cy"))).collect()
    }
}

fn element(tag: &str) -> Element {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    let mut attributes = HashMap::new();
    while let Some((key, value)) = rest.split_once("=\"") {
        let (value, after) = value.split_once('"').unwrap();
        assert!(!value.contains('<'));
        let twice = attributes.insert(key.trim().to_owned(), unescaped(value));
        assert!(twice.is_none(), "{key} twice in <{tag}>");
        rest = after;
    }
    assert!(rest.trim().is_empty() && name.chars().all(|c| c.is_ascii_lowercase()), "<{tag}>");
    Element { name: name.into(), attributes, text: String::new() }
}

/// `text` with its entities replaced.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('&');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, after) = part.split_once(';').unwrap_or_else(|| panic!("& in {text}"));
        whole.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => panic!("&{entity};"),
        });
        whole.push_str(after);
    }
    whole
}

//! Random changes of training images: turns, flips, moves and holes, as another picture of the same thing might have them.
//!
//! This crate changes pixels. The caller draws the change of each image, so that the randomness of a run stays in one place.

mod host;
mod sources;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

pub(crate) use host::changed;
pub(crate) use sources::Sources;

use crate::error::DataError;

/// The largest angle of a rotation in degrees: half a turn either way reaches every angle.
const MAX_DEGREES: usize = 180;

/// The images in which left and right change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flip {
    /// None.
    #[default]
    Never,
    /// Every second one, at random.
    Random,
}

/// The changes that training images are given, in the order in which they are made. The default is none, as in the paper.
///
/// Its text is `none`, or some of `rotate:D`, `flip`, `shift:N` or `crop:N`, and `cutout:S`, joined by `+`. All numbers are whole; a
/// change with the number 0 is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Augmentation {
    /// Images are rotated about their middle by up to this number of degrees, to either side. Pixels are bilinear, and those that come in
    /// are black.
    pub rotate: usize,
    /// Left and right change places.
    pub flip: Flip,
    /// Images move by up to this number of pixels up or down, and left or right. The pixels that come in are black.
    pub shift: usize,
    /// As `shift`, but the pixels that come in mirror the image at its border. An image is shifted or cropped, not both.
    pub crop: usize,
    /// The side in pixels of a black square whose middle is any pixel. The part of it outside the image has no effect (cutout, DeVries
    /// and Taylor 2017).
    pub cutout: usize,
}

/// The change of one image. Its parts are made in this order.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Change {
    /// The rotation about the middle of the image, in degrees; clockwise, and negative for the other way.
    pub turned: f32,
    /// The flip.
    pub flipped: Flipped,
    /// The number of pixels that the image moves down; negative for up.
    pub down: isize,
    /// The number of pixels that the image moves to the right; negative for left.
    pub right: isize,
    /// The pixels that come in where the image moves away from a border.
    pub border: Border,
    /// The pixels that become black.
    pub hole: Option<Hole>,
}

/// The flip of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flipped {
    /// The image is as it was.
    #[default]
    No,
    /// Left and right have changed places.
    Yes,
}

/// The pixels that come in at a border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Border {
    /// Black ones.
    #[default]
    Black,
    /// Those that lie as far inside the image as they lie outside; the border itself is not repeated.
    Mirrored,
}

/// A square of pixels. It may lie outside the image in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The first row; negative above the image.
    pub top: isize,
    /// The first column; negative on the left of the image.
    pub left: isize,
    /// The number of rows and columns.
    pub side: usize,
}

impl Augmentation {
    /// No change.
    pub const NONE: Self = Self { rotate: 0, flip: Flip::Never, shift: 0, crop: 0, cutout: 0 };

    /// The number of draws for the change of an image.
    pub const DRAWS: usize = 6;

    /// Returns true if no image is changed.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Checks that the changes leave a part of every image in sight.
    ///
    /// # Errors
    /// [`DataError::Augment`] if a move is half of `height` or `width`, or more; if a cutout has the size of an image, or a rotation is
    /// more than half a turn; if images are both shifted and cropped.
    pub fn check(self, height: usize, width: usize) -> Result<(), DataError> {
        let side = height.min(width);
        let (move_by, hole) = (side.saturating_sub(1) / 2, side.saturating_sub(1));
        let images = format!("for images of {height} x {width}");
        let faults = [
            (self.rotate > MAX_DEGREES, format!("a rotation of at most {MAX_DEGREES} degrees")),
            (self.shift > move_by, format!("a shift of at most {move_by} pixels {images}")),
            (self.crop > move_by, format!("a crop of at most {move_by} pixels {images}")),
            (self.shift > 0 && self.crop > 0, "a shift or a crop, not both".into()),
            (self.cutout > hole, format!("a cutout of at most {hole} pixels {images}")),
        ];
        match faults.into_iter().find(|(is_fault, _)| *is_fault) {
            Some((_, expected)) => Err(DataError::Augment { value: self.to_string(), expected }),
            None => Ok(()),
        }
    }

    /// The change of an image of `height` and `width` for `draws`, each uniform in 0..1: for the flip, the pixels down, the pixels to
    /// the right, the rotation, and the row and the column of the middle of the hole.
    pub fn change(self, draws: [f32; Self::DRAWS], height: usize, width: usize) -> Change {
        let [flip, down, right, turn, row, column] = draws;
        let most = self.shift.max(self.crop).min(i16::MAX as usize) as isize;
        let places = (2 * most + 1) as f32;
        let moved = |draw: f32| ((draw * places) as isize).min(2 * most) - most;
        let first = |draw: f32, size: usize| {
            let middle = ((draw * size as f32) as usize).min(size.saturating_sub(1));
            middle as isize - (self.cutout / 2) as isize
        };
        let hole = Hole { top: first(row, height), left: first(column, width), side: self.cutout };
        Change {
            turned: (2.0 * turn - 1.0) * self.rotate as f32,
            flipped: match self.flip {
                Flip::Random if flip < 0.5 => Flipped::Yes,
                Flip::Random | Flip::Never => Flipped::No,
            },
            down: moved(down),
            right: moved(right),
            border: if self.crop > 0 { Border::Mirrored } else { Border::Black },
            hole: (self.cutout > 0).then_some(hole),
        }
    }
}

impl Change {
    /// The row that row `y` of the moved image comes from; `None` if it is black.
    fn source_row(&self, y: usize, height: usize) -> Option<usize> {
        self.border.source(y, self.down, height)
    }

    /// The column that column `x` of the flipped and moved image comes from; `None` if it is black.
    fn source_column(&self, x: usize, width: usize) -> Option<usize> {
        let x = self.border.source(x, self.right, width)?;
        Some(match self.flipped {
            Flipped::No => x,
            Flipped::Yes => width - 1 - x,
        })
    }
}

impl Border {
    /// The place, of `size` places, from which something moved by `by` to `to`; `None` for black.
    fn source(self, to: usize, by: isize, size: usize) -> Option<usize> {
        let from = (to as isize).saturating_sub(by);
        let inside = usize::try_from(from).ok().filter(|&from| from < size);
        match self {
            Self::Mirrored if inside.is_none() => {
                // Between two mirrors the image repeats after twice the way from one border to the other.
                let last = size.saturating_sub(1);
                let place = from.unsigned_abs() % (2 * last).max(1);
                Some(place.min(2 * last - place))
            }
            Self::Mirrored | Self::Black => inside,
        }
    }
}

impl Hole {
    /// The rows and the columns of the hole in an image of `height` and `width`.
    fn clipped(self, height: usize, width: usize) -> (Range<usize>, Range<usize>) {
        let clip = |first: isize, size: usize| {
            let end = first.saturating_add_unsigned(self.side);
            let place = |place: isize| usize::try_from(place).unwrap_or(0).min(size);
            place(first)..place(end)
        };
        (clip(self.top, height), clip(self.left, width))
    }
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |name: &str, number: usize| (number > 0).then(|| format!("{name}:{number}"));
        let changes = [
            with("rotate", self.rotate),
            (self.flip == Flip::Random).then(|| "flip".to_owned()),
            with("shift", self.shift),
            with("crop", self.crop),
            with("cutout", self.cutout),
        ];
        let changes: Vec<String> = changes.into_iter().flatten().collect();
        f.write_str(if changes.is_empty() { "none" } else { "" })?;
        f.write_str(&changes.join("+"))
    }
}

impl FromStr for Augmentation {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let wrong = || {
            DataError::Augment {
            value: text.into(),
            expected: "none, or some of rotate:D, flip, shift:N or crop:N, and cutout:S, joined by +, with whole numbers of at least 1"
                .into(),
        }
        };
        let mut parsed = Self::NONE;
        if text == "none" {
            return Ok(parsed);
        }
        for change in text.split('+') {
            if change == "flip" && parsed.flip == Flip::Never {
                parsed.flip = Flip::Random;
                continue;
            }
            let (name, number) = change.split_once(':').ok_or_else(wrong)?;
            let setting = match name {
                "rotate" => &mut parsed.rotate,
                "shift" => &mut parsed.shift,
                "crop" => &mut parsed.crop,
                "cutout" => &mut parsed.cutout,
                _ => return Err(wrong()),
            };
            match number.parse() {
                Ok(number) if number > 0 && *setting == 0 => *setting = number,
                _ => return Err(wrong()),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The text is in the settings of a run, which must be read again.
    #[test]
    fn is_written_as_it_is_read() {
        for text in [
            "none",
            "flip",
            "shift:3",
            "flip+shift:12",
            "cutout:4",
            "rotate:9+flip+crop:2+cutout:8",
        ] {
            assert_eq!(text.parse::<Augmentation>().unwrap().to_string(), text);
        }
        let other_order = "cutout:3+shift:2+flip+rotate:5".parse::<Augmentation>().unwrap();
        assert_eq!(other_order.to_string(), "rotate:5+flip+shift:2+cutout:3");
        for text in [
            "",
            "flop",
            "shift",
            "shift:",
            "shift:0",
            "shift:-1",
            "flip+flip",
            "flip+",
            "rotate:1.5",
            "crop:2+crop:2",
            "flip:1",
            "none+flip",
            "cutout:99999999999999999999999",
        ] {
            let error = text.parse::<Augmentation>().unwrap_err().to_string();
            assert!(error.contains("flip, shift:N or crop:N"), "{error}");
        }
    }

    /// Every place must be reached, both ends included, and none beyond. What is not asked for must not happen.
    #[test]
    fn draws_cover_all_changes_evenly() {
        let all: Augmentation = "rotate:10+flip+shift:2+cutout:3".parse().unwrap();
        let (mut downs, mut tops) = (BTreeMap::new(), BTreeMap::new());
        for step in 0..1000 {
            let draw = step as f32 / 1000.0;
            let change = all.change([draw, draw, 0.999_999_94, draw, draw, 0.999_999_94], 5, 7);
            assert_eq!((change.right, change.border), (2, Border::Black));
            assert_eq!(change.flipped == Flipped::Yes, draw < 0.5);
            assert!((change.turned - (20.0 * draw - 10.0)).abs() < 1e-5);
            let Hole { top, left, side } = change.hole.unwrap();
            assert_eq!((left, side), (6 - 1, 3));
            *downs.entry(change.down).or_insert(0) += 1;
            *tops.entry(top).or_insert(0) += 1;
        }
        assert_eq!(downs.keys().copied().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        // The middle of the hole is in each of five rows.
        assert_eq!(tops.keys().copied().collect::<Vec<_>>(), [-1, 0, 1, 2, 3]);
        for count in downs.values().chain(tops.values()) {
            assert!((199..=201).contains(count), "{downs:?} {tops:?}");
        }
        let crop = "crop:2".parse::<Augmentation>().unwrap().change([0.0; 6], 5, 5);
        let moved = Change { down: -2, right: -2, border: Border::Mirrored, ..Change::default() };
        assert_eq!(crop, moved);
        let none = Augmentation::NONE.change([0.0, 0.9, 0.1, 0.4, 0.5, 0.6], 5, 5);
        assert_eq!(none, Change::default());
    }

    /// A place outside must be that of a mirror at the border, however far it is.
    #[test]
    fn borders_mirror_without_repeating_themselves() {
        let sources = |by| (0..4).map(move |to| Border::Mirrored.source(to, by, 4).unwrap());
        for (by, expected) in
            [(0, [0, 1, 2, 3]), (2, [2, 1, 0, 1]), (-2, [2, 3, 2, 1]), (7, [1, 0, 1, 2])]
        {
            assert_eq!(sources(by).collect::<Vec<_>>(), expected, "{by}");
        }
        assert_eq!(Border::Mirrored.source(0, isize::MIN, 1), Some(0));
        assert_eq!(Border::Black.source(0, isize::MIN, 1), None);
    }

    /// An image that is moved out of itself or covered is black, under the label of what it was.
    #[test]
    fn a_change_out_of_sight_is_refused() {
        let check = |text: &str| text.parse::<Augmentation>().unwrap().check(16, 28);
        assert!(check("rotate:180+flip+crop:7+cutout:15").is_ok() && check("shift:7").is_ok());
        for (text, expected) in [
            ("shift:8", "a shift of at most 7 pixels for images of 16 x 28"),
            ("crop:8", "a crop of at most 7 pixels for images of 16 x 28"),
            ("cutout:16", "a cutout of at most 15 pixels for images of 16 x 28"),
            ("rotate:181", "a rotation of at most 180 degrees"),
            ("shift:2+crop:2", "a shift or a crop, not both"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert_eq!(error, format!("augment must be {expected}, got {text}"));
        }
    }
}

//! The reasons why a file cannot be used as a picture, and the limits that pictures have.

use std::fmt;

use super::Content;

/// The largest number of pixels that is decoded: four times that of a camera.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The longest side that is decoded.
pub const MAX_SIDE: u32 = 30_000;
/// The longest file that is read, in bytes.
pub(crate) const MAX_FILE: u64 = 1 << 29;

/// The reason why a file cannot be used as a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureFault {
    /// It is not a file, but the thing named here, with its article.
    NoFile(&'static str),
    /// It is neither PNG nor JPEG.
    NoPicture(Content),
    /// It has more bytes than are read.
    TooLong {
        /// The length in bytes, as far as it is known.
        bytes: u64,
    },
    /// It has no pixels.
    Empty,
    /// It has more pixels than any camera makes.
    TooLarge {
        /// The width in pixels.
        width: u32,
        /// The height in pixels.
        height: u32,
    },
    /// A part of the picture is missing.
    EndsEarly,
    /// It is damaged, or uses a part of its format that is not read.
    Damaged(String),
    /// It is a JPEG of a kind that is not read.
    Unsupported(&'static str),
    /// It has 16 bits a channel but uses only low values, so that it would be black.
    Dark {
        /// The highest value in it, of 65535.
        highest: u16,
    },
    /// It is transparent, and white where it is not.
    Invisible,
    /// The wanted size has no pixels, or the wanted number of channels is not that of a picture.
    Shape {
        /// The (C, H, W) asked for.
        wanted: (usize, usize, usize),
    },
}

impl fmt::Display for PictureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile(kind) => write!(f, "it is {kind} and not a file"),
            Self::NoPicture(content) => write!(f, "it is neither PNG nor JPEG{content}"),
            Self::TooLong { bytes } => write!(
                f,
                "it has {} MiB; make it smaller (at most {} MiB)",
                bytes.div_ceil(1 << 20),
                MAX_FILE >> 20
            ),
            Self::Empty => f.write_str("it has no pixels"),
            Self::TooLarge { width, height } => write!(
                f,
                "it is {width} x {height} pixels; make it smaller (at most {} million pixels, {MAX_SIDE} a side)",
                MAX_PIXELS / 1_000_000
            ),
            Self::EndsEarly => f.write_str(
                "it ends early, and a part of the picture is missing; copy or download it again",
            ),
            Self::Damaged(reason) => write!(f, "it is damaged or not supported: {reason}"),
            Self::Unsupported(kind) => write!(
                f,
                "it is a JPEG of a rare kind, {kind}; save it as PNG or as an ordinary JPEG"
            ),
            Self::Dark { highest } => write!(
                f,
                "its 16-bit values reach only {highest} of 65535, so it would be black; scale them to the full range or \
                 save it with 8 bits"
            ),
            Self::Invisible => f.write_str(
                "nothing in it is visible: it is transparent, and white where it is not; save it with the ground that it \
                 is meant for",
            ),
            Self::Shape { wanted: (c, h, w) } => write!(
                f,
                "a picture has 1 or 3 channels and at least one pixel, the network wants {c} x {h} x {w}"
            ),
        }
    }
}

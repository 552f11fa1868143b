//! The reasons why a file cannot be used as a picture, and the limits that pictures have.

use super::Content;

/// The largest number of pixels that is decoded: four times that of a camera.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The longest side that is decoded.
pub const MAX_SIDE: u32 = 30_000;
/// The longest file that is read, in bytes.
pub(crate) const MAX_FILE: u64 = 1 << 29;

/// The reason why a file cannot be used as a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PictureFault {
    /// It is not a file, but the thing named here, with its article.
    #[error("it is {0} and not a file")]
    NoFile(&'static str),
    /// It is neither PNG nor JPEG.
    #[error("it is neither PNG nor JPEG{0}")]
    NoPicture(Content),
    /// It has more bytes than are read: this number, as far as it is known.
    #[error("it has {} MiB; make it smaller (at most {} MiB)", .0.div_ceil(1 << 20), MAX_FILE >> 20)]
    TooLong(u64),
    /// It has no pixels.
    #[error("it has no pixels")]
    Empty,
    /// It has more pixels than any camera makes.
    #[error(
        "it is {width} x {height} pixels; make it smaller (at most {} million pixels, {MAX_SIDE} a side)",
        MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The width in pixels.
        width: u32,
        /// The height in pixels.
        height: u32,
    },
    /// A part of the picture is missing.
    #[error("it ends early, and a part of the picture is missing; copy or download it again")]
    EndsEarly,
    /// It is damaged, or uses a part of its format that is not read, for the decoder's reason.
    #[error("it is damaged or not supported: {0}")]
    Damaged(String),
    /// It is a JPEG of a kind that is not read.
    #[error("it is a JPEG of a rare kind, {0}; save it as PNG or as an ordinary JPEG")]
    Unsupported(&'static str),
    /// It has 16 bits a channel but uses only values up to this one, of 65535, so that it would be black.
    #[error(
        "its 16-bit values reach only {0} of 65535, so it would be black; scale them to the full range or save it with 8 bits"
    )]
    Dark(u16),
    /// It is transparent, and white where it is not.
    #[error(
        "nothing in it is visible: it is transparent, and white where it is not; save it with the ground that it is meant for"
    )]
    Invisible,
    /// The wanted (C, H, W) has no pixels, or its number of channels is not that of a picture.
    #[error(
        "a picture has 1 or 3 channels and at least one pixel, the network wants {} x {} x {}",
        .0.0, .0.1, .0.2
    )]
    Shape((usize, usize, usize)),
}

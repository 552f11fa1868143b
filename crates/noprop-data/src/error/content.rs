//! The kind of a file that is neither PNG nor JPEG, by its bytes rather than its name.

use std::fmt;

/// The kind of a file that is neither PNG nor JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// It has no bytes.
    Nothing,
    /// All its bytes are zero: it got its length, and then nothing was written.
    Zeros,
    /// A picture of another format.
    Picture(&'static str),
    /// A file that holds others.
    Archive(&'static str),
    /// A file of another kind; the text has an article.
    File(&'static str),
    /// A page that a server sent in place of the picture.
    WebPage,
    /// A pointer that Git LFS has not replaced by the picture.
    LfsPointer,
    /// Notes of macOS about another file.
    AppleDouble,
    /// A PNG or JPEG with other bytes before it.
    Late {
        /// The format.
        format: &'static str,
        /// The number of bytes before it.
        at: usize,
    },
    /// Text.
    Text,
    /// None of these.
    Unknown,
}

use Content::{AppleDouble, Archive, File, LfsPointer, Picture};

/// Kinds of files: the place of the bytes that identify each, those bytes, and the kind. The first that fits is taken.
const KNOWN: &[(usize, &[u8], Content)] = &[
    (8, b"WEBP", Picture("WebP")),
    (4, b"ftyphei", Picture("HEIC")),
    (4, b"ftyphev", Picture("HEIC")),
    (4, b"ftypavi", Picture("AVIF")),
    (4, b"ftypmif1", Picture("HEIC or AVIF")),
    (4, b"ftypmsf1", Picture("HEIC or AVIF")),
    (4, b"ftypcrx", Picture("camera raw")),
    (4, b"ftyp", File("a film")),
    (0, b"GIF8", Picture("GIF")),
    (8, b"CR\x02", Picture("camera raw")),
    (0, b"IIRO", Picture("camera raw")),
    (0, b"IIRS", Picture("camera raw")),
    (0, b"MMOR", Picture("camera raw")),
    (0, b"IIU\0", Picture("camera raw")),
    (0, b"FUJIFILMCCD-RAW", Picture("camera raw")),
    (0, b"II*\0", Picture("TIFF or camera raw")),
    (0, b"MM\0*", Picture("TIFF or camera raw")),
    (0, b"II+\0", Picture("TIFF")),
    (0, b"MM\0+", Picture("TIFF")),
    (0, b"8BPS", Picture("Photoshop")),
    (0, b"gimp xcf", Picture("GIMP")),
    (0, b"\0\0\x01\0", Picture("ICO")),
    (0, b"\xFF\x0A", Picture("JPEG XL")),
    (4, b"JXL \r\n\x87\n", Picture("JPEG XL")),
    (4, b"jP  \r\n\x87\n", Picture("JPEG 2000")),
    (0, b"\xFF\x4F\xFF\x51", Picture("JPEG 2000")),
    (0, b"v/1\x01", Picture("OpenEXR")),
    (0, b"qoif", Picture("QOI")),
    (128, b"DICM", Picture("DICOM")),
    (0, b"%PDF", File("a PDF document")),
    (0, b"%!PS", File("a PostScript document")),
    (0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", File("a file of Windows, such as Thumbs.db")),
    (4, b"Bud1", File("a file of macOS, such as .DS_Store")),
    (0, b"\x93NUMPY", File("a NumPy array")),
    (0, b"\x89HDF", File("an HDF5 file")),
    (0, b"\0\x05\x16\x07", AppleDouble),
    (0, b"\0\x05\x16\0", AppleDouble),
    (0, b"version https://git-lfs", LfsPointer),
    (0, b"PK\x03\x04", Archive("zip")),
    (0, b"\x1F\x8B", Archive("gzip")),
    (0, b"BZh", Archive("bzip2")),
    (0, b"\xFD7zXZ\0", Archive("xz")),
    (0, b"7z\xBC\xAF\x27\x1C", Archive("7z")),
    (0, b"Rar!", Archive("rar")),
    (257, b"ustar", Archive("tar")),
];

/// The formats that are read, and the bytes with which they begin.
const READABLE: &[(&str, &[u8])] = &[
    ("PNG", b"\x89PNG\r\n\x1A\n"),
    ("JPEG", b"\xFF\xD8\xFF\xDB"),
    ("JPEG", b"\xFF\xD8\xFF\xE0"),
    ("JPEG", b"\xFF\xD8\xFF\xE1"),
];
/// The bytes in which such a beginning is searched for.
const SEARCHED: usize = 1 << 16;
/// The bytes by which text is recognised.
const READ: usize = 1 << 10;

impl Content {
    /// The kind of a `file` that does not begin as a PNG or JPEG does.
    pub(crate) fn of(file: &[u8]) -> Self {
        if file.is_empty() {
            return Self::Nothing;
        }
        if file.iter().all(|&byte| byte == 0) {
            return Self::Zeros;
        }
        let known = KNOWN
            .iter()
            .find(|(at, bytes, _)| file.get(*at..).is_some_and(|from| from.starts_with(bytes)));
        if let Some((.., content)) = known {
            return *content;
        }
        // Two letters alone could begin a text.
        if let [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] = file {
            return Picture("BMP");
        }
        let late = READABLE.iter().filter_map(|&(format, bytes)| {
            let searched = file.get(..SEARCHED).unwrap_or(file);
            let at = searched.windows(bytes.len()).position(|window| window == bytes)?;
            Some((at, format))
        });
        if let Some((at, format)) = late.min() {
            return Self::Late { format, at };
        }
        Self::of_text(file.get(..READ).unwrap_or(file))
    }

    fn of_text(start: &[u8]) -> Self {
        // The last character may be cut.
        let text = match std::str::from_utf8(start) {
            Err(error) if error.error_len().is_some() => return Self::Unknown,
            _ => String::from_utf8_lossy(start).to_lowercase(),
        };
        let text = text.trim_start_matches('\u{FEFF}').trim_start();
        if text.contains(|letter: char| letter.is_control() && !letter.is_whitespace()) {
            Self::Unknown
        } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
            Self::WebPage
        } else if text.contains("<svg") {
            Picture("SVG")
        } else if text.starts_with("<?xml") {
            File("an XML document")
        } else {
            Self::Text
        }
    }
}

impl fmt::Display for Content {
    /// Writes the part of a sentence that follows "it is neither PNG nor JPEG".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str(": it is empty; copy or download it again"),
            Self::Zeros => f.write_str(": all its bytes are zero; copy or download it again"),
            Picture(format) => {
                write!(f, " but {format}, whatever its name; save it as PNG or JPEG")
            }
            Archive(format) => write!(f, " but a {format} archive; unpack it"),
            File(kind) => write!(f, " but {kind}; remove it, or save what it shows as PNG or JPEG"),
            Self::WebPage => f.write_str(
                " but a web page that a server sent in place of the picture; download it again",
            ),
            LfsPointer => f.write_str(
                " but a Git LFS pointer to a picture that was not downloaded; run `git lfs pull`",
            ),
            AppleDouble => f.write_str(" but notes of macOS about another file; remove it"),
            Self::Late { format, at } => write!(
                f,
                ": a {format} begins {at} bytes into it; remove what stands before, or download it again"
            ),
            Self::Text => f.write_str(" but text; remove it, or download the picture again"),
            Self::Unknown => f.write_str("; save it as one of them"),
        }
    }
}

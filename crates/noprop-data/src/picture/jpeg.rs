//! The check that a JPEG file is complete.
//!
//! The decoder fills what is missing with grey and reports nothing. Its strict mode cannot be reached through `image` and
//! would not be enough: where a marker comes too early, it reads zeros. So each file is walked before it is decoded. Segments
//! are skipped by their lengths, so that the thumbnail of a camera is not taken for the picture. The codes of every scan are
//! counted. The picture must end with its marker. Bytes after that, such as the second picture of a phone, are not read.
//!
//! The terms are those of ITU-T T.81.

mod blocks;
mod codes;
mod frame;
mod scan;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use codes::Table;
use frame::Frame;
use scan::Scan;

use super::PictureFault;

/// The most scans of a picture, as in the decoder. Without a limit, a file of small scans would take hours.
const MAX_SCANS: usize = 100;

/// Markers without a segment: restarts, and the start of the file.
const ALONE: RangeInclusive<u8> = 0xD0..=0xD8;
const RESTART: u8 = 0xD0;
const TABLES: u8 = 0xC4;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;
const INTERVAL: u8 = 0xDD;

/// Checks that the picture of a JPEG file is complete.
///
/// # Errors
/// [`PictureFault::EndsEarly`] if a part of it is missing, [`PictureFault::Unsupported`] for a kind that is not read, and other
/// faults of its headers.
pub(super) fn check(file: &[u8]) -> Result<(), PictureFault> {
    let mut jpeg = Jpeg::default();
    let mut rest = file;
    loop {
        let (marker, after) = next_marker(rest)?;
        rest = after;
        if marker == END {
            let frame = jpeg.frame.ok_or_else(|| damaged("there is no picture in it"))?;
            return frame.check_complete();
        }
        if ALONE.contains(&marker) {
            continue;
        }
        let (segment, after) = segment(rest)?;
        rest = after;
        match marker {
            TABLES => jpeg.define_tables(segment)?,
            INTERVAL => jpeg.interval = u16::from_be_bytes(first(segment)?).into(),
            SCAN => rest = jpeg.scan(segment, rest)?,
            0xC0..=0xCF | 0xF7 => match jpeg.frame {
                None => jpeg.frame = Some(Frame::new(marker, segment)?),
                Some(_) => return Err(damaged("its size is there twice")),
            },
            _ => {}
        }
    }
}

/// The next marker and the bytes after it. Any number of bytes 0xFF may precede a marker.
fn next_marker(bytes: &[u8]) -> Result<(u8, &[u8]), PictureFault> {
    let at = bytes
        .array_windows()
        .position(|&[before, byte]| before == 0xFF && !matches!(byte, 0 | 0xFF));
    match at.and_then(|at| bytes.get(at + 1..)) {
        Some([marker, after @ ..]) => Ok((*marker, after)),
        _ => Err(PictureFault::EndsEarly),
    }
}

/// The bytes of a segment, and those after it.
fn segment(bytes: &[u8]) -> Result<(&[u8], &[u8]), PictureFault> {
    let length = bytes.first_chunk().ok_or(PictureFault::EndsEarly)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (whole, after) = bytes.split_at_checked(length).ok_or(PictureFault::EndsEarly)?;
    let body = whole.get(2..).ok_or_else(|| damaged("a segment is shorter than its length"))?;
    Ok((body, after))
}

/// The first bytes of a segment.
fn first<const N: usize>(segment: &[u8]) -> Result<[u8; N], PictureFault> {
    segment.first_chunk().copied().ok_or_else(|| damaged("a segment is too short"))
}

/// Copies codes up to the next marker, and returns the bytes from there on. A byte 0xFF before a zero does not begin a marker.
fn unstuff<'a>(bytes: &'a [u8], codes: &mut Vec<u8>) -> Result<&'a [u8], PictureFault> {
    codes.clear();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == 0xFF) {
        let (plain, from) = rest.split_at(at);
        codes.extend_from_slice(plain);
        rest = match from {
            [byte, 0, after @ ..] => {
                codes.push(*byte);
                after
            }
            [_, after @ ..] if after.first() == Some(&0xFF) => after,
            _ => return Ok(from),
        };
    }
    Err(PictureFault::EndsEarly)
}

fn damaged(reason: &str) -> PictureFault {
    PictureFault::Damaged(reason.into())
}

/// The tables that the segments have defined so far.
#[derive(Default)]
struct Jpeg {
    frame: Option<Frame>,
    /// The tables of DC codes, and those of AC codes.
    tables: [[Option<Table>; 4]; 2],
    /// Units between two restart markers; 0 if there are none.
    interval: usize,
    scans: usize,
}

impl Jpeg {
    fn define_tables(&mut self, segment: &[u8]) -> Result<(), PictureFault> {
        let mut rest = segment;
        while let Some((&[place, ref counts @ ..], after)) = rest.split_first_chunk::<17>() {
            let bad = || damaged("it has a bad table of codes");
            let tables = self.tables.get_mut(usize::from(place >> 4)).ok_or_else(bad)?;
            let table = tables.get_mut(usize::from(place & 15)).ok_or_else(bad)?;
            let symbols = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, after) = after.split_at_checked(symbols).ok_or_else(bad)?;
            *table = Some(Table::new(counts, symbols).ok_or_else(bad)?);
            rest = after;
        }
        Ok(())
    }

    /// Reads the scan that follows its header, and returns the bytes after it.
    fn scan<'a>(&mut self, header: &[u8], codes: &'a [u8]) -> Result<&'a [u8], PictureFault> {
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(damaged("it has too many scans"));
        }
        let frame = self.frame.as_mut().ok_or_else(|| damaged("its size is missing"))?;
        let scan = Scan::new(header, frame)?;
        let units = scan.units(frame);
        // The decoder makes such a picture grey, or takes tables that need not be its own, and reports nothing.
        let Some(mut pass) = scan.pass(frame, &self.tables) else {
            return Err(PictureFault::Unsupported("without its tables of codes"));
        };
        let interval = if self.interval == 0 { units } else { self.interval };
        let (mut from, mut rest, mut plain) = (0, codes, Vec::new());
        for restart in (0..8).cycle() {
            rest = unstuff(rest, &mut plain)?;
            let to = units.min(from + interval);
            pass.read(&plain, from..to)?;
            if to == units {
                break;
            }
            let (marker, after) = next_marker(rest)?;
            if marker != RESTART + restart {
                return Err(PictureFault::EndsEarly);
            }
            (from, rest) = (to, after);
        }
        Ok(rest)
    }
}

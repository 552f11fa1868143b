//! The size of the picture in a JPEG, its planes, and the parts of them that scans have held.

use std::ops::RangeInclusive;

use super::blocks::BLOCK;
use super::{damaged, first};
use crate::picture::{PictureFault, check_size};

/// The blocks along a side of a unit.
const SIDES: RangeInclusive<usize> = 1..=4;

/// The size of the picture and its planes.
pub(super) struct Frame {
    /// Each scan adds detail to the picture.
    pub progressive: bool,
    width: usize,
    height: usize,
    pub planes: Vec<Plane>,
}

/// A plane of the picture, such as its brightness.
pub(super) struct Plane {
    pub id: u8,
    /// Blocks of 8 x 8 samples in a unit, across and down.
    pub across: usize,
    pub down: usize,
    /// For each coefficient, the lowest of its bits that the last scan of it held.
    pub lowest: [u8; BLOCK],
    /// For each block a bit a coefficient: set if it is known not to be 0.
    pub nonzero: Vec<u64>,
}

impl Frame {
    /// Reads the segment of a marker among 0xC0 to 0xCF, or 0xF7.
    pub fn new(marker: u8, segment: &[u8]) -> Result<Self, PictureFault> {
        match marker {
            0xC0..=0xC2 => {}
            0xC3 | 0xF7 => return Err(PictureFault::Unsupported("lossless")),
            0xC5..=0xC7 | 0xCD.. => return Err(PictureFault::Unsupported("hierarchical")),
            _ => return Err(PictureFault::Unsupported("with arithmetic codes")),
        }
        let [depth, h0, h1, w0, w1, count] = first(segment)?;
        if depth != 8 {
            return Err(PictureFault::Unsupported("with more than 8 bits a channel"));
        }
        let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
        check_size(width.into(), height.into())?;
        let (planes, _) = segment.get(6..).unwrap_or_default().as_chunks();
        let planes: Vec<_> = planes.iter().map(|&[id, sides, _]| Plane::new(id, sides)).collect();
        let sound = matches!(count, 1 | 3 | 4)
            && planes.len() == usize::from(count)
            && planes.iter().all(|p| SIDES.contains(&p.across) && SIDES.contains(&p.down));
        if !sound {
            return Err(damaged("its planes do not make a picture"));
        }
        let (width, height) = (width.into(), height.into());
        let frame = Self { progressive: marker == 0xC2, width, height, planes };
        let (across, _) = frame.most();
        // zune-jpeg 0.5.15 shows garbage then, or panics.
        if frame.planes.first().is_some_and(|brightness| brightness.across < across) {
            return Err(PictureFault::Unsupported(
                "with colours that are finer than its brightness",
            ));
        }
        Ok(frame)
    }

    /// The units of a scan of several planes.
    pub fn units(&self) -> usize {
        let (across, down) = self.most();
        self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down)
    }

    /// The blocks of a scan of `plane` alone.
    pub fn blocks(&self, plane: &Plane) -> usize {
        let (across, down) = self.most();
        (self.width * plane.across).div_ceil(8 * across)
            * (self.height * plane.down).div_ceil(8 * down)
    }

    fn most(&self) -> (usize, usize) {
        let most = |side: fn(&Plane) -> usize| self.planes.iter().map(side).max().unwrap_or(1);
        (most(|plane| plane.across), most(|plane| plane.down))
    }

    /// Checks that the scans have held all bits of all coefficients.
    pub fn check_complete(&self) -> Result<(), PictureFault> {
        let complete = self.planes.iter().all(|plane| plane.lowest == [0; BLOCK]);
        if complete { Ok(()) } else { Err(PictureFault::EndsEarly) }
    }
}

impl Plane {
    fn new(id: u8, sides: u8) -> Self {
        let (across, down) = (usize::from(sides >> 4), usize::from(sides & 15));
        Self { id, across, down, lowest: [u8::MAX; BLOCK], nonzero: Vec::new() }
    }
}

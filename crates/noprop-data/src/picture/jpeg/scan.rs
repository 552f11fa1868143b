//! The header of a scan of a JPEG: its planes, and the coefficients of them that it holds.

use std::iter::repeat_n;
use std::ops::RangeInclusive;

use super::blocks::{BLOCK, Band, Pass};
use super::codes::Table;
use super::frame::Frame;
use super::{damaged, first};
use crate::picture::PictureFault;

/// The most blocks in a unit of several planes, by the standard.
const MAX_BLOCKS: usize = 10;

/// The header of a scan.
pub(super) struct Scan {
    /// The blocks of a unit. A unit of one plane is a block.
    blocks: Vec<Block>,
    /// The coefficients of each block that it holds.
    coefficients: RangeInclusive<usize>,
    /// The lowest bit that an earlier scan has held, if this one refines it, or 0.
    high: u8,
    /// The lowest bit that it holds.
    low: u8,
}

#[derive(Clone, Copy)]
struct Block {
    /// The number of its plane.
    plane: usize,
    /// The places of its tables of codes.
    dc: usize,
    ac: usize,
}

impl Scan {
    /// Reads the header of a scan of a picture of `frame`.
    pub fn new(header: &[u8], frame: &Frame) -> Result<Self, PictureFault> {
        let [count] = first(header)?;
        let (chosen, after) = header
            .get(1..)
            .and_then(|rest| rest.split_at_checked(2 * usize::from(count)))
            .ok_or_else(|| damaged("a segment is too short"))?;
        let mut blocks = Vec::new();
        for &[id, tables] in chosen.as_chunks().0 {
            let mut planes = frame.planes.iter().enumerate();
            let (number, plane) = planes
                .find(|(_, plane)| plane.id == id)
                .ok_or_else(|| damaged("a scan has a plane that the picture does not have"))?;
            let block = Block { plane: number, dc: (tables >> 4).into(), ac: (tables & 15).into() };
            let of_unit = if count == 1 { 1 } else { plane.across * plane.down };
            blocks.extend(repeat_n(block, of_unit));
        }
        if blocks.len() > MAX_BLOCKS && count > 1 {
            return Err(damaged("a unit has too many blocks"));
        }
        if !frame.progressive {
            // zune-jpeg 0.5.15 mixes their blocks up, and reports nothing.
            if usize::from(count) != frame.planes.len() {
                return Err(PictureFault::Unsupported("with its planes one after another"));
            }
            // The rest of the header has no meaning then, and some writers put anything there.
            return Ok(Self { blocks, coefficients: 0..=BLOCK - 1, high: 0, low: 0 });
        }
        let [from, to, bits] = first(after)?;
        if !matches!((from, to, count), (0, 0, 1..) | (1.., ..64, 1)) || from > to {
            return Err(damaged("a scan has coefficients that do not go together"));
        }
        let coefficients = usize::from(from)..=usize::from(to);
        Ok(Self { blocks, coefficients, high: bits >> 4, low: bits & 15 })
    }

    /// The number of its units. A scan of one plane has the blocks that the plane needs, and no others.
    pub fn units(&self, frame: &Frame) -> usize {
        match self.blocks.as_slice() {
            [block] => frame.planes.get(block.plane).map_or(0, |plane| frame.blocks(plane)),
            _ => frame.units(),
        }
    }

    /// Notes in `frame` the coefficients that the scan holds, and returns the way to read them if its tables are there.
    pub fn pass<'a>(
        &self,
        frame: &'a mut Frame,
        [dc, ac]: &'a [[Option<Table>; 4]; 2],
    ) -> Option<Pass<'a>> {
        let dc = |block: &Block| dc.get(block.dc)?.as_ref();
        let ac = |block: &Block| ac.get(block.ac)?.as_ref();
        let units = self.units(frame);
        for block in &self.blocks {
            let lowest = &mut frame.planes.get_mut(block.plane)?.lowest;
            lowest.get_mut(self.coefficients.clone())?.fill(self.low);
        }
        if !frame.progressive {
            let tables = self.blocks.iter().map(|block| Some((dc(block)?, ac(block)?)));
            return Some(Pass::Whole(tables.collect::<Option<_>>()?));
        }
        if *self.coefficients.start() == 0 {
            return Some(match self.high {
                0 => Pass::Mean(self.blocks.iter().map(dc).collect::<Option<_>>()?),
                _ => Pass::MeanBit(self.blocks.len()),
            });
        }
        let block = self.blocks.first()?;
        let nonzero = &mut frame.planes.get_mut(block.plane)?.nonzero;
        nonzero.resize(units, 0);
        let band = Band { table: ac(block)?, coefficients: self.coefficients.clone(), nonzero };
        Some(if self.high == 0 { Pass::Band(band) } else { Pass::BandBit(band) })
    }
}

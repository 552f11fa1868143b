//! The blocks in the scans of a JPEG, which are read to their ends and not decoded.

use std::ops::{Range, RangeInclusive};

use super::codes::{Bits, Code, Table};
use super::damaged;
use crate::picture::PictureFault;

/// The coefficients of a block of 8 x 8 samples.
pub(super) const BLOCK: usize = 64;

/// The part of its blocks that a scan holds.
pub(super) enum Pass<'a> {
    /// All coefficients. Each block of a unit has a table of DC codes and one of AC codes.
    Whole(Vec<(&'a Table, &'a Table)>),
    /// The upper bits of the means. Each block of a unit has a table of DC codes.
    Mean(Vec<&'a Table>),
    /// One more bit of the means, for this number of blocks a unit.
    MeanBit(usize),
    /// The upper bits of other coefficients.
    Band(Band<'a>),
    /// One more bit of other coefficients.
    BandBit(Band<'a>),
}

/// Some coefficients of all blocks of a plane.
pub(super) struct Band<'a> {
    /// The AC codes.
    pub table: &'a Table,
    /// Within 1..=63.
    pub coefficients: RangeInclusive<usize>,
    /// For each block a bit a coefficient: set if it is known not to be 0.
    pub nonzero: &'a mut [u64],
}

impl Pass<'_> {
    /// Reads the units between two restart markers.
    ///
    /// # Errors
    /// [`PictureFault::EndsEarly`] if the codes end before the last unit does, [`PictureFault::Damaged`] for bits that are not
    /// a code.
    pub fn read(&mut self, codes: &[u8], units: Range<usize>) -> Result<(), PictureFault> {
        let mut bits = Bits::new(codes);
        match self {
            Self::Whole(tables) => {
                for _ in units {
                    for (dc, ac) in tables.iter() {
                        let block = whole(&mut bits, dc, ac);
                        there(&bits, block)?;
                    }
                }
            }
            Self::Mean(tables) => {
                for _ in units {
                    for table in tables.iter() {
                        let mean = table.code(bits.next()).map(|code| bits.skip(code.bits()));
                        there(&bits, mean)?;
                    }
                }
            }
            Self::MeanBit(blocks) => {
                bits.skip_far(units.len() * *blocks);
                there(&bits, Some(()))?;
            }
            Self::Band(band) => {
                let mut run = 0;
                for block in band.nonzero.get_mut(units).unwrap_or_default() {
                    if run > 0 {
                        run -= 1;
                        continue;
                    }
                    let read = first_bits(&mut bits, band.table, &band.coefficients, block);
                    run = there(&bits, read)?;
                }
            }
            Self::BandBit(band) => {
                let mut run = 0;
                for block in band.nonzero.get_mut(units).unwrap_or_default() {
                    let read = next_bit(&mut bits, band.table, &band.coefficients, block, run);
                    run = there(&bits, read)?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the value read, if the codes did not end before.
#[inline]
fn there<T>(bits: &Bits<'_>, read: Option<T>) -> Result<T, PictureFault> {
    match (read, bits.left()) {
        (Some(read), Some(_)) => Ok(read),
        // There are enough bits for the longest code.
        (None, Some(16..)) => Err(damaged("its picture has a code that is not in its tables")),
        _ => Err(PictureFault::EndsEarly),
    }
}

/// Reads a whole block.
#[inline]
fn whole(bits: &mut Bits<'_>, dc: &Table, ac: &Table) -> Option<()> {
    let mean = dc.code(bits.next())?;
    bits.skip(mean.bits());
    let mut at = 1;
    while at < BLOCK {
        let code = ac.code(bits.next())?;
        bits.skip(code.bits());
        at += code.steps();
    }
    (at == BLOCK || at >= Code::REST).then_some(())
}

/// Reads the upper bits of some coefficients of a block. Returns the number of blocks after it in which they are 0.
fn first_bits(
    bits: &mut Bits<'_>,
    table: &Table,
    coefficients: &RangeInclusive<usize>,
    nonzero: &mut u64,
) -> Option<u64> {
    let mut at = *coefficients.start();
    while at <= *coefficients.end() {
        let code = table.code(bits.next())?;
        if code.steps() == Code::REST {
            bits.skip(code.length());
            let (zeros, _) = code.symbol();
            return Some((1 << zeros) - 1 + bits.number(zeros));
        }
        bits.skip(code.bits());
        at += code.steps();
        if let (_, 1..) = code.symbol() {
            *nonzero |= 1u64.checked_shl(at as u32 - 1)?;
        }
    }
    Some(0)
}

/// Reads one more bit of some coefficients of a block. In a run of blocks, those that were 0 remain 0.
/// Returns the rest of the run.
fn next_bit(
    bits: &mut Bits<'_>,
    table: &Table,
    coefficients: &RangeInclusive<usize>,
    nonzero: &mut u64,
    mut run: u64,
) -> Option<u64> {
    // The coefficients that are left, a bit each.
    let mut left =
        (u64::MAX << coefficients.start()) & (u64::MAX >> (BLOCK - 1 - coefficients.end()));
    while run == 0 && left != 0 {
        let code = table.code(bits.next())?;
        let (mut zeros, value) = code.symbol();
        if code.steps() == Code::REST {
            bits.skip(code.length());
            run = (1 << zeros) + bits.number(zeros);
            break;
        }
        if value > 1 {
            return None;
        }
        bits.skip(code.bits());
        // The value belongs to the coefficient after that number of zeros, if there is one.
        let mut zero = left & !*nonzero;
        while zeros > 0 {
            zero &= zero.wrapping_sub(1);
            zeros -= 1;
        }
        let place = zero & zero.wrapping_neg();
        let before = place.wrapping_sub(1);
        // Each of the others before it has a bit of its own.
        bits.skip_far((left & before & *nonzero).count_ones() as usize);
        left &= !before & !place;
        if value > 0 {
            *nonzero |= place;
        }
    }
    if run > 0 {
        bits.skip_far((left & *nonzero).count_ones() as usize);
    }
    Some(run.saturating_sub(1))
}

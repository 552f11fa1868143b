//! The check that a PNG file is complete.
//!
//! The decoder skips a damaged part that it can do without, and stops after the first picture of an animation.

use flate2::Crc;

use super::{PictureFault, check_size};

/// The number of bytes before the first part.
const SIGNATURE: usize = 8;

/// Checks that the parts of a PNG file, up to the one that ends it, are as they were written.
///
/// # Errors
/// [`PictureFault::EndsEarly`] if the last part is missing, [`PictureFault::Damaged`] if a checksum is wrong,
/// [`PictureFault::TooLarge`] or [`PictureFault::Empty`] for its size.
pub(super) fn check(file: &[u8]) -> Result<(), PictureFault> {
    let mut rest = file.get(SIGNATURE..).unwrap_or_default();
    while let Some((&[l0, l1, l2, l3, ref name @ ..], after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let part = after.split_at_checked(length);
        let part = part.and_then(|(data, after)| Some((data, after.split_first_chunk::<4>()?)));
        let (data, (sum, after)) = part.ok_or(PictureFault::EndsEarly)?;
        let mut crc = Crc::new();
        crc.update(name);
        crc.update(data);
        if crc.sum() != u32::from_be_bytes(*sum) {
            let reason = format!("the checksum of its part {} is wrong", name.escape_ascii());
            return Err(PictureFault::Damaged(reason));
        }
        // The decoder reserves memory by the size before it tells it.
        if name == b"IHDR"
            && let Some((&[w0, w1, w2, w3, h0, h1, h2, h3], _)) = data.split_first_chunk::<8>()
        {
            let [width, height] = [[w0, w1, w2, w3], [h0, h1, h2, h3]].map(u32::from_be_bytes);
            check_size(width, height)?;
        }
        if name == b"IEND" {
            return Ok(());
        }
        rest = after;
    }
    Err(PictureFault::EndsEarly)
}

//! The frame of a message in an event file: its length, its checksum, the message, and the checksum of that. Numbers are little-endian.

use std::io::{self, Read, Write};

use crc::{CRC_32_ISCSI, Crc};

/// The most bytes of a message that is read. A figure has less.
const MOST: u64 = 64 << 20;

static CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Returns the checksum as TensorFlow masks it, so that a checksum of data with checksums in it is a good one too.
fn masked(data: &[u8]) -> u32 {
    CASTAGNOLI.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Writes a message in its frame.
pub(crate) fn write(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = (message.len() as u64).to_le_bytes();
    to.write_all(&length)?;
    to.write_all(&masked(&length).to_le_bytes())?;
    to.write_all(message)?;
    to.write_all(&masked(message).to_le_bytes())
}

/// Reads the next message; `None` at the end, and at a frame that was cut short or is damaged.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let (mut length, mut sum) = ([0; 8], [0; 4]);
    if !fill(from, &mut length)? || !fill(from, &mut sum)? || sum != masked(&length).to_le_bytes() {
        return Ok(None);
    }
    let length = u64::from_le_bytes(length);
    let mut message = Vec::new();
    // No more memory is taken than there are bytes.
    let read = from.by_ref().take(length.min(MOST)).read_to_end(&mut message)?;
    let whole = read as u64 == length && fill(from, &mut sum)?;
    Ok((whole && sum == masked(&message).to_le_bytes()).then_some(message))
}

/// Fills `bytes`, and returns whether there were enough.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame that TensorBoard's own code makes around "abc".
    #[test]
    fn a_frame_has_the_bytes_of_tensorflow() {
        let mut written = Vec::new();
        write(&mut written, b"abc").unwrap();
        let expected = [
            3, 0, 0, 0, 0, 0, 0, 0, 0xb0, 0x99, 0x49, 0x0e, b'a', b'b', b'c', 0x6e, 0x57, 0xf1,
            0x21,
        ];
        assert_eq!(written.len(), expected.len());
        assert_eq!(written, expected);
    }

    /// Bytes from anywhere must neither panic nor take memory for a length that they only claim.
    #[test]
    fn damage_ends_the_messages() {
        let mut whole = Vec::new();
        write(&mut whole, b"first").unwrap();
        let second = whole.len();
        write(&mut whole, b"second").unwrap();
        let count = |bytes: &[u8]| {
            let mut rest = bytes;
            std::iter::from_fn(|| read(&mut rest).unwrap()).count()
        };
        assert_eq!(count(&whole), 2);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(count(&damaged), usize::from(at >= second), "byte {at}");
            assert_eq!(count(&whole[..at]), usize::from(at >= second), "cut at {at}");
        }
        let mut huge = u64::MAX.to_le_bytes().to_vec();
        huge.extend(masked(&huge).to_le_bytes());
        assert_eq!(count(&huge), 0);
    }
}

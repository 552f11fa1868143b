//! The IDX format of MNIST and its relatives. Nothing in a file is trusted.
//!
//! A file is a big-endian header (a magic number, then one length for each dimension) and one byte for each value. The magic
//! number is 2051 for images (`[count, height, width]`) and 2049 for labels (`[count]`).

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use noprop_files::open_file;

use crate::DataError;

const IMAGES: u32 = 2051;
const LABELS: u32 = 2049;
/// The largest file that is read, in bytes: twenty times MNIST.
const MAX_BYTES: u64 = 1 << 30;
/// The limit of what deflate can pack. A file that grows beyond it is damaged or hostile.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// Grey images as they are in a file: one byte for each pixel, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Images<'a> {
    /// The number of images, at least 1.
    pub count: usize,
    /// The number of rows of each, at least 1.
    pub height: usize,
    /// The number of columns of each, at least 1.
    pub width: usize,
    /// `count · height · width` bytes.
    pub pixels: &'a [u8],
}

/// Checks the magic number, counts and sizes, and returns the pixels without copying them. `path` is used in errors only.
///
/// # Errors
/// [`DataError::Malformed`] for another magic number, a header that is cut off, no pixels, or another size than the header
/// promises.
pub fn images<'a>(path: &Path, bytes: &'a [u8]) -> Result<Images<'a>, DataError> {
    let ([count, height, width], pixels) = header(path, bytes, IMAGES)?;
    if height == 0 || width == 0 || count == 0 {
        return Err(DataError::malformed(path, "it holds no pixels"));
    }
    let expected = count.checked_mul(height).and_then(|n| n.checked_mul(width));
    if expected != Some(pixels.len()) {
        let reason = format!(
            "its header promises {count} images of {height} x {width} but {} bytes follow",
            pixels.len()
        );
        return Err(DataError::malformed(path, reason));
    }
    Ok(Images { count, height, width, pixels })
}

/// Checks the magic number, the count and the range, and returns the labels without copying them. `path` is used in errors
/// only.
///
/// # Errors
/// [`DataError::Malformed`] for another magic number, a header that is cut off, a count other than the number of bytes that
/// follow, or a label that is not below `classes`.
pub fn labels<'a>(path: &Path, bytes: &'a [u8], classes: usize) -> Result<&'a [u8], DataError> {
    let ([count], labels) = header(path, bytes, LABELS)?;
    if count != labels.len() {
        let reason =
            format!("its header promises {count} labels but {} bytes follow", labels.len());
        return Err(DataError::malformed(path, reason));
    }
    check_range(path, labels, classes)?;
    Ok(labels)
}

/// Refuses a label that is not below `classes`.
pub(crate) fn check_range(path: &Path, labels: &[u8], classes: usize) -> Result<(), DataError> {
    let bad = (0..).zip(labels).find(|&(_, &label)| usize::from(label) >= classes);
    match bad {
        Some((at, label)) => {
            let reason = format!("label {label} of image {at} is not below {classes}");
            Err(DataError::malformed(path, reason))
        }
        None => Ok(()),
    }
}

/// The lengths that follow the magic number, and everything after them.
fn header<'a, const N: usize>(
    path: &Path,
    bytes: &'a [u8],
    magic: u32,
) -> Result<([usize; N], &'a [u8]), DataError> {
    let short = || DataError::malformed(path, "it ends inside its header");
    let (&found, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let found = u32::from_be_bytes(found);
    if found != magic {
        let reason = format!("its magic number is {found}, not {magic}");
        return Err(DataError::malformed(path, reason));
    }
    let mut lengths = [0; N];
    for length in &mut lengths {
        let (&word, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        *length = u32::from_be_bytes(word) as usize;
        rest = after;
    }
    Ok((lengths, rest))
}

/// Reads a whole file, and unpacks it if its name ends in `.gz`. Memory grows with the bytes that are there, never by the
/// word of a header.
///
/// # Errors
/// [`DataError::Read`] if the file cannot be read or its packing is damaged, [`DataError::Malformed`] for more than 1 GiB.
pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let reading = |source| DataError::Read { path: path.into(), source };
    let file = open_file(path).map_err(reading)?;
    let length = file.metadata().map_err(reading)?.len();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let limit = length.saturating_mul(MAX_DEFLATE_RATIO).min(MAX_BYTES);
        return read_up_to(path, MultiGzDecoder::new(file), limit, 0);
    }
    read_up_to(path, file, MAX_BYTES, length)
}

/// Unpacks gzip that is compiled into the program.
pub(crate) fn unpack(path: &Path, packed: &[u8]) -> Result<Vec<u8>, DataError> {
    read_up_to(path, MultiGzDecoder::new(packed), MAX_BYTES, 0)
}

/// Reads at most `limit` bytes, with room for `expected` from the start, so that it need not grow.
fn read_up_to(
    path: &Path,
    reader: impl Read,
    limit: u64,
    expected: u64,
) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::with_capacity(expected.min(limit) as usize + 1);
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| DataError::Read { path: path.into(), source })?;
    if bytes.len() as u64 > limit {
        return Err(DataError::malformed(path, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{gzip, idx_file as file};

    fn refused<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
        result.unwrap_err().to_string()
    }

    /// A size that is believed before its bytes are there reads past the end, or other images than were meant.
    #[test]
    fn every_lie_is_refused_and_named() {
        let path = Path::new("x");
        let look = |words: &[u32], data: &[u8]| images(path, &file(words, data)).map(|i| i.count);
        assert_eq!(look(&[2051, 2, 1, 2], &[1, 2, 3, 4]).unwrap(), 2);
        assert!(refused(look(&[2051, 2, 1, 2], &[1, 2, 3])).contains("but 3 bytes follow"));
        assert!(refused(look(&[2051, 2, 1, 2], &[1, 2, 3, 4, 5])).contains("but 5 bytes follow"));
        assert!(refused(look(&[2049, 2, 1, 2], &[1, 2, 3, 4])).contains("magic number is 2049"));
        assert!(refused(look(&[2051, 2, 1], &[1])).contains("inside its header"));
        assert!(refused(look(&[2051, 0, 28, 28], &[])).contains("no pixels"));
        // 2^96 pixels: the product must not wrap to 0.
        assert!(refused(look(&[2051, u32::MAX, u32::MAX, u32::MAX], &[])).contains("0 bytes"));

        let look =
            |words: &[u32], data: &[u8]| labels(path, &file(words, data), 10).map(<[u8]>::len);
        assert_eq!(look(&[2049, 2], &[1, 9]).unwrap(), 2);
        assert!(refused(look(&[2049, 2], &[1, 10])).contains("label 10 of image 1"));
        assert!(refused(look(&[2049, 3], &[1, 9])).contains("but 2 bytes follow"));
    }

    /// A megabyte that unpacks to a gigabyte must be stopped by its bound, not by the machine's memory.
    #[test]
    fn unpacking_is_bounded() {
        let packed = gzip(&[0; 1 << 16]);
        let path = Path::new("x.gz");
        let unpacked = read_up_to(path, MultiGzDecoder::new(&packed[..]), 1 << 16, 0).unwrap();
        assert_eq!(unpacked.len(), 1 << 16);
        let short = read_up_to(path, MultiGzDecoder::new(&packed[..]), 1000, 0);
        assert!(refused(short).contains("larger than 1000 bytes"));
    }

    proptest! {
        /// A file may hold anything.
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let path = Path::new("x");
            let _ = (images(path, &bytes), labels(path, &bytes, 10));
        }

        /// Headers that are right in part: random words never get past the checks, so aim closer.
        #[test]
        fn only_files_that_keep_their_promise_are_read(
            count in 0u32..5, height in 0u32..5, width in 0u32..5,
            data in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..100,
        ) {
            let path = Path::new("x");
            let mut bytes = file(&[2051, count, height, width], &data);
            bytes.truncate(cut);
            if let Ok(images) = images(path, &bytes) {
                prop_assert_eq!(images.pixels.len(), images.count * images.height * images.width);
                prop_assert_eq!(bytes.len(), 16 + images.pixels.len());
            }
            let mut bytes = file(&[2049, count], &data);
            bytes.truncate(cut);
            if let Ok(labels) = labels(path, &bytes, 10) {
                prop_assert_eq!(labels.len(), count as usize);
                prop_assert!(labels.iter().all(|&label| label < 10));
            }
        }

        /// Damage inside the gzip stream is an error or other bytes, never a panic.
        #[test]
        fn damaged_packing_never_panics(at in 0usize..60, with in any::<u8>(), cut in 0usize..80) {
            let mut packed = include_bytes!("../assets/mnist-sample/labels-idx1-ubyte.gz").to_vec();
            if let Some(byte) = packed.get_mut(at) {
                *byte = with;
            }
            packed.truncate(cut);
            let limit = packed.len() as u64 * MAX_DEFLATE_RATIO;
            if let Ok(bytes) = read_up_to(Path::new("x"), MultiGzDecoder::new(&packed[..]), limit, 0) {
                prop_assert!(bytes.len() as u64 <= limit);
            }
        }
    }
}

//! The IDX format of MNIST and its relatives, read with suspicion.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::DataError;

const IMAGES: u32 = 2051;
const LABELS: u32 = 2049;
/// The largest file anybody has in this format; a compressed file that grows beyond it is an attack.
const MAX_BYTES: u64 = 1 << 30;

/// Pixels of a set of grey images.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Images {
    pub count: usize,
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<u8>,
}

/// Reads a file, decompressing it if its name ends in `.gz`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let reading = |source| DataError::Read {
        path: path.into(),
        source,
    };
    let file = std::fs::File::open(path).map_err(reading)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        decompress(path, file)
    } else {
        let mut bytes = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(reading)?;
        Ok(bytes)
    }
}

/// Decompresses gzip up to a bound.
pub(crate) fn decompress(path: &Path, compressed: impl Read) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    GzDecoder::new(compressed)
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| DataError::Read {
            path: path.into(),
            source,
        })?;
    Ok(bytes)
}

/// Checks magic, counts and sizes, and hands out the pixels.
pub(crate) fn images(path: &Path, bytes: &[u8]) -> Result<Images, DataError> {
    let (header, pixels) = header::<4>(path, bytes, IMAGES)?;
    let [_, count, height, width] = header;
    if height == 0 || width == 0 || count == 0 {
        return Err(malformed(path, "it holds no pixels".into()));
    }
    let expected = (count as u64)
        .checked_mul(height as u64)
        .and_then(|n| n.checked_mul(width as u64));
    if expected != Some(pixels.len() as u64) {
        let reason = format!(
            "its header promises {count} images of {height} x {width} but {} bytes follow",
            pixels.len()
        );
        return Err(malformed(path, reason));
    }
    Ok(Images {
        count,
        height,
        width,
        pixels: pixels.to_vec(),
    })
}

/// Checks magic, count and range, and hands out the labels.
pub(crate) fn labels(path: &Path, bytes: &[u8], classes: usize) -> Result<Vec<u8>, DataError> {
    let ([_, count], labels) = header::<2>(path, bytes, LABELS)?;
    if count != labels.len() {
        let reason = format!(
            "its header promises {count} labels but {} bytes follow",
            labels.len()
        );
        return Err(malformed(path, reason));
    }
    if let Some(at) = labels
        .iter()
        .position(|&label| usize::from(label) >= classes)
    {
        let reason = format!("label {} at {at} is not below {classes}", labels[at]);
        return Err(malformed(path, reason));
    }
    Ok(labels.to_vec())
}

fn header<'a, const N: usize>(
    path: &Path,
    bytes: &'a [u8],
    magic: u32,
) -> Result<([usize; N], &'a [u8]), DataError> {
    let (words, rest) = bytes.as_chunks::<4>();
    let _ = rest;
    let mut fields = [0usize; N];
    for (field, index) in fields.iter_mut().zip(0..) {
        let Some(&word) = words.get(index) else {
            return Err(malformed(path, "it ends inside its header".into()));
        };
        *field = u32::from_be_bytes(word) as usize;
    }
    if fields.first() != Some(&(magic as usize)) {
        let found = fields.first().copied().unwrap_or_default();
        return Err(malformed(
            path,
            format!("its magic number is {found}, not {magic}"),
        ));
    }
    Ok((fields, bytes.get(4 * N..).unwrap_or_default()))
}

fn malformed(path: &Path, reason: String) -> DataError {
    DataError::Malformed {
        path: path.into(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(words: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_lie_is_refused() {
        let path = Path::new("x");
        assert!(images(path, &file(&[2051, 2, 1, 2], &[1, 2, 3, 4])).is_ok());
        assert!(
            images(path, &file(&[2051, 2, 1, 2], &[1, 2, 3])).is_err(),
            "truncated"
        );
        assert!(
            images(path, &file(&[2051, 2, 1, 2], &[1, 2, 3, 4, 5])).is_err(),
            "trailing"
        );
        assert!(
            images(path, &file(&[2049, 2, 1, 2], &[1, 2, 3, 4])).is_err(),
            "magic"
        );
        assert!(images(path, &file(&[2051, u32::MAX, u32::MAX, u32::MAX], &[])).is_err());
        assert!(labels(path, &file(&[2049, 2], &[1, 9]), 10).is_ok());
        assert!(
            labels(path, &file(&[2049, 2], &[1, 10]), 10).is_err(),
            "label 10 of 10"
        );
        assert!(
            labels(path, &file(&[2049, 3], &[1, 9]), 10).is_err(),
            "count"
        );
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let path = Path::new("x");
            let _ = (images(path, &bytes), labels(path, &bytes, 10));
        }
    }
}

//! The binary format of CIFAR-10 and CIFAR-100. Nothing in a file is trusted.
//!
//! A file is a sequence of records without a header. A record is one label byte (CIFAR-100: a coarse and a fine one) and
//! 3 × 32 × 32 pixel bytes: the red plane, then green, then blue, each row by row.

use std::path::Path;

use crate::DataError;
use crate::idx::check_range;

/// The (C, H, W) of every image.
pub const SHAPE: (usize, usize, usize) = (3, 32, 32);
const PIXELS: usize = 3 * 32 * 32;
const COARSE_CLASSES: usize = 20;

/// The labels before the pixels of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// The class, as in CIFAR-10.
    One,
    /// One of 20 coarse classes, which is checked and left out, then the class, as in CIFAR-100.
    CoarseAndFine,
}

/// Appends the records of one file to `labels` and `pixels` (3,072 bytes for each image). Returns the number of records.
///
/// # Errors
/// [`DataError::Malformed`] if the file is empty, does not hold whole records, or has a label that is not below `classes`.
/// Nothing is appended then.
pub fn append(
    path: &Path,
    bytes: &[u8],
    layout: Labels,
    classes: usize,
    labels: &mut Vec<u8>,
    pixels: &mut Vec<u8>,
) -> Result<usize, DataError> {
    let before = match layout {
        Labels::One => 1,
        Labels::CoarseAndFine => 2,
    };
    let record = before + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let reason =
            format!("its {} bytes are not a whole number of {record}-byte records", bytes.len());
        return Err(DataError::malformed(path, reason));
    }
    let column =
        |at: usize| -> Vec<u8> { bytes.iter().skip(at).step_by(record).copied().collect() };
    if layout == Labels::CoarseAndFine {
        check_range(path, &column(0), COARSE_CLASSES)?;
    }
    let found = column(before - 1);
    check_range(path, &found, classes)?;
    labels.extend(&found);
    pixels.reserve(found.len() * PIXELS);
    for record in bytes.chunks_exact(record) {
        pixels.extend(record.iter().skip(before));
    }
    Ok(found.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(labels: &[u8], shade: u8) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        bytes.resize(labels.len() + PIXELS, shade);
        bytes
    }

    fn read(bytes: &[u8], layout: Labels, classes: usize) -> Result<(Vec<u8>, Vec<u8>), DataError> {
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
        append(Path::new("x"), bytes, layout, classes, &mut labels, &mut pixels)
            .map(|_| (labels, pixels))
    }

    /// Reading the coarse label as the fine one would train on 20 classes and look plausible.
    #[test]
    fn labels_and_pixels_are_told_apart() {
        let bytes = [record(&[3], 7), record(&[9], 8)].concat();
        let (labels, pixels) = read(&bytes, Labels::One, 10).unwrap();
        assert_eq!(labels, [3, 9]);
        assert_eq!(pixels, [vec![7; PIXELS], vec![8; PIXELS]].concat());

        let bytes = [record(&[19, 99], 1), record(&[0, 42], 2)].concat();
        let (labels, pixels) = read(&bytes, Labels::CoarseAndFine, 100).unwrap();
        assert_eq!(labels, [99, 42]);
        assert_eq!(pixels, [vec![1; PIXELS], vec![2; PIXELS]].concat());
    }

    /// A file that was cut would otherwise end in a picture of the next bytes of memory, or a panic.
    #[test]
    fn cut_files_and_labels_out_of_range_are_refused() {
        let refused =
            |bytes: &[u8], layout, classes| read(bytes, layout, classes).unwrap_err().to_string();
        assert!(refused(&[], Labels::One, 10).contains("not a whole number"));
        let cut = &record(&[3], 7)[..PIXELS];
        assert!(refused(cut, Labels::One, 10).contains("3072 bytes"));
        assert!(refused(&record(&[10], 0), Labels::One, 10).contains("label 10 of image 0"));
        assert!(refused(&record(&[20, 0], 0), Labels::CoarseAndFine, 100).contains("label 20"));
        assert!(refused(&record(&[0, 100], 0), Labels::CoarseAndFine, 100).contains("label 100"));
    }

    proptest! {
        /// Files of any length, as a copy that broke off leaves them.
        #[test]
        fn any_length_is_read_whole_or_refused(length in 0usize..10_000, fill in any::<u8>()) {
            let bytes = vec![fill; length];
            if let Ok((labels, pixels)) = read(&bytes, Labels::One, 10) {
                prop_assert_eq!(pixels.len(), labels.len() * PIXELS);
                prop_assert_eq!(labels.len() * (PIXELS + 1), length);
            }
        }
    }
}

//! Data sets that `candle_datasets` has read.

use candle_core::{DType, Tensor};
use noprop_files::Hasher;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::listing::Listing;
use crate::split::Split;

/// Pixels that are hashed in one piece.
const CHUNK: usize = 1 << 14;

impl TryFrom<candle_datasets::vision::Dataset> for Dataset {
    type Error = DataError;

    /// Checks the images and labels of `data`. Images are `[N, C, H, W]`, or `[N, C · H · W]` of squares of one or three
    /// channels, as those of MNIST. The classes are named by their numbers, and the data set `candle-datasets`: the fields
    /// are public.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] for images and labels that do not fit each other, pixels outside of 0..=1, labels that are not
    /// below the number of classes, flat images that are not squares, or training and test images of different shapes.
    fn try_from(data: candle_datasets::vision::Dataset) -> Result<Self, DataError> {
        let classes = data.labels;
        let mut hasher = Hasher::default();
        let mut split =
            |images: Tensor, labels: Tensor| checked(&images, labels, classes, &mut hasher);
        let train = split(data.train_images, data.train_labels)?;
        let test = split(data.test_images, data.test_labels)?;
        let (train_shape, test_shape) = (train.image_shape()?, test.image_shape()?);
        if train_shape != test_shape {
            let reason =
                format!("training images are {train_shape:?} but test images {test_shape:?}");
            return Err(DataError::Mismatch(reason));
        }
        Ok(Self {
            name: "candle-datasets".into(),
            train,
            validation: None,
            test,
            classes,
            class_names: (0..classes).map(|class| class.to_string()).collect(),
            sha256: hasher.finish(),
            listing: Listing::default(),
            notices: Vec::new(),
        })
    }
}

/// Checks the images and labels of one half, and adds them to the hash.
fn checked(
    images: &Tensor,
    labels: Tensor,
    classes: usize,
    hasher: &mut Hasher,
) -> Result<Split, DataError> {
    let images = images.to_dtype(DType::F32)?.contiguous()?;
    for pixels in images.flatten_all()?.to_vec1::<f32>()?.chunks(CHUNK) {
        // A comparison with NaN is false.
        if let Some(bad) = pixels.iter().find(|pixel| !(0.0..=1.0).contains(*pixel)) {
            return Err(DataError::Mismatch(format!("a pixel is {bad}, not in 0..=1")));
        }
        hasher.update(&pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect::<Vec<_>>());
    }
    let split = match images.rank() {
        2 => {
            let shape = square(images.dim(1)?)?;
            Split::flat(images, labels, shape, classes)?
        }
        _ => Split::new(images, labels, classes)?,
    };
    for label in split.labels.to_vec1::<u32>()? {
        hasher.update(&label.to_le_bytes());
    }
    Ok(split)
}

/// The (C, H, W) of a square image of one or three channels with this number of values.
fn square(values: usize) -> Result<(usize, usize, usize), DataError> {
    [1, 3]
        .into_iter()
        .map(|channels| (channels, (values / channels).isqrt()))
        .find(|(channels, side)| channels * side * side == values)
        .map(|(channels, side)| (channels, side, side))
        .ok_or_else(|| {
            let reason = format!("{values} values are not a square image of 1 or 3 channels");
            DataError::Mismatch(reason)
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use candle_core::Device;
    use candle_datasets::vision;
    use noprop_files::DatasetName;

    use super::*;
    use crate::dataset::load;
    use crate::fixtures::{idx_file, labels, pixels};

    fn tensors(pixels: &[f32], shape: &[usize], labels: &[u8]) -> (Tensor, Tensor) {
        let images = Tensor::from_slice(pixels, shape, &Device::Cpu).unwrap();
        (images, Tensor::new(labels, &Device::Cpu).unwrap())
    }

    /// One training image and one test image, which is always a square of 2 x 2 pixels.
    fn data(pixels: &[f32], shape: &[usize], labels: &[u8]) -> vision::Dataset {
        let (train_images, train_labels) = tensors(pixels, shape, labels);
        let (test_images, test_labels) = tensors(&[0., 0.2, 0.4, 1.], &[1, 4], &[1]);
        vision::Dataset { train_images, train_labels, test_images, test_labels, labels: 3 }
    }

    /// The reader that candle's users know, on files that it can be trusted with: the same pixels, bit for bit, and the same
    /// labels.
    #[test]
    fn candle_datasets_reads_the_same_bits() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("mnist");
        fs::create_dir(&folder).unwrap();
        let write = |file: &str, words: &[u32], data: &[u8]| {
            fs::write(folder.join(file), idx_file(words, data)).unwrap();
        };
        let shades: Vec<u8> = (0..=255).chain(0..=255).chain(0..=255).collect();
        write("train-images-idx3-ubyte", &[2051, 3, 16, 16], &shades);
        write("train-labels-idx1-ubyte", &[2049, 3], &[5, 0, 9]);
        write("t10k-images-idx3-ubyte", &[2051, 2, 16, 16], &shades[256..]);
        write("t10k-labels-idx1-ubyte", &[2049, 2], &[1, 2]);
        let ours = load(DatasetName::Mnist, dir.path()).unwrap();
        let theirs: Dataset = vision::mnist::load_dir(&folder).unwrap().try_into().unwrap();
        assert_eq!(theirs.class_names, ours.class_names);
        for (ours, theirs) in [(&ours.train, &theirs.train), (&ours.test, &theirs.test)] {
            // None is NaN or -0, so equal pixels have equal bits.
            assert_eq!(pixels(ours), pixels(theirs));
            assert_eq!(ours.image_shape().unwrap(), theirs.image_shape().unwrap());
            assert_eq!(labels(ours), labels(theirs));
        }
    }

    /// The library reads files of strangers without looking at them, so everything that it returns is checked.
    #[test]
    fn what_does_not_fit_is_refused() {
        let fine = Dataset::try_from(data(&[0.5; 4], &[1, 1, 2, 2], &[2])).unwrap();
        assert_eq!(fine.image_shape().unwrap(), (1, 2, 2));
        let refused = |pixels: &[f32], shape: &[usize], labels: &[u8]| {
            Dataset::try_from(data(pixels, shape, labels)).unwrap_err().to_string()
        };
        assert!(refused(&[0.5; 4], &[1, 4], &[3]).contains("label 3"));
        assert!(refused(&[0.5; 4], &[1, 4], &[0, 1]).contains("2 labels"));
        assert!(refused(&[0.5; 5], &[1, 5], &[0]).contains("not a square"));
        assert!(refused(&[0.5; 12], &[1, 12], &[0]).contains("(3, 2, 2)"));
        for bad in [1.5, -0.1, f32::NAN, f32::INFINITY] {
            assert!(refused(&[bad; 4], &[1, 4], &[0]).contains("not in 0..=1"), "{bad}");
        }
    }
}

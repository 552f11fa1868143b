//! The weight of each class's images in the losses.

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;
use noprop_data::Split;
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The weight of each class's images in the losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// Every image counts 1.
    #[default]
    Uniform,
    /// Every class counts the same. An image of class c counts N / (C N_c), where N_c of the N training images are of class c
    /// and C is the number of classes. The mean weight over the training images is 1.
    Balanced,
}

impl ClassWeights {
    /// Returns the factor for the losses of each class's images, `[classes]`, f32, on the device of the labels of `train`;
    /// `None` if all images count 1.
    ///
    /// # Errors
    /// [`TrainError::NoImagesOfClass`] if a class to be balanced has no images.
    pub fn of(self, train: &Split, classes: usize) -> Result<Option<Tensor>, TrainError> {
        if self == Self::Uniform {
            return Ok(None);
        }
        let mut counts = vec![0_usize; classes];
        for label in train.labels.to_vec1::<u32>()? {
            // The computation of the loss refuses a label that is not a class.
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        if let Some(class) = counts.iter().position(|&count| count == 0) {
            return Err(TrainError::NoImagesOfClass(class));
        }
        let weight = |&count: &usize| (train.len() as f64 / (classes * count) as f64) as f32;
        let weights = counts.iter().map(weight).collect();
        Ok(Some(Tensor::from_vec(weights, classes, train.labels.device())?))
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Balanced => "balanced",
        })
    }
}

impl FromStr for ClassWeights {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        match name {
            "uniform" => Ok(Self::Uniform),
            "balanced" => Ok(Self::Balanced),
            _ => Err(TrainError::OutOfRange {
                name: "class-weights",
                expected: "uniform or balanced".into(),
                value: name.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn split(labels: &[u32]) -> Split {
        let images = Tensor::zeros((labels.len(), 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        Split::new(images, Tensor::new(labels, &Device::Cpu).unwrap(), 3).unwrap()
    }

    /// Computed by hand: of six images of three classes, each image of a class with three counts 6 / (3 · 3). The weights of
    /// the images add up to their number.
    #[test]
    fn balanced_classes_count_alike() {
        let weights = ClassWeights::Balanced.of(&split(&[0, 0, 0, 1, 2, 2]), 3).unwrap().unwrap();
        assert_eq!(weights.to_vec1::<f32>().unwrap(), [2.0 / 3.0, 2.0, 1.0]);
        // Exactly 1, so that data that are already balanced train to the same bytes as with uniform weights.
        let weights = ClassWeights::Balanced.of(&split(&[2, 1, 0, 0, 1, 2]), 3).unwrap().unwrap();
        assert_eq!(weights.to_vec1::<f32>().unwrap(), [1.0; 3]);
        assert!(ClassWeights::Uniform.of(&split(&[0]), 3).unwrap().is_none());
    }

    /// Without images the weight would be infinite.
    #[test]
    fn a_class_without_images_cannot_be_balanced() {
        let refused = ClassWeights::Balanced.of(&split(&[0, 2, 2]), 3).unwrap_err();
        assert!(matches!(refused, TrainError::NoImagesOfClass(1)), "{refused}");
        ClassWeights::Uniform.of(&split(&[0, 2, 2]), 3).unwrap();
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for weights in [ClassWeights::Uniform, ClassWeights::Balanced] {
            assert_eq!(weights.to_string().parse::<ClassWeights>().unwrap(), weights);
        }
        assert!("even".parse::<ClassWeights>().is_err());
    }
}

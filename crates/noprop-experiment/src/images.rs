//! The images that a network takes, and the classes that it distinguishes.

use noprop_data::Dataset;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// The images that a network takes and the classes that it distinguishes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Images {
    /// Channels, 1 or 3.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// The classes in the order of their labels.
    pub class_names: Vec<String>,
    /// SHA-256 over the uncompressed data files, or over the pixels and labels that a program gave.
    pub sha256: String,
    /// The values of normalisation, if images are normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Measured>,
    /// The numbers for which the pixels 0 and 1 stand, if a program gave the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
}

/// Mean and standard deviation of every channel of the training images, of pixels in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The means.
    pub mean: Vec<f64>,
    /// The standard deviations.
    pub std: Vec<f64>,
}

impl Images {
    /// The images of `data`, before anything is measured.
    ///
    /// # Errors
    /// If the images have no shape.
    pub fn of(data: &Dataset) -> Result<Self> {
        let (channels, height, width) = data.train.image_shape()?;
        Ok(Self {
            channels,
            height,
            width,
            class_names: data.class_names.clone(),
            sha256: data.sha256.clone(),
            normalization: None,
            range: None,
        })
    }

    /// (C, H, W).
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.channels, self.height, self.width)
    }

    /// Returns whether both come from the same data, whatever was measured on them.
    pub(crate) fn same_data(&self, other: &Self) -> bool {
        Self { normalization: None, ..self.clone() }
            == Self { normalization: None, ..other.clone() }
    }
}

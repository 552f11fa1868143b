//! Images that a program gives, in the place of a data set.

use noprop_data::Split;

use crate::error::Result;
use crate::fitting::Sizes;
use crate::images::Images;

/// Images in the memory of a program, to train on. They have no test images: the program tests as it likes.
#[derive(Debug, Clone)]
pub struct InMemory {
    /// The images to train on, and to hold some out if there are no others for that.
    pub train: Split,
    /// The images that choose the epoch.
    pub validation: Option<Split>,
    /// The names of the classes in the order of their labels.
    pub class_names: Vec<String>,
    /// The numbers for which the pixels 0 and 1 stand, to be kept with the weights. Nothing is computed with them.
    pub range: Option<[f64; 2]>,
}

impl InMemory {
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            train: self.train.len(),
            validation: self.validation.as_ref().map(Split::len),
            classes: self.class_names.len(),
        }
    }

    /// The images as settings describe them.
    pub(crate) fn described(&self) -> Result<Images> {
        let (channels, height, width) = self.train.image_shape()?;
        let (class_names, sha256) = (self.class_names.clone(), self.train.sha256()?);
        let range = self.range;
        Ok(Images { channels, height, width, class_names, sha256, normalization: None, range })
    }
}

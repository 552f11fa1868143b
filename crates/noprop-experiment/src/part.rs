//! The images that a run uses for one purpose: to train, to choose the epoch, or to test.

use noprop_data::{Dataset, Half, Split, hold_out_numbers};

use crate::error::Result;
use crate::settings::Setup;

/// Images of a data set, and their places in it.
#[derive(Debug)]
pub(crate) struct Part {
    pub images: Split,
    /// The half of the data set that they were taken from.
    pub from: Half,
    /// Their numbers in that half.
    pub numbers: Vec<u32>,
}

impl Part {
    /// The images of `data` that a run with the settings `setup` uses as its `half`. Where the data bring no held-out images, they
    /// are drawn from the training images.
    pub fn of_run(setup: &Setup, data: &Dataset, half: Half) -> Result<Self> {
        Ok(match (half, &data.validation) {
            (Half::Test, _) => Self::whole(data.test.clone(), half),
            (Half::Train, Some(_)) => Self::whole(data.train.clone(), half),
            (Half::Validation, Some(held_out)) => Self::whole(held_out.clone(), half),
            (Half::Train | Half::Validation, None) => {
                let (trained, held_out) =
                    hold_out_numbers(data.train.len(), setup.validation, setup.seed)?;
                let numbers = if half == Half::Train { trained } else { held_out };
                Self { images: data.train.select(&numbers)?, from: Half::Train, numbers }
            }
        })
    }

    /// All images of a half.
    pub fn whole(images: Split, half: Half) -> Self {
        let numbers = (0..).zip(0..images.len()).map(|(number, _)| number).collect();
        Self { images, from: half, numbers }
    }
}

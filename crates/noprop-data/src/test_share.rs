//! The choice of test pictures in a folder that is not divided into training and testing.

use crate::error::DataError;
use crate::order::{Purpose, of_class};

/// The seed of every split of a folder: runs of all seeds are tested on the same pictures.
const SEED: u64 = 0;

/// The share of the pictures of each class that are for testing: above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TestShare(f64);

impl TestShare {
    /// A share, such as 0.2 for a fifth.
    ///
    /// # Errors
    /// [`DataError::Share`] unless it is above 0 and below 1.
    pub fn new(share: f64) -> Result<Self, DataError> {
        if share > 0.0 && share < 1.0 { Ok(Self(share)) } else { Err(DataError::Share(share)) }
    }

    /// The number of test pictures of a class with this many `pictures`: rounded, but at least one and not all. `None` if it
    /// has fewer than two.
    fn of(self, pictures: usize) -> Option<usize> {
        // Between 0 and a count of files.
        let nearest = (self.0 * pictures as f64).round() as usize;
        (pictures >= 2).then(|| nearest.clamp(1, pictures - 1))
    }

    /// Divides pictures with these `labels`, all below `classes`, into rows to train on and rows to test on, both in rising
    /// order. In each class a permutation decides, which depends on the number of the class and the number of its pictures
    /// alone.
    ///
    /// # Errors
    /// The number of the first class that has too few pictures to be divided.
    pub(crate) fn divide(
        self,
        labels: &[u32],
        classes: usize,
    ) -> Result<(Vec<u32>, Vec<u32>), usize> {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for class in 0..classes {
            let rows = of_class(Purpose::Folder, SEED, labels, class);
            let (tested, trained) = rows.split_at(self.of(rows.len()).ok_or(class)?);
            test.extend(tested);
            train.extend(trained);
        }
        train.sort_unstable();
        test.sort_unstable();
        Ok((train, test))
    }
}

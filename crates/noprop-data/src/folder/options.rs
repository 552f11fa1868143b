//! The options with which a folder of pictures is read.

use std::path::Path;

use crate::error::DataError;
use crate::listing::Listing;
use crate::test_share::TestShare;

/// The sides of a picture in pixels. Longer ones have too many pixels for a classifier.
pub(super) const SIDES: std::ops::RangeInclusive<usize> = 1..=1024;

/// The treatment of a file that is not a usable picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum BadPictures {
    /// The whole data set is refused.
    #[default]
    Refuse,
    /// The file is left out, and named.
    Skip,
}

/// The choice of pictures to test on.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum TestPictures {
    /// Those in the folder `test`, beside `train`.
    #[default]
    OwnFolder,
    /// A share of each class, in a folder of classes without `train` and `test`.
    Share(TestShare),
    /// Those in the list of a run that took a share of each class for testing.
    Kept(Listing),
}

/// The options with which a folder is read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FolderOptions {
    /// The height and width that all pictures are scaled to. Without it all must have one size, and keep it.
    pub size: Option<(usize, usize)>,
    /// The number of channels, 1 or 3. Without it 3 if any picture has colour, else 1.
    pub channels: Option<usize>,
    /// The treatment of files that are not usable pictures.
    pub bad: BadPictures,
    /// The pictures to test on.
    pub test: TestPictures,
}

impl FolderOptions {
    /// Checks the options, for the folder at `path`.
    ///
    /// # Errors
    /// [`DataError::Folder`] for a size or a number of channels that pictures cannot have.
    pub(super) fn check(&self, path: &Path) -> Result<(), DataError> {
        let refuse = |reason: String| Err(DataError::folder(path, reason));
        if let Some((height, width)) = self.size
            && !(SIDES.contains(&height) && SIDES.contains(&width))
        {
            let (least, most) = (SIDES.start(), SIDES.end());
            return refuse(format!(
                "its pictures cannot be scaled to {height} x {width} pixels: a side has {least} to {most}"
            ));
        }
        if !matches!(self.channels, None | Some(1 | 3)) {
            return refuse("pictures have 1 or 3 channels".into());
        }
        Ok(())
    }
}

//! Image data sets for training: checked readers, a bundled MNIST sample, seeded splits and shuffles.
//!
//! **One design decision:** no size in a file is believed before the bytes are there, and labels are checked against the
//! number of classes once, here, so that nothing downstream has to.
//!
//! ```
//! use noprop_data::{Dataset, epoch_order, hold_out};
//!
//! let sample = Dataset::mnist_sample()?;
//! assert_eq!((sample.train.len(), sample.test.len()), (4000, 1000));
//! let (train, validation) = hold_out(&sample.train, 500, 7)?;
//! assert_eq!((train.len(), validation.len()), (3500, 500));
//! // The order of an epoch depends on the seed and the epoch alone.
//! assert_eq!(epoch_order(7, 0, 3500), epoch_order(7, 0, 3500));
//! # Ok::<(), noprop_data::DataError>(())
//! ```

mod dataset;
mod error;
mod idx;
mod order;
mod split;

pub use dataset::Dataset;
pub use error::DataError;
pub use order::epoch_order;
pub use split::{Split, hold_out};

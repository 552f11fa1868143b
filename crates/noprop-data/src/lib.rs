//! Image data sets for training: verified downloads, checked readers, a bundled MNIST sample, seeded splits and shuffles.
//!
//! **One design decision:** nothing is believed before it is checked, and it is checked once, here, so that nothing
//! downstream has to. Sizes in headers are held against the bytes that are there, labels against the number of classes,
//! downloads against the hashes of their unpacked files.
//!
//! Without the feature `datasets` (on by default) the crate fetches and verifies and knows nothing of tensors.
//!
//! ```
//! # #[cfg(feature = "datasets")] {
//! use std::path::Path;
//!
//! use noprop_data::{Batches, DatasetName, LastBatch, epoch_order, hold_out, load};
//!
//! let sample = load(DatasetName::MnistSample, Path::new("data"))?;
//! assert_eq!((sample.train.len(), sample.test.len()), (4000, 1000));
//! let (train, validation) = hold_out(&sample.train, 500, 7)?;
//! assert_eq!((train.len(), validation.len()), (3500, 500));
//! // The order of an epoch depends on the seed and the epoch alone.
//! let order = epoch_order(7, 0, train.len());
//! for batch in Batches::new(&train, &order, 128, LastBatch::Drop)? {
//!     assert_eq!(batch?.images.dims(), [128, 1, 28, 28]);
//! }
//! # }
//! # Ok::<(), noprop_data::DataError>(())
//! ```

#[cfg(feature = "datasets")]
mod augmentation;
#[cfg(feature = "datasets")]
mod batches;
mod catalogue;
pub mod cifar;
#[cfg(feature = "datasets")]
mod dataset;
mod digest;
#[cfg(feature = "datasets")]
mod duplicates;
mod error;
pub mod fetch;
#[cfg(feature = "datasets")]
mod folder;
pub mod idx;
#[cfg(feature = "datasets")]
mod listing;
mod name;
#[cfg(feature = "datasets")]
mod normalization;
#[cfg(feature = "datasets")]
mod notice;
#[cfg(feature = "datasets")]
mod order;
#[cfg(feature = "datasets")]
pub mod picture;
#[cfg(feature = "datasets")]
mod prototype;
#[cfg(feature = "datasets")]
mod split;
#[cfg(feature = "datasets")]
mod test_share;

#[cfg(feature = "datasets")]
pub use augmentation::{Augmentation, Change, Mirror, Mirrored};
#[cfg(feature = "datasets")]
pub use batches::{Batch, Batches, LastBatch};
pub use catalogue::Presence;
#[cfg(feature = "datasets")]
pub use dataset::{Dataset, load};
pub use digest::sha256_of;
#[cfg(feature = "datasets")]
pub use duplicates::Duplicates;
pub use error::DataError;
#[cfg(feature = "datasets")]
pub use folder::{BadPictures, FolderHalf, FolderOptions, TestPictures, open_folder, open_half};
#[cfg(feature = "datasets")]
pub use listing::{Difference, FileChange, Half, ListedFile, Listing};
pub use name::{DatasetName, UnknownDataset};
#[cfg(feature = "datasets")]
pub use normalization::Normalization;
#[cfg(feature = "datasets")]
pub use notice::Notice;
#[cfg(feature = "datasets")]
pub use order::{epoch_order, picked};
#[cfg(feature = "datasets")]
pub use prototype::prototypes;
#[cfg(feature = "datasets")]
pub use split::{Placed, Split, hold_out, hold_out_numbers};
#[cfg(feature = "datasets")]
pub use test_share::TestShare;

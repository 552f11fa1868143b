//! Image data sets as checked candle tensors.
//!
#![doc = include_str!("../README.md")]

mod augmentation;
pub mod cifar;
mod dataset;
mod duplicates;
mod error;
#[cfg(test)]
mod fixtures;
mod folder;
#[cfg(feature = "candle-datasets")]
mod from_candle;
mod hash;
#[cfg(feature = "candle-datasets")]
mod hub;
pub mod idx;
mod listing;
mod measure;
mod normalization;
mod notice;
mod order;
pub mod picture;
mod pictures;
mod prototype;
mod split;
mod test_share;

pub use augmentation::{Augmentation, Border, Change, Flip, Flipped, Hole};
pub use candle_core;
pub use dataset::{Dataset, load};
pub use duplicates::Duplicates;
pub use error::{DataError, Remedy};
pub use folder::{BadPictures, FolderHalf, FolderOptions, TestPictures, open_folder, open_half};
pub use listing::{Half, ListedFile, Listing};
pub use noprop_files::{DatasetName, Presence, UnknownDataset, sha256_of};
pub use normalization::Normalization;
pub use notice::Notice;
pub use order::{epoch_order, picked};
pub use prototype::prototypes;
pub use split::{Placed, Split, hold_out, hold_out_numbers};
pub use test_share::TestShare;

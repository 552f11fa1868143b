//! Known data sets, hashes, and files that are written whole or not at all.
//!
#![doc = include_str!("../README.md")]

mod atomic;
mod catalogue;
mod digest;
mod name;
mod regular;

pub use atomic::{UNFINISHED, Unfinished, folder_of, sync_directory, write_atomically, write_new};
pub use catalogue::{Entry, Packing, Presence, RawFile};
pub use digest::{Hasher, sha256, sha256_of};
pub use name::{DatasetName, UnknownDataset};
pub use regular::{open_file, read_file, read_text};

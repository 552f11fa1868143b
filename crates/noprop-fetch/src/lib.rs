//! Verified downloads of data sets.
//!
#![doc = include_str!("../README.md")]

#[cfg(feature = "command")]
pub mod command;
mod download;
mod error;
mod event;
mod hub;
mod job;
mod mirror;
mod unpack;

pub use error::{Attempt, Fault, FetchError};
pub use event::Event;
pub use hub::{HubError, HubModel};
pub use job::{Fetched, fetch};
pub use mirror::{BadMirror, Mirror};

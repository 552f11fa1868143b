//! A NoProp training as [TensorBoard](https://www.tensorflow.org/tensorboard) shows it.
//!
#![doc = include_str!("../README.md")]
//!
//! | file | subject |
//! | --- | --- |
//! | `board.rs` | what of a training is written, and when |
//! | `event_file.rs` | one event file, also of a training that goes on |
//! | `messages.rs` | the messages in it, as TensorBoard and TensorFlow declare them |
//! | `record.rs` | the frame of a message: length and checksums |

mod board;
mod event_file;
mod messages;
mod record;

pub use board::{Board, Wanted};
pub use event_file::{EventFile, EventFileError, Hparam};

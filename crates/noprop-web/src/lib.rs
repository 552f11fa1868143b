//! NoProp in a browser.
//!
#![doc = include_str!("../README.md")]
//!
//! | file | subject |
//! | --- | --- |
//! | `bindings.rs` | what JavaScript sees |
//! | `answers.rs` | a trained model that answers |
//! | `training.rs` | a training that advances by slices of time |
//! | `error.rs` | refusals, in a sentence |

mod answers;
#[cfg(target_arch = "wasm32")]
mod bindings;
mod error;
mod training;

pub use answers::{Answer, Answers, Facts, Sample};
pub use error::{Error, Result};
pub use training::Sliced;

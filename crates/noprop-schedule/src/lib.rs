//! Noise schedules of diffusion models, in plain f64.
//!
#![doc = include_str!("../README.md")]

mod error;
mod kind;
mod posterior;
mod schedule;

pub use error::ScheduleError;
pub use kind::ScheduleKind;
pub use posterior::Posterior;
pub use schedule::{Schedule, kl_to_prior};

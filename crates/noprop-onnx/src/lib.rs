//! Trained NoProp networks as ONNX.
//!
#![doc = include_str!("../README.md")]
//! ## Where to look
//!
//! | file | subject |
//! | --- | --- |
//! | `model.rs` | the whole model, from image to probabilities |
//! | `encoder.rs`, `vit.rs` | image → features |
//! | `block.rs` | features, noised embedding and time → class logits |
//! | `steps.rs`, `chain.rs` | the steps of each method as numbers; the walk along them |
//! | `readout.rs` | the last embedding → class probabilities |
//! | `layers.rs`, `weights.rs` | layers in a graph, and the trained tensors that go into them |
//! | `metadata.rs` | what the file says about itself |
//! | `graph.rs`, `proto.rs` | a graph under construction, and the messages of the file format |

mod block;
mod chain;
mod encoder;
mod error;
mod graph;
mod layers;
mod metadata;
mod model;
mod proto;
mod readout;
mod steps;
#[cfg(test)]
mod tests;
mod vit;
mod weights;

pub use error::{ExportError, Result};
pub use graph::Port;
pub use model::{Model, OPSET};
